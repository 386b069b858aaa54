"""`judge`: the gate's verdict on one message to one person, from the policy and what is known of them. Pure and total.

How it weighs, always in this order; the first group that objects speaks, with all its reasons:

1. Is it still true? Its state was left, it came too late, or the product state it needs is not known: **withhold**.
2. May anyone say it? The first channel with an address and consent carries it; no such channel: **withhold**.
3. May it be said now? An open urgent ticket, a cooldown, a cap: **defer** until the last of them frees. A wait whose
   end is known and not before the message expires is a **withhold** at once; a cap never drops what can still wait.

The order in which messages were sent or rules were written changes nothing. `now` is the gate's clock, never `ask.at`.
The caller counts as sent what is reserved or being sent, so that caps are exact under concurrency (design §6).

Not decided here yet, each with its place: suppression of an address and quiet hours belong to groups 2 and 3; `merge`
(consolidation) and `replace` (priority) are two more verdicts of the union, weighed after group 3 among all that is due.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from journeys.parts import Chart
from journeys.policy import PRESSING, Cap, ConsentDefault, Cooldown, Policy

ANY = "*"
"""In `Standing.consents`: every channel, or every topic."""
Consents = Mapping[tuple[str, str], bool]
"""What the person said, by (channel, topic)."""

ReasonCode = Literal[
    "state_left",
    "expired",
    "expires_first",
    "state_unknown",
    "no_address",
    "consent_withdrawn",
    "consent_required",
    "urgent_ticket",
    "cooldown",
    "cap_reached",
    "no_recipient",
    "template",
]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why, for a machine (`code`, stable) and for a person (`text`)."""

    code: ReasonCode
    text: str


@dataclass(frozen=True, slots=True)
class Ask:
    """One message that wants to go out. `channels` in order of preference; `stands` outlives the end of its run.

    `holds` says whether the run is still in the visit that asked; `missing` names product state it needs and lacks.
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


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that went out, or is reserved to."""

    at: datetime
    channel: str
    topic: str | None
    priority: str
    action: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of the person: a missing address is none, a missing consent is the policy's default.

    A consent's key is (channel, topic), either of them `*`. A withdrawal at any level is obeyed, so who grants again
    lifts it; a general one (topic `*`) does not silence urgent support and transactional messages.
    """

    addresses: Mapping[str, bool] = field(default_factory=dict)
    consents: Consents = field(default_factory=dict)
    sent: tuple[Sent, ...] = ()
    urgent_open: bool = False


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
class Withhold:
    """It never goes out."""

    reasons: tuple[Reason, ...]


Verdict = SendNow | DeferUntil | Withhold


def judge(policy: Policy, ask: Ask, standing: Standing, now: datetime) -> Verdict:
    """Whether this message goes out now, later or never, and why."""
    deadline = expiry(policy, ask)
    untrue = tuple(_untrue(policy, ask, deadline, now))
    if untrue:
        return Withhold(untrue)
    channel, passed_over = _channel(policy, ask, standing)
    if channel is None:
        return Withhold(passed_over)
    waits = tuple(_waits(policy, ask, standing, channel, now))
    if not waits:
        return SendNow(channel, passed_over)
    reasons = tuple(wait.reason for wait in waits)
    if any(wait.is_final(deadline) for wait in waits):
        return Withhold((*reasons, Reason("expires_first", _too_late(deadline))))
    until = max(wait.until for wait in waits if wait.until is not None)
    return DeferUntil(until if deadline is None else min(until, deadline), reasons)


def expiry(policy: Policy, ask: Ask) -> datetime | None:
    """When the message is too late to be useful: its own word, else the policy's."""
    if ask.expires_at is not None or policy.expires_after is None:
        return ask.expires_at
    return policy.expires_after.after(ask.at)


# -- is it still true? -------------------------------------------------------------------------------------------------


def _untrue(policy: Policy, ask: Ask, deadline: datetime | None, now: datetime) -> Iterator[Reason]:
    if not ask.holds and not ask.stands:
        yield Reason("state_left", ask.holds_why or "its state was left")
    if deadline is not None and deadline <= now:
        yield Reason("expired", f"it was of use until {_plain(deadline)} only")
    if ask.missing and ask.priority not in policy.state_exempt:
        yield Reason("state_unknown", f"not known: {', '.join(sorted(ask.missing))}")


# -- may anyone say it? ------------------------------------------------------------------------------------------------


def _channel(policy: Policy, ask: Ask, standing: Standing) -> tuple[str | None, tuple[Reason, ...]]:
    """The first channel with an address and consent, with what stood against those before it."""
    passed_over: list[Reason] = []
    for channel in ask.channels:
        refusal = _refusal(policy, ask, standing, channel)
        if refusal is None:
            return channel, tuple(passed_over)
        passed_over.append(refusal)
    return None, tuple(passed_over) or (Reason("no_address", "no channel is named"),)


