"""The values that an event becomes on its way in, each of them frozen.

| stage | value | made by |
|---|---|---|
| the JSON as its sender wrote it | a mapping | `api/http/body.py` |
| what the tracking plan makes of its name and data | `ValidEvent`, `InvalidEvent` | `journeys/events/validation.py` |
| an event that can be accepted | `InboundEvent` | `journeys/events/segment.py`, `api/events/signals.py`; whoever accepts an event of our own |
| an event that is kept in quarantine | `RejectedEvent` | the same, and `api/events/reader.py` for what is malformed |
| an event with the subjects that it is about | `ResolvedEvent` | `store/events/resolve.py` |
| an event that is stored for the first time | `StoredEvent` | `store/events/log.py` |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from journeys.events.tracing import trace_of_event

CallKind = Literal["track", "identify", "group", "alias", "page", "screen"]


@dataclass(frozen=True, slots=True)
class InboundEvent:
    """An event that can be accepted. `name` is the signal's, by which journeys know it.

    `subject_key` stands for the identities where the store itself is the sender. `trace` is the sender's, or that of what
    caused the event; without one the event has its own as soon as it is stored.
    """

    kind: CallKind
    message_id: str
    name: str
    user_id: str | None = None
    anonymous_id: str | None = None
    account_id: str | None = None
    previous_id: str | None = None
    subject_key: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    traits: Mapping[str, Any] = field(default_factory=dict)
    context: Mapping[str, Any] | None = None
    timestamp: datetime | None = None
    sent_at: datetime | None = None
    trace: str | None = None


@dataclass(frozen=True, slots=True)
class RejectedEvent:
    """An event that moves nothing: `raw` is what arrived, `faults` say what is wrong with it."""

    message_id: str
    name: str
    faults: tuple[str, ...]
    raw: Mapping[str, Any]


ReceivedEvent = InboundEvent | RejectedEvent


@dataclass(frozen=True, slots=True)
class ResolvedEvent:
    """An event with the keys of whom it is about, as the identities were when its batch was read.

    `subjects` are all that its identities belong to: one, or the user and the visitor who may turn out to be this user;
    `accounts` are theirs. `changes_identity`: it says something new about who somebody is.
    """

    event: InboundEvent
    subjects: tuple[str, ...]
    accounts: tuple[str | None, ...]
    named_account: str | None
    changes_identity: bool

    @property
    def subject_key(self) -> str:
        """The subject that the event is about: of a user and a visitor the user."""
        return self.subjects[0]

    @property
    def own_account(self) -> str | None:
        """The account of its subject."""
        return self.accounts[0]

    @property
    def lanes(self) -> set[str]:
        """Every lane that it may enter: its subjects', their accounts', that of the account which it names."""
        return {key for key in (*self.subjects, *self.accounts, self.named_account) if key}


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event that was stored for the first time: its number, its instant for every decision, and whom it is about."""

    event: InboundEvent
    source: str
    number: int
    at: datetime
    subject_key: str
    named_account: str | None = None
    changes_identity: bool = False

    @property
    def trace(self) -> str:
        """The trace that it was given, or its own."""
        return self.event.trace or trace_of_event(self.number, self.source, self.event.message_id)
