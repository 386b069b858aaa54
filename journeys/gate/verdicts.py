"""Frozen values of the gate: request, recipient's context, verdict with reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from journeys.gate.reason_codes import ReasonCode

ANY = "*"
"""In `RecipientContext.consents`: every channel, or every topic."""
Consents = Mapping[tuple[str, str], bool]
"""What the person said, by (channel, topic)."""


@dataclass(frozen=True, slots=True)
class SendRequest:
    """One message that wants to go out. `channels` in order of preference; `stands` outlives the end of its run.

    `holds` says whether the run is still in the visit that asked; `missing` names product state it needs and lacks.
    `account` is the account it is about, `ready_at` since when it could have gone and waits for others to go with.
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
    """Of one that is made of several: the topics of its parts, each of which needs consent."""
    alone: bool = False
    """What may have arrived already goes out again as it was, with nobody: its key makes that harmless."""
    run: str = ""
    """Who asks; empty for what is made of several, each of which has been asked for."""
    roles: tuple[str, ...] = ()
    """Of a message about an account: who in it is meant, or empty where nobody has to ask again."""
    zone: str | None = None
    """Of a message about an account: the person's time zone as that account has it, in place of the context's."""
    tried_by: str = ""
    """The channel of an attempt that may have arrived: by another one the message would come once more."""

    @property
    def is_digest(self) -> bool:
        """Whether it is made of several messages."""
        return bool(self.topics)

    @property
    def allowed_channels(self) -> tuple[str, ...]:
        """The channels by which it may go, in order of preference."""
        return (self.tried_by,) if self.tried_by else self.channels


@dataclass(frozen=True, slots=True)
class SentMessage:
    """A message that went out, or is reserved to.

    Of several that became one, that one counts over all topics and journeys, and each of its parts for its own.
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


@dataclass(frozen=True, slots=True)
class QueuedMessage:
    """A message of this person that waits. `rules` are the policy's names for what it waits for."""

    key: str
    due: datetime
    channels: tuple[str, ...]
    topic: str | None
    priority: str
    action: str = ""
    journey: str = ""
    rules: frozenset[str] = frozenset()
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class KillSwitch:
    """A switch that is thrown: nothing of this `scope` (`all`, `channel`, `journey`, `template`) and name goes out."""

    scope: str
    name: str = ""
    why: str = ""

    @property
    def target(self) -> str:
        """The messages that it stops, for people: `all messages`, `journey win-back`."""
        return "all messages" if self.scope == "all" else f"{self.scope} {self.name}"


@dataclass(frozen=True, slots=True)
class Hold:
    """Somebody of ours looks after this person or their account in person, until then: automation waits."""

    until: datetime
    by: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class OpenConversation:
    """They have answered a message of this run: a person speaks with them now, and the run does not, until then."""

    run: str
    until: datetime
    owner: str = ""


@dataclass(frozen=True, slots=True)
class ChannelAddress:
    """The person's address for a channel: missing, or suppressed."""

    channel: str


@dataclass(frozen=True, slots=True)
class ConsentScope:
    """A channel and a topic that consent is given or withdrawn for; `*` (`ANY`) stands for all of them."""

    channel: str
    topic: str


ReasonFact = KillSwitch | Hold | OpenConversation | ChannelAddress | ConsentScope
"""What a reason can be about: the very fact that the gate weighed."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason of a verdict: `code` for programs, stable; `text` for people, free to change.

    `rule` is the policy's name for the rule it rests on, if it has one. `about` is the fact it rests on, if the code alone
    does not say which: whoever explains or undoes a verdict reads that and never `text`. The ledger keeps code, text and rule.
    """

    code: ReasonCode
    text: str
    rule: str = ""
    about: ReasonFact | None = None


@dataclass(frozen=True, slots=True)
class RecipientContext:
    """What is known of the person: a missing address is none, a missing consent is the policy's default.

    A consent's key is (channel, topic), either of them `*`. A withdrawal at any level is obeyed, so who grants again
    lifts it; a general one (topic `*`) does not silence urgent support and transactional messages.
    `suppressed` has the reason, by channel. `sent` counts what is being sent; `heads` are the keys of those that are decided in this very pass and may still
    take others along; `held` are people of ours who look after them in person.
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
    """The accounts they belong to now, and what they do there."""


@dataclass(frozen=True, slots=True)
class SendNow:
    """It goes out by this channel; `reasons` say why a preferred one was passed over."""

    channel: str
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class DeferUntil:
    """It waits, and is judged again at `until`."""

    until: datetime
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class MergeInto:
    """It goes out as a part of the message with this key, by its channel."""

    key: str
    channel: str
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Replace:
    """It never goes out: one that matters more has its place, the message with this key."""

    by: str
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Withhold:
    """It never goes out."""

    reasons: tuple[Reason, ...]


Verdict = SendNow | DeferUntil | MergeInto | Replace | Withhold
