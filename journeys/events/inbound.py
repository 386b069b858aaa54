"""The values that an event becomes on its way in, each of them frozen.

| stage | value | made by |
|---|---|---|
| as its sender wrote it | `RawEvent` | `journeys/events/segment.py`, `api/events/signals.py` |
| named by the tracking plan | `InboundEvent` | `api/events/tracking_plan.py`; whoever accepts an event of our own |
| refused by the tracking plan, or malformed | `RejectedEvent`, kept in quarantine | `api/events/tracking_plan.py`, `api/events/reader.py` |
| with the subjects that it is about | `ResolvedEvent` | `store/events/resolve.py` |
| stored for the first time | `StoredEvent` | `store/events/log.py` |
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
class RawEvent:
    """An event as its sender wrote it. `name` is the sender's word, which may be another than the signal's."""

    kind: CallKind
    message_id: str
    name: str
    raw: Mapping[str, Any]
    user_id: str | None = None
    anonymous_id: str | None = None
    account_id: str | None = None
    previous_id: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    traits: Mapping[str, Any] = field(default_factory=dict)
    context: Mapping[str, Any] | None = None
    timestamp: datetime | None = None
    sent_at: datetime | None = None
    trace: str | None = None

    def named(self, signal: str, data: Mapping[str, Any]) -> InboundEvent:
        """The event under its signal's name, with its data as the tracking plan types them."""
        return InboundEvent(
            kind=self.kind,
            message_id=self.message_id,
            name=signal,
            user_id=self.user_id,
            anonymous_id=self.anonymous_id,
            account_id=self.account_id,
            previous_id=self.previous_id,
            data=data,
            traits=self.traits,
            context=self.context,
            timestamp=self.timestamp,
            sent_at=self.sent_at,
            trace=self.trace,
        )

    def rejected(self, faults: tuple[str, ...], name: str | None = None) -> RejectedEvent:
        """The event as quarantine keeps it, under the sender's name unless its signal's is known."""
        return RejectedEvent(self.message_id, name or self.name, faults, self.raw)


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
