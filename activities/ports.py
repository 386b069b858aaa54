"""Ports of channels: the shapes between the gate and an adapter.

Adapters in `channels/` are reached only through these types.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Protocol

from journeys.consent.failure_classes import FailureClass

SLACK = timedelta(seconds=2)
"""Time between the last instant at which an attempt may leave and the end of its lease.

A searchable provider must show what it accepted within this time, or the message is sent twice.
"""


class Promise(Enum):
    """Class of a provider: what can be promised about messages whose result is unknown (handbook)."""

    KEYED = "A"
    """It accepts our idempotency key: nothing is lost, nothing is duplicated."""
    SEARCHABLE = "B"
    """It can be searched by our reference, so an unknown result is looked up."""
    BLIND = "C"
    """Neither: the channel sends at most once or at least once, and unknown results are counted and listed."""


class Ambiguity(Enum):
    """What a class C channel does after an attempt with an unknown result."""

    AT_MOST_ONCE = "at_most_once"
    AT_LEAST_ONCE = "at_least_once"


@dataclass(frozen=True, slots=True)
class Retry:
    """Retries after transient failures: wait `first`, doubled up to `longest`, and give up after `within`.

    With `steps` the waits are these in order, the last one repeated; a standard may prescribe them.
    """

    first: timedelta = timedelta(seconds=2)
    longest: timedelta = timedelta(minutes=15)
    within: timedelta = timedelta(hours=24)
    steps: tuple[timedelta, ...] = ()

    def wait(self, attempts: int) -> timedelta:
        """Wait after that many attempts (1 or more)."""
        if self.steps:
            return self.steps[min(attempts, len(self.steps)) - 1]
        return min(self.longest, self.first * int(2 ** min(attempts - 1, 20)))


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What a message asks to confirm (double opt-in): its signed link, made for this message, and the title of its topic."""

    url: str
    topic: str


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to render: key, template, address and data. `person` is the recipient's key, to which links are bound."""

    key: str
    template: str
    address: str
    profile: Mapping[str, Any]
    account: Mapping[str, Any]
    data: Mapping[str, Any]
    topic: str | None = None
    items: tuple[Outgoing, ...] = ()
    """Messages of a digest, each with its own key, template and data; `template` is then the digest's."""
    person: str = ""
    trace: str = ""
    confirm: Confirmation | None = None


@dataclass(frozen=True, slots=True)
class ClockTime:
    """A test clock, by id, and the instant that it shows."""

    id: str
    now: datetime


@dataclass(frozen=True, slots=True)
class Prepared:
    """Rendered bytes, stored with status `sending`; every retry sends the same, while the person still has `address`.

    `reference` identifies the message at the provider; `address` is the channel's address for which it was rendered.

    Nothing leaves after `until`: then another process may have taken over the attempt. `clock` is set for a person on a
    test clock.
    """

    reference: str
    address: str
    body: bytes
    summary: Mapping[str, Any] = field(default_factory=dict)
    until: datetime | None = None
    trace: str = ""
    clock: ClockTime | None = None


class AttemptResult(Enum):
    """Result of one attempt. `UNKNOWN`: it may have arrived."""

    SENT = "sent"
    REFUSED = "refused"
    TRY_AGAIN = "try_again"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Receipt:
    """Result of one attempt.

    - `detail`: the provider's words, without personal data
    - `after`: least wait before the next attempt, set by the provider; on a test clock it passes by that clock
    - `pause`: the same, set by the circuit breaker, the rate limit or our own rules: always real time
    - `outage`: the provider itself failed, which says nothing about this person
    - `left`: False if nothing was sent; then it was no attempt, and the time after which a message is given up has not begun
    - `failure`: what a permanent refusal is about; None if the message may still arrive, or the provider is down
    - `of_country`: the refusal is about one country, so it says nothing about the provider's other messages
    """

    result: AttemptResult
    detail: str = ""
    after: timedelta | None = None
    pause: timedelta | None = None
    outage: bool = False
    left: bool = True
    failure: FailureClass | None = None
    of_country: bool = False


class Channel(Protocol):
    """A channel.

    - `local`: fast enough to be tried inside a step (2 s); otherwise on the channel's own queue
    - `inside`: delivering is writing a row of our own database, in the gate's transaction; no attempt follows
    - `attempt`: limit of one attempt
    """

    name: str
    inside: bool
    promise: Promise
    ambiguity: Ambiguity
    local: bool
    attempt: timedelta
    retry: Retry

    def address(self, profile: Mapping[str, Any], subject_key: str) -> str | None:
        """The person's address on this channel, or None."""
        ...

    def prepare(self, outgoing: Outgoing) -> Prepared:
        """Render the message. Raises TemplateFault: the message ends as `failed`.

        After FieldsUnknown, NoOpenRequest and RecipientNotAllowed it ends as `withheld`.
        """
        ...

    async def deliver(self, prepared: Prepared, key: str) -> Receipt:
        """One attempt, within `attempt`. Raises nothing for what a provider does."""
        ...

    async def find(self, prepared: Prepared) -> bool | None:
        """Whether the provider has this reference; None if it cannot answer now. Only for class B."""
        ...

    async def close(self) -> None:
        """Close kept connections."""
        ...


class TemplateFault(Exception):
    """Content that cannot be rendered or may not be sent: unknown or retired template, missing variable, over a limit."""


class FieldsUnknown(TemplateFault):
    """Content reads fields (`profile.x`, `account.y`) that the person or account does not have (H8)."""

    def __init__(self, message: str, fields: tuple[str, ...]) -> None:
        super().__init__(message)
        self.fields = fields


class NoOpenRequest(TemplateFault):
    """A confirmation mail without a request that is open, and was made for the address that the mail would go to."""


class RecipientNotAllowed(TemplateFault):
    """Outside production this recipient is not on the allow-list."""
