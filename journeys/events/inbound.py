"""Frozen values of an event from its sender to the store.

Each stage makes a new value:

| stage | value | made by |
|---|---|---|
| the JSON as its sender wrote it | a mapping | `api/http/body.py` |
| its name and data by the tracking plan | `ValidEvent`, `InvalidEvent` | `journeys/events/validation.py` |
| an event that can be accepted | `InboundEvent` | `journeys/events/segment.py`, `api/events/signals.py`; the modules that emit events |
| an event for the quarantine | `RejectedEvent` | the same, and `api/events/reader.py` for what is malformed |
| an event with its subjects and accounts | `ResolvedEvent` | `store/events/resolve.py` |
| an event stored for the first time | `StoredEvent` | `store/events/log.py` |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from journeys.events.history import is_historical, is_old
from journeys.events.tracing import trace_of_event

CallKind = Literal["track", "identify", "group", "alias", "page", "screen"]


@dataclass(frozen=True, slots=True)
class InboundEvent:
    """An event that can be accepted; `name` is its signal.

    `subject_key` replaces the identities where the store itself is the sender. `trace` is the sender's, or that of the
    event that caused it; without one it gets its own when it is stored. `key_id` is the API key it came with; `claimed`: a
    public one, so what it says is claimed, not verified. `padded` are its identities (kind, value) as its sender wrote them,
    where outer blanks were trimmed. `implied` are fields that only its context gives: a trait replaces them, whenever it was
    sent. `held` has the traits that could not be read; the others count. `raw` is a sender's JSON, for the quarantine.
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
    implied: Mapping[str, Any] = field(default_factory=dict)
    context: Mapping[str, Any] | None = None
    timestamp: datetime | None = None
    sent_at: datetime | None = None
    trace: str | None = None
    key_id: str = "write"
    claimed: bool = False
    padded: tuple[tuple[str, str], ...] = ()
    raw: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)
    held: RejectedEvent | None = None

    @property
    def is_of_account(self) -> bool:
        """Whether it happened to an account itself, and not to one of its people."""
        if self.subject_key is not None:
            return self.subject_key.startswith("a_")
        return self.account_id is not None and self.user_id is None and self.anonymous_id is None

    @property
    def historical(self) -> bool:
        """Whether its sender tells it as history."""
        return is_historical(self.context)


@dataclass(frozen=True, slots=True)
class RejectedEvent:
    """An event for the quarantine: `raw` as it arrived with the key `key_id`, with its `faults`.

    `signal` is the one it would be without them, if the plan knows it. `opt_out` has its refusals alone, which are
    accepted all the same.
    """

    message_id: str
    name: str
    faults: tuple[str, ...]
    raw: Mapping[str, Any]
    key_id: str = "write"
    signal: str | None = None
    opt_out: InboundEvent | None = None


ReceivedEvent = InboundEvent | RejectedEvent


@dataclass(frozen=True, slots=True)
class ResolvedEvent:
    """An event with the keys of its subjects and accounts, as the identities were when its batch was read.

    `subjects` are those that its identities belong to: one, or a user and a visitor to be merged into them; `accounts` are
    theirs. `changes_identity`: the event links or merges identities. `clocks` are the test clocks of all of them, of which
    there is one, or None: nobody joins an account or is merged across clocks.
    """

    event: InboundEvent
    subjects: tuple[str, ...]
    accounts: tuple[str | None, ...]
    named_account: str | None
    changes_identity: bool
    clocks: frozenset[str | None] = frozenset({None})

    @property
    def subject_key(self) -> str:
        """The subject of the event: of a user and a visitor, the user."""
        return self.subjects[0]

    @property
    def own_account(self) -> str | None:
        """The account of its subject."""
        return self.accounts[0]

    @property
    def clock(self) -> str | None:
        """The test clock of all of them; None for the real one."""
        return next(iter(self.clocks))

    @property
    def lanes(self) -> set[str]:
        """Every lane it may enter: those of its subjects, their accounts, and the account it names."""
        return {key for key in (*self.subjects, *self.accounts, self.named_account) if key}


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event stored for the first time: its number, its instant for every decision, and its subject.

    `occurred_at` is the sender's corrected time at any age, which orders fields, counters and statements of consent;
    `accepted_at` is the instant of acceptance by the clock of its subject.
    """

    event: InboundEvent
    source: str
    number: int
    at: datetime
    subject_key: str
    named_account: str | None = None
    changes_identity: bool = False
    occurred_at: datetime | None = None
    accepted_at: datetime | None = None

    @property
    def happened_at(self) -> datetime:
        """When it happened, as far as its sender said."""
        return self.occurred_at or self.at

    @property
    def is_old(self) -> bool:
        """Whether it had happened so long before it was accepted that it is history for what began since."""
        return is_old(self.happened_at, self.accepted_at or self.at)

    @property
    def is_history(self) -> bool:
        """Whether its sender tells it as history, or it is by its age."""
        return self.event.historical or self.is_old

    @property
    def trace(self) -> str:
        """The trace id it was given, or its own."""
        return self.event.trace or trace_of_event(self.number, self.source, self.event.message_id)
