"""What of the gate's rules stands between a person and a message that nobody has asked for yet, and what would take it away.

A wait whose end is known is in nobody's way: the gate keeps the message and sends it then. Where the message would be too late
by that time, `opens` says when it may be asked for. What somebody must end (a stop, a hold, an urgent ticket) is told at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from journeys.consent.statements import ADDRESS_FIELDS
from journeys.gate.deferral import Deferral, deferrals_for, engaged_switch
from journeys.gate.judge import channel_for, judge
from journeys.gate.policy import Policy
from journeys.gate.verdicts import (
    ANY,
    DeferUntil,
    MergeInto,
    Reason,
    RecipientContext,
    Replace,
    SendNow,
    SendRequest,
    Withhold,
)
from journeys.whynot.changes import SuggestedChange

SOMEBODYS: Final = frozenset({"stopped", "held", "urgent_ticket"})
"""Waits that somebody ends, by code."""


@dataclass(frozen=True, slots=True)
class GateFacts:
    """What is known beside `RecipientContext`: since when things are so, by what they are; the open urgent tickets; content that is refused.

    `pending` are the places (channel, topic) of which they have said yes, since when, and not confirmed it: no grant yet.
    """

    since: Mapping[tuple[str, ...], datetime] = field(default_factory=dict)
    tickets: Sequence[str] = ()
    unsendable: Mapping[str, str] = field(default_factory=dict)
    pending: Mapping[tuple[str, str], datetime] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GateObstacle:
    """One reason of the gate's, with its change."""

    what: str
    change: SuggestedChange
    since: datetime | None = None


def gate_obstacles(
    policy: Policy, ask: SendRequest, standing: RecipientContext, around: GateFacts, now: datetime
) -> tuple[GateObstacle, ...]:
    """All that must change before a message that is asked for now would go out, at once or when its wait is over."""
    fault = around.unsendable.get(ask.template)
    if fault is not None:
        change = SuggestedChange("mend_content", f"review {ask.template} and make it live", {"template": ask.template})
        return (GateObstacle(fault, change, around.since.get(("content", ask.template))),)
    match judge(policy, ask, standing, now):
        case SendNow() | MergeInto():
            return ()
        case DeferUntil():
            return tuple(_somebodys(policy, ask, standing, around, now))
        case Replace():
            return tuple(_somebodys(policy, ask, standing, around, now))
        case Withhold(reasons):
            return tuple(_withheld(reasons, policy, ask, standing, around, now))


# -- refused for good --------------------------------------------------------------------------------------------------


def _withheld(
    reasons: tuple[Reason, ...],
    policy: Policy,
    ask: SendRequest,
    standing: RecipientContext,
    around: GateFacts,
    now: datetime,
) -> Iterator[GateObstacle]:
    if any(reason.code == "expires_first" for reason in reasons):
        yield from _somebodys(policy, ask, standing, around, now)
        return
    for reason in reasons:
        found = _untrue(reason, policy, ask, standing, around)
        if found is not None:
            yield found
    if channel_for(policy, ask, standing)[0] is None and not any(each.code in _UNTRUE for each in reasons):
        # One channel is enough: the first is the one that the author would rather have, if they can be reached there.
        ways = list(zip(ask.channels, reasons, strict=False))
        open_ways = (way for way in ways if way[1].code != "no_address" or way[0] in ADDRESS_FIELDS)
        channel, _ = next(open_ways, ways[0])
        yield _closed(channel, policy, ask, standing, around)


_UNTRUE: Final = frozenset({"state_left", "expired", "state_unknown", "told_already", "in_conversation"})


def _untrue(
    reason: Reason, policy: Policy, ask: SendRequest, standing: RecipientContext, around: GateFacts
) -> GateObstacle | None:
    match reason.code:
        case "state_unknown":
            fields = sorted(ask.missing)
            return GateObstacle(reason.text, SuggestedChange("tell", f"tell {', '.join(fields)}", {"fields": fields}))
        case "told_already":
            told = [
                sent.at
                for sent in standing.sent
                if sent.template == ask.template and sent.account not in (None, ask.account)
            ]
            return GateObstacle(
                reason.text, _wait(max(policy.once_across_accounts.after(at) for at in told)), min(told)
            )
        case "in_conversation":
            change = SuggestedChange(
                "close_conversation", "close the conversation", {"run": ask.run, "template": ask.template}
            )
            return GateObstacle(reason.text, change, around.since.get(("talk", ask.run)))
        case _:
            return None


def _refused(
    channel: str, reason: Reason, ask: SendRequest, standing: RecipientContext, around: GateFacts
) -> GateObstacle:
    """Why this channel does not carry it."""
    match reason.code:
        case "suppressed":
            change = SuggestedChange(
                "lift_suppression", f"lift the suppression of their address for {channel}", {"channel": channel}
            )
            return GateObstacle(reason.text, change, around.since.get(("suppressed", channel)))
        case "consent_withdrawn":
            place = _said_no(ask, channel, standing)
            exact = place[0] == channel and place[1] != ANY
            word = "they say yes to" if exact else "they take back their no to"
            change = SuggestedChange(
                "consent", f"{word} {place[1]} by {place[0]}", _said(place, granted=True if exact else None)
            )
            return GateObstacle(reason.text, change, around.since.get(("consent", *place)))
        case "consent_required":
            place = channel, ask.topic or ANY
            change = SuggestedChange("consent", f"they say yes to {place[1]} by {channel}", _said(place, granted=True))
            return GateObstacle(reason.text, change)
        case _:
            address = ADDRESS_FIELDS.get(channel)
            params = {"channel": channel, "field": f"profile.{address}" if address else None}
            return GateObstacle(reason.text, SuggestedChange("address", f"tell their address for {channel}", params))