def _refusal(policy: Policy, ask: Ask, standing: Standing, channel: str) -> Reason | None:
    if not standing.addresses.get(channel, False):
        return Reason("no_address", f"no address for {channel}")
    return consent_refusal(policy, ask.topic, ask.priority, channel, standing.consents)


def consent_refusal(
    policy: Policy, topic: str | None, priority: str, channel: str, consents: Consents
) -> Reason | None:
    """Why this person may not be told this by this channel, if so."""
    about = topic or ANY
    said = [consents.get(place) for place in _places(channel, about, general=priority not in PRESSING)]
    if False in said:
        return Reason("consent_withdrawn", f"they said no to {_what(about)} by {channel}")
    rule = _default(policy.consent, channel, about)
    if True in said or rule is None or rule.default == "granted" or priority in rule.exempt:
        return None
    return Reason("consent_required", f"they have not said yes to {_what(about)} by {channel}")


def has_opted_out(policy: Policy, chart: Chart, consents: Consents) -> bool:
    """Whether no channel of a journey's topic is left to this person: then an opt-out ends their run (C5).

    A message with another topic neither keeps a run going nor ends it: withholding it is the gate's. A journey that
    says nothing under its own topic is about those of its messages. Each counts with its own priority, so what may
    still be said as transactional keeps the run.
    """
    own = [way for way in chart.ways if way[0] == chart.spec.topic] or chart.ways
    refusals = [consent_refusal(policy, topic, priority, channel, consents) for topic, priority, channel in own]
    return any(reason and reason.code == "consent_withdrawn" for reason in refusals) and all(refusals)


def _places(channel: str, topic: str, *, general: bool) -> tuple[tuple[str, str], ...]:
    """Where this person may have said yes or no to it: the topic's own places, then the general ones."""
    own = ((channel, topic), (ANY, topic)) if topic != ANY else ()
    return (*own, (channel, ANY), (ANY, ANY)) if general else own


def _default(rules: tuple[ConsentDefault, ...], channel: str, topic: str) -> ConsentDefault | None:
    fitting = [rule for rule in rules if rule.channel in (None, channel) and rule.topic in (None, topic)]
    if len(fitting) < 2:
        return fitting[0] if fitting else None
    return max(fitting, key=lambda rule: (rule.topic is not None, rule.channel is not None))


def _what(topic: str) -> str:
    return "messages" if topic == ANY else topic


# -- may it be said now? -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Wait:
    """`until` None is never; `known` is false when the end may come sooner or later than that."""

    until: datetime | None
    reason: Reason
    known: bool = True

    def is_final(self, deadline: datetime | None) -> bool:
        return self.until is None or (self.known and deadline is not None and self.until >= deadline)


def _waits(policy: Policy, ask: Ask, standing: Standing, channel: str, now: datetime) -> Iterator[_Wait]:
    if standing.urgent_open and ask.priority in policy.urgent_ticket.defers:
        until = policy.urgent_ticket.recheck.after(now)
        yield _Wait(until, Reason("urgent_ticket", "an urgent ticket is open"), known=False)
    for cooldown in policy.cooldowns:
        if _concerns(cooldown, channel, ask.topic) and ask.priority not in cooldown.exempt:
            yield from _cooling(cooldown, standing, now)
    for cap in policy.caps:
        if _concerns(cap, channel, ask.topic) and ask.priority in cap.priorities:
            yield from _capped(cap, standing, now)


def _concerns(rule: Cap | Cooldown, channel: str, topic: str | None) -> bool:
    return rule.channel in (None, channel) and rule.topic in (None, topic)


def _cooling(rule: Cooldown, standing: Standing, now: datetime) -> Iterator[_Wait]:
    ends = [
        rule.between.after(sent.at)
        for sent in standing.sent
        if _concerns(rule, sent.channel, sent.topic) and sent.priority not in rule.exempt
    ]
    until = max(ends, default=now)
    if until > now:
        yield _Wait(until, Reason("cooldown", f"cooldown {rule.name} lasts until {_plain(until)}"))


def _capped(rule: Cap, standing: Standing, now: datetime) -> Iterator[_Wait]:
    """Each message leaves a rolling window once its own length of it is over; the cap frees when enough have left."""
    ends = sorted(
        end
        for sent in standing.sent
        if _concerns(rule, sent.channel, sent.topic) and sent.priority in rule.priorities
        if (end := rule.window.after(sent.at)) > now
    )
    if len(ends) < rule.limit:
        return
    text = f"cap {rule.name} is reached: {len(ends)} of {rule.limit}"
    if rule.limit == 0:
        yield _Wait(None, Reason("cap_reached", f"cap {rule.name} allows none"))
    else:
        until = ends[len(ends) - rule.limit]
        yield _Wait(until, Reason("cap_reached", f"{text}, free on {_plain(until)}"))


def _too_late(deadline: datetime | None) -> str:
    return "there is no end to that" if deadline is None else f"it is of use until {_plain(deadline)} only"


def _plain(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
