"""Ports of channels: the shapes between the gate and an adapter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Protocol

SLACK = timedelta(seconds=2)
"""Between the last moment at which an attempt may leave and the end of its lease, when others may ask and try again.

So long a searchable provider may take to show what it accepted: what it shows later still would be sent twice.
"""


class Promise(Enum):
    """What a provider lets us promise; printed in the README as this table."""

    KEYED = "A"
    """It takes our key: nothing lost, nothing doubled."""
    SEARCHABLE = "B"
    """It can be searched by our reference: `unknown` is reconciled."""
    BLIND = "C"
    """Neither: the channel declares at most once or at least once; ambiguous sends are counted and listed."""


class Ambiguity(Enum):
    """What a blind channel does when it cannot know whether an attempt arrived."""

    AT_MOST_ONCE = "at_most_once"
    AT_LEAST_ONCE = "at_least_once"


@dataclass(frozen=True, slots=True)
class Retry:
    """A channel's policy for transient failures: `first`, doubled up to `longest`, given up after `within`.

    With `steps` the waits are these, one by one, and the last for ever; a standard may prescribe them.
    """

    first: timedelta = timedelta(seconds=2)
    longest: timedelta = timedelta(minutes=15)
    within: timedelta = timedelta(hours=24)
    steps: tuple[timedelta, ...] = ()

    def wait(self, attempts: int) -> timedelta:
        """How long to wait after that many attempts (1 or more)."""
        if self.steps:
            return self.steps[min(attempts, len(self.steps)) - 1]
        return min(self.longest, self.first * int(2 ** min(attempts - 1, 20)))


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message ready to be rendered: who it is for, what it says, and our key for it.

    `person` is the recipient's key, to which the links in a message are bound.
    """

    key: str
    template: str
    address: str
    profile: Mapping[str, Any]
    account: Mapping[str, Any]
    data: Mapping[str, Any]
    topic: str | None = None
    items: tuple[Outgoing, ...] = ()
    """Of a digest: the messages it brings, each with its own key, template and data; `template` is then the digest's."""
    person: str = ""
    trace: str = ""


@dataclass(frozen=True, slots=True)
class Prepared:
    """Rendered bytes, stored at `sending`; every retry sends just these, while `address` is still the person's.

    `reference` is what a provider can be asked for, `address` the one that it was rendered for, as the channel gave it.

    After `until` the attempt may be somebody else's: nothing leaves then, however long this process stood still.
    """

    reference: str
    address: str
    body: bytes
    summary: Mapping[str, Any] = field(default_factory=dict)
    until: datetime | None = None
    trace: str = ""


class AttemptResult(Enum):
    """How one attempt ended. `UNKNOWN`: it may or may not have arrived."""

    SENT = "sent"
    REFUSED = "refused"
    TRY_AGAIN = "try_again"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Receipt:
    """The end of one attempt, with the provider's words in `detail` (no personal data).

    `after`: how long the next attempt should stay away, where provider, breaker or pace say so. `outage`: the provider
    itself did not serve, which says nothing about this person. `left` is False where nothing has left the house: then the
    message was not tried, and the time within which it is given up has not begun. `gone`: there is no such address, for good.
    """

    result: AttemptResult
    detail: str = ""
    after: timedelta | None = None
    outage: bool = False
    left: bool = True
    gone: bool = False


class Channel(Protocol):
    """One way to reach a person. `local`: quick enough to try inside the step (2 s); else on the channel's own queue.

    `inside`: delivering is writing a row of our own store, so it happens in the gate's own transaction and no attempt follows.
    """

    name: str
    inside: bool
    promise: Promise
    ambiguity: Ambiguity
    local: bool
    attempt: timedelta
    retry: Retry

    def address(self, profile: Mapping[str, Any], subject_key: str) -> str | None:
        """Where this person is reached on this channel, or None."""
        ...

    def prepare(self, outgoing: Outgoing) -> Prepared:
        """Render. Raises TemplateFault if the content cannot be made; that is a `failed`, never a crash of the run.

        One that is NotKnown or NotAllowed is a `withheld`.
        """
        ...

    async def deliver(self, prepared: Prepared, key: str) -> Receipt:
        """One attempt, ended within `attempt`. Never raises for anything a provider does."""
        ...

    async def find(self, prepared: Prepared) -> bool | None:
        """Whether the provider has this reference; None if it cannot be asked now. Only for `SEARCHABLE`."""
        ...

    async def close(self) -> None:
        """Let go of kept connections."""
        ...


class TemplateFault(Exception):
    """Content that cannot be rendered or may not be sent: unknown, retired, a variable missing, over its limits."""


class FieldsUnknown(TemplateFault):
    """Content reads fields of the person or the account (`profile.x`, `account.y`) that nobody has told: nothing is wrong with it (H8)."""

    def __init__(self, message: str, fields: tuple[str, ...]) -> None:
        super().__init__(message)
        self.fields = fields


class RecipientNotAllowed(TemplateFault):
    """Outside production this recipient is not on the allow-list: nothing is wrong with the content, and nothing leaves."""
