"""Frozen values of the gate: request, recipient's context, verdict with reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime

from journeys.frozen import frozen
from journeys.gate.queue import NEW, QueuedMessage, order_of
from journeys.gate.reason_codes import ReasonCode

ANY = "*"
"""In `RecipientContext.consents`: every channel, or every topic."""
Consents = Mapping[tuple[str, str], bool]
"""A person's consents by (channel, topic): True is a grant, False an opt-out."""


@frozen
class SendRequest:
    """A request to send one message.

    - `channels` are in order of preference.
    - `holds`: the run is still in the visit that requested the message; if not, `holds_why` is the reason.
    - `stands`: the end of the run does not withdraw the message.
    - `missing` are the fields that the message needs and that are unknown.
    - `account` is the account that the message is about.
    - `ready_at`: since then the message waits only for others to be sent with it.
    """

    channels: tuple[str, ...]
    topic: str | None
    priority: str
    at: datetime
    expires_at: datetime | None = None
    stands: bool = False
    holds: bool = True
    holds_why: str = ""
    missing: tuple[str, ...] = ()
    key: str = ""
    journey: str = ""
    action: str = ""
    template: str = ""
    account: str | None = None
    ready_at: datetime | None = None
    topics: tuple[str | None, ...] = ()
    """Of a digest: the topics of its parts, each of which needs consent."""
    alone: bool = False
    """The message may have arrived: it is sent again unchanged with the same key, in no digest."""
    run: str = ""
    """The run that requests the message; empty for a digest, whose parts were requested by their runs."""
    roles: tuple[str, ...] = ()
    """Of an account's message: the roles that it is for; empty where the role need not be checked again."""
    zone: str | None = None
    """Of an account's message: the person's time zone resolved with that account, in place of the context's."""
    tried_by: str = ""
    """The channel of an attempt that may have arrived: another channel would send the message twice."""
    number: int = NEW
    """Its number among all messages; it grows with each message that is asked for."""

    @property
    def consent_topics(self) -> tuple[str | None, ...]:
        """The topics that need consent: those of a digest's parts, else its own."""
        return self.topics or (self.topic,)

    @property
    def is_digest(self) -> bool:
        """Whether this is a digest."""
        return bool(self.topics)

    @property
    def allowed_channels(self) -> tuple[str, ...]:
        """The channels that may be used, in order of preference."""
        return (self.tried_by,) if self.tried_by else self.channels


@frozen
class SentMessage:
    """A message that was sent, or is reserved to be.

    A digest counts once for rules over all topics and journeys; each part (`is_part`) counts for rules of its own. One
    `to_other` went to another person at an address of this one.
    """

    at: datetime
    channel: str
    topic: str | None
    priority: str
    action: str = ""
    journey: str = ""
    template: str = ""
    account: str | None = None
    key: str = ""
    is_part: bool = False
    to_other: bool = False


@frozen
class KillSwitch:
    """An engaged kill switch: it stops messages by `scope` (`all`, `channel`, `journey`, `template`) and `name`."""

    scope: str
    name: str = ""
    why: str = ""

    @property
    def target(self) -> str:
        """The messages that it stops, in words: `all messages`, `journey win-back`."""
        return "all messages" if self.scope == "all" else f"{self.scope} {self.name}"


@frozen
class Hold:
    """`by`, a person of the company, looks after this person or account: automated messages wait until then."""

    until: datetime
    by: str
    why: str = ""


@frozen
class OpenConversation:
    """The person has replied to a message of this run: the run sends nothing until then, while `owner` answers."""

    run: str
    until: datetime
    owner: str = ""


@frozen
class ChannelAddress:
    """The person's address for a channel: missing, or suppressed."""

    channel: str


@frozen
class ConsentScope:
    """A channel and a topic that consent is given or withdrawn for; `*` (`ANY`) stands for all of them."""

    channel: str
    topic: str


ReasonFact = KillSwitch | Hold | OpenConversation | ChannelAddress | ConsentScope
"""The facts that a reason can be about."""


@frozen
class Reason:
    """One reason of a verdict: `code` is stable, for programs; `text` is for people and may change.

    `rule` is the name of the policy rule behind it, if there is one. `about` is the fact behind it, if the code alone
    does not identify it: code that explains or undoes a verdict reads `about`, never `text`. The ledger keeps code,
    text and rule.
    """

    code: ReasonCode
    text: str
    rule: str = ""
    about: ReasonFact | None = None


@frozen
class RecipientContext:
    """The facts about a person that the gate reads.

    - `addresses`: a channel that is left out has none.
    - `consents`: by (channel, topic), either of them `*`; one that is left out has the policy's default. An opt-out at
      any level is obeyed until it is taken back. A general one (topic `*`) does not stop urgent support and
      transactional messages.
    - `sent` includes messages that are being sent.
    - `queue` is kept in the order in which messages go, in whatever order it is given: a reason names the first of several.
    - `heads` are the keys of messages decided in this pass that others may still join.
    - `suppressed` has the reason by channel; `stops` are the engaged kill switches.
    - `accounts` are those that the person belongs to; `role` is their role in the request's account.
    - `channels` are those that are configured; None for all.
    """

    addresses: Mapping[str, bool] = field(default_factory=dict)
    consents: Consents = field(default_factory=dict)
    sent: tuple[SentMessage, ...] = ()
    urgent_open: bool = False
    queue: tuple[QueuedMessage, ...] = ()
    heads: frozenset[str] = frozenset()
    stops: tuple[KillSwitch, ...] = ()
    suppressed: Mapping[str, str] = field(default_factory=dict)
    held: tuple[Hold, ...] = ()
    talks: tuple[OpenConversation, ...] = ()
    zone: str = ""
    accounts: frozenset[str] = frozenset()
    role: str = ""
    channels: frozenset[str] | None = None

    def __post_init__(self) -> None:
        if len(self.queue) > 1:
            object.__setattr__(self, "queue", tuple(sorted(self.queue, key=order_of)))


@frozen
class SendNow:
    """The message is sent by this channel; `reasons` explain why preferred channels were skipped."""

    channel: str
    reasons: tuple[Reason, ...] = ()


@frozen
class DeferUntil:
    """The message waits and is decided again at `until`."""

    until: datetime
    reasons: tuple[Reason, ...]


@frozen
class MergeInto:
    """The message becomes a part of the message with this key, and is sent by its channel."""

    key: str
    channel: str
    reasons: tuple[Reason, ...]


@frozen
class Replace:
    """The message is never sent: the message with the key `by` has a higher priority and takes its place."""

    by: str
    reasons: tuple[Reason, ...]


@frozen
class Withhold:
    """The message is never sent."""

    reasons: tuple[Reason, ...]


Verdict = SendNow | DeferUntil | MergeInto | Replace | Withhold