def _closed(
    channel: str, policy: Policy, ask: SendRequest, standing: RecipientContext, around: GateFacts
) -> GateObstacle:
    """Why this channel does not carry it. Where a yes waits for its link, another yes would wait too: it is to be confirmed."""
    alone = replace(ask, channels=(channel,))
    carries, left = channel_for(policy, alone, _confirmed(standing, around.pending))
    if carries is None:
        return _refused(channel, left[0], ask, _confirmed(standing, around.pending), around)
    enough = (each for each in around.pending if channel_for(policy, alone, _confirmed(standing, (each,)))[0])
    place = next(enough, _said_no(ask, channel, standing))
    what = f"they have said yes to {place[1]} by {place[0]}, and have not confirmed it"
    params = {"channel": place[0], "topic": place[1]}
    return GateObstacle(
        what, SuggestedChange("confirm", "they follow the link that they were sent", params), around.pending[place]
    )


def _confirmed(standing: RecipientContext, places: Iterable[tuple[str, str]]) -> RecipientContext:
    return replace(standing, consents={**standing.consents, **dict.fromkeys(places, True)})


def _said(place: tuple[str, str], *, granted: bool | None) -> dict[str, object]:
    return {"channel": place[0], "topic": place[1], "granted": granted}


def _said_no(ask: SendRequest, channel: str, standing: RecipientContext) -> tuple[str, str]:
    """Where they have said it, the nearest first."""
    topic = ask.topic or ANY
    places = ((channel, topic), (ANY, topic), (channel, ANY), (ANY, ANY))
    return next((place for place in places if standing.consents.get(place) is False), (channel, topic))


# -- not now -----------------------------------------------------------------------------------------------------------


def _waiting(policy: Policy, ask: SendRequest, standing: RecipientContext, now: datetime) -> tuple[Deferral, ...]:
    channel, _ = channel_for(policy, ask, standing)
    return deferrals_for(policy, ask, standing, channel, now) if channel is not None else ()


def _somebodys(
    policy: Policy, ask: SendRequest, standing: RecipientContext, around: GateFacts, now: datetime
) -> Iterator[GateObstacle]:
    """What does not end by itself, or not at a time that is known."""
    for wait in _waiting(policy, ask, standing, now):
        if wait.until is None or wait.reason.code in SOMEBODYS:
            yield _of_wait(wait, policy, ask, standing, around)


@dataclass(frozen=True, slots=True)
class Opening:
    """From when on the gate lets a message out that is asked for at some instant, why not before, and if it waits for that."""

    at: datetime
    why: str = ""
    waits: bool = True


def next_opening(policy: Policy, ask: SendRequest, standing: RecipientContext, at: datetime) -> Opening:
    """When a message asked for `at` would leave, as far as that is known; one that would be too late by then is lost."""
    verdict = judge(policy, ask, standing, at)
    late = isinstance(verdict, Withhold) and any(reason.code == "expires_first" for reason in verdict.reasons)
    if not (late or isinstance(verdict, Replace | DeferUntil)):
        return Opening(at)
    found = [each for each in _waiting(policy, ask, standing, at) if each.until is not None]
    last = max(found, key=lambda each: each.until or at, default=None)
    waits = isinstance(verdict, DeferUntil)
    return Opening(last.until or at, last.reason.text, waits) if last is not None else Opening(at)


def _of_wait(
    wait: Deferral, policy: Policy, ask: SendRequest, standing: RecipientContext, around: GateFacts
) -> GateObstacle:
    reason, since = wait.reason, around.since
    match reason.code:
        case "stopped":
            stop = _stop_of(reason, ask, standing)
            params = {"scope": stop[0], "name": stop[1]}
            what = "everything" if stop[0] == "all" else f"{stop[0]} {stop[1]}"
            return GateObstacle(
                reason.text, SuggestedChange("release_stop", f"release {what}", params), since.get(("stop", *stop))
            )
        case "held":
            by = standing.held[0].by if standing.held else ""
            return GateObstacle(
                reason.text, SuggestedChange("release_hold", f"{by} releases them", {"by": by}), since.get(("held",))
            )
        case "urgent_ticket":
            ticket = next(iter(sorted(around.tickets)), "")
            params = {"ticket_id": ticket, "signal": next(iter(policy.urgent_ticket.resolved_by), "")}
            change = SuggestedChange("resolve_ticket", f"resolve ticket {ticket}", params)
            return GateObstacle(reason.text, change, since.get(("ticket", ticket)))
        case _ if wait.until is None:
            return GateObstacle(
                reason.text, SuggestedChange("change_policy", f"change {reason.rule}", {"rule": reason.rule})
            )
        case _:
            return GateObstacle(reason.text, _wait(wait.until))


def _stop_of(reason: Reason, ask: SendRequest, standing: RecipientContext) -> tuple[str, str]:
    """Which switch a reason speaks of."""
    for channel in ask.channels:
        for stop in engaged_switch(standing.stops, ask, channel):
            what = "everything" if stop.scope == "all" else f"{stop.scope} {stop.name}"
            if reason.text.startswith(f"{what} is stopped"):
                return stop.scope, stop.name
    return "all", ""


def _wait(until: datetime) -> SuggestedChange:
    return SuggestedChange("wait", f"wait until {until:%Y-%m-%d %H:%M} UTC", {"until": until})
