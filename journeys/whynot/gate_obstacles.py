"""Obstacles at the gate for a message, each with the change that removes it.

A wait with a known end is no obstacle: the gate keeps the message and sends it then. If the message would expire before
that, `next_opening` gives the instant to request it. A deferral that only people can end (a kill switch, a hold, an
urgent ticket) is an obstacle. Facts come from the reasons' `about`, `code` and `rule`; their `text` is only shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from journeys.consent.statements import ADDRESS_FIELDS
from journeys.gate.consent import channel_for
from journeys.gate.deferral import Deferral
from journeys.gate.judge import judge, reasons_to_wait
from journeys.gate.policy import Policy
from journeys.gate.reason_codes import ENDED_BY_PEOPLE
from journeys.gate.verdicts import (
    ANY,
    ConsentScope,
    DeferUntil,
    Hold,
    KillSwitch,
    MergeInto,
    Reason,
    RecipientContext,
    Replace,
    SendNow,
    SendRequest,
    Withhold,
)
from journeys.whynot.changes import SuggestedChange, wait_until

_NO_LONGER_VALID: Final = frozenset(
    {"state_left", "expired", "state_unknown", "no_recipient", "told_already", "in_conversation"}
)


@dataclass(frozen=True, slots=True)
class GateFacts:
    """Facts beside `RecipientContext`: open urgent tickets, templates that may not be sent, and since when facts hold.

    `since` is keyed by the fact, as `("stop", scope, name)` or `("consent", channel, topic)`. `unsendable` has the reason by
    template. `pending` are opt-ins by (channel, topic) that the person has not confirmed, with their instants: not consent yet.
    """

    since: Mapping[tuple[str, ...], datetime] = field(default_factory=dict)
    tickets: Sequence[str] = ()
    unsendable: Mapping[str, str] = field(default_factory=dict)
    pending: Mapping[tuple[str, str], datetime] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GateObstacle:
    """One reason of the gate, with the change that removes it."""

    what: str
    change: SuggestedChange
    since: datetime | None = None


def gate_obstacles(
    policy: Policy, request: SendRequest, context: RecipientContext, facts: GateFacts, now: datetime
) -> tuple[GateObstacle, ...]:
    """All obstacles at the gate for a message that is requested now; empty if it is sent, at once or after its wait."""
    fault = facts.unsendable.get(request.template)
    if fault is not None:
        text = f"review {request.template} and make it live"
        change = SuggestedChange("mend_content", text, {"template": request.template})
        return (GateObstacle(fault, change, facts.since.get(("content", request.template))),)
    match judge(policy, request, context, now):
        case SendNow() | MergeInto():
            return ()
        case DeferUntil() | Replace():
            return tuple(_without_known_end(policy, request, context, facts, now))
        case Withhold(reasons):
            return tuple(_withheld(reasons, policy, request, context, facts, now))


# -- withheld ----------------------------------------------------------------------------------------------------------


def _withheld(
    reasons: tuple[Reason, ...],
    policy: Policy,
    request: SendRequest,
    context: RecipientContext,
    facts: GateFacts,
    now: datetime,
) -> Iterator[GateObstacle]:
    if any(reason.code == "expires_first" for reason in reasons):
        yield from _without_known_end(policy, request, context, facts, now)
        return
    for reason in reasons:
        obstacle = _no_longer_valid(reason, policy, request, context, facts)
        if obstacle is not None:
            yield obstacle
    if not any(reason.code in _NO_LONGER_VALID for reason in reasons):
        # One channel is enough: the author's first whose address can be provided. There is one reason for each channel.
        refused = list(zip(request.channels, reasons, strict=False))
        possible = (pair for pair in refused if pair[1].code != "no_address" or pair[0] in ADDRESS_FIELDS)
        channel, _ = next(possible, refused[0])
        yield _channel_obstacle(channel, policy, request, context, facts)


def _no_longer_valid(
    reason: Reason, policy: Policy, request: SendRequest, context: RecipientContext, facts: GateFacts
) -> GateObstacle | None:
    match reason.code:
        case "state_unknown":
            fields = sorted(request.missing)
            return GateObstacle(reason.text, SuggestedChange("tell", f"set {', '.join(fields)}", {"fields": fields}))
        case "told_already":
            same = (sent for sent in context.sent if sent.template == request.template)
            sent_at = [sent.at for sent in same if sent.account not in (None, request.account)]
            until = max(policy.once_across_accounts.after(at) for at in sent_at)
            return GateObstacle(reason.text, wait_until(until), min(sent_at))
        case "in_conversation":
            params = {"run": request.run, "template": request.template}
            change = SuggestedChange("close_conversation", "close the conversation", params)
            return GateObstacle(reason.text, change, facts.since.get(("talk", request.run)))
        case _:
            return None


# -- a channel that may not be used ------------------------------------------------------------------------------------


def _channel_obstacle(
    channel: str, policy: Policy, request: SendRequest, context: RecipientContext, facts: GateFacts
) -> GateObstacle:
    """Why this channel may not be used. An opt-in that waits for confirmation needs that, not another opt-in."""
    alone = replace(request, channels=(channel,))
    carrier, refusals = channel_for(policy, alone, _confirmed(context, facts.pending))
    if carrier is None:
        return _refused(channel, refusals[0], facts)
    sufficient = (scope for scope in facts.pending if channel_for(policy, alone, _confirmed(context, (scope,)))[0])
    _, (refusal, *_) = channel_for(policy, alone, context)
    scope = next(sufficient, _scope_of(refusal, channel))
    what = f"the person opted in to {_in_words(scope)} and has not confirmed it"
    params = {"channel": scope[0], "topic": scope[1]}
    change = SuggestedChange("confirm", "the person follows the confirmation link", params)
    return GateObstacle(what, change, facts.pending[scope])


def _refused(channel: str, reason: Reason, facts: GateFacts) -> GateObstacle:
    match reason.code:
        case "suppressed":
            text = f"lift the suppression of the person's address for {channel}"
            change = SuggestedChange("lift_suppression", text, {"channel": channel})
            return GateObstacle(reason.text, change, facts.since.get(("suppressed", channel)))
        case "consent_withdrawn" | "consent_required":
            scope = _scope_of(reason, channel)
            opted_out = reason.code == "consent_withdrawn"
            # A general opt-out is taken back: an opt-in to everything is more than the message needs.
            take_back = opted_out and (scope[0] != channel or scope[1] == ANY)
            action = "takes back the opt-out from" if take_back else "opts in to"
            text = f"the person {action} {_in_words(scope)}"
            params = {"channel": scope[0], "topic": scope[1], "granted": None if take_back else True}
            since = facts.since.get(("consent", *scope)) if opted_out else None
            return GateObstacle(reason.text, SuggestedChange("consent", text, params), since)
        case _:
            field = ADDRESS_FIELDS.get(channel)
            params = {"channel": channel, "field": f"profile.{field}" if field else None}
            return GateObstacle(reason.text, SuggestedChange("address", f"provide an address for {channel}", params))


def _confirmed(context: RecipientContext, scopes: Iterable[tuple[str, str]]) -> RecipientContext:
    return replace(context, consents={**context.consents, **dict.fromkeys(scopes, True)})


def _scope_of(reason: Reason, channel: str) -> tuple[str, str]:
    """The channel and topic that a reason about consent names."""
    scope = reason.about
    return (scope.channel, scope.topic) if isinstance(scope, ConsentScope) else (channel, ANY)


def _in_words(scope: tuple[str, str]) -> str:
    channel, topic = scope
    return f"{'all topics' if topic == ANY else topic} by {'any channel' if channel == ANY else channel}"


# -- deferred ----------------------------------------------------------------------------------------------------------


def _deferrals(policy: Policy, request: SendRequest, context: RecipientContext, now: datetime) -> tuple[Deferral, ...]:
    channel, _ = channel_for(policy, request, context)
    return reasons_to_wait(policy, request, context, channel, now) if channel is not None else ()


def _without_known_end(
    policy: Policy, request: SendRequest, context: RecipientContext, facts: GateFacts, now: datetime
) -> Iterator[GateObstacle]:
    """Deferrals that do not end by themselves, or not at a known instant."""
    for deferral in _deferrals(policy, request, context, now):
        if deferral.until is None or deferral.reason.code in ENDED_BY_PEOPLE:
            yield _deferral_obstacle(deferral, policy, facts)


def _deferral_obstacle(deferral: Deferral, policy: Policy, facts: GateFacts) -> GateObstacle:
    reason, since = deferral.reason, facts.since
    match reason:
        case Reason(about=KillSwitch() as switch):
            params: dict[str, str] = {"scope": switch.scope, "name": switch.name}
            change = SuggestedChange("release_stop", f"release the kill switch for {switch.target}", params)
            return GateObstacle(reason.text, change, since.get(("stop", switch.scope, switch.name)))
        case Reason(about=Hold() as hold):
            change = SuggestedChange("release_hold", f"{hold.by} releases the hold", {"by": hold.by})
            return GateObstacle(reason.text, change, since.get(("held",)))
        case Reason(code="urgent_ticket"):
            ticket = next(iter(sorted(facts.tickets)), "")
            params = {"ticket_id": ticket, "signal": next(iter(policy.urgent_ticket.resolved_by), "")}
            change = SuggestedChange("resolve_ticket", f"resolve ticket {ticket}", params)
            return GateObstacle(reason.text, change, since.get(("ticket", ticket)))
        case _ if deferral.until is None:
            change = SuggestedChange("change_policy", f"change the policy rule {reason.rule}", {"rule": reason.rule})
            return GateObstacle(reason.text, change)
        case _:
            return GateObstacle(reason.text, wait_until(deferral.until))


@dataclass(frozen=True, slots=True)
class Opening:
    """When the gate would send a message that is requested at some instant.

    `reason` is why not before. `waits`: the gate keeps the message until then; if not, the message would be lost.
    """

    at: datetime
    reason: Reason | None = None
    waits: bool = True


def next_opening(policy: Policy, request: SendRequest, context: RecipientContext, at: datetime) -> Opening:
    """When a message that is requested `at` would be sent, as far as that is known."""
    verdict = judge(policy, request, context, at)
    expires = isinstance(verdict, Withhold) and any(reason.code == "expires_first" for reason in verdict.reasons)
    if not (expires or isinstance(verdict, Replace | DeferUntil)):
        return Opening(at)
    ending = [deferral for deferral in _deferrals(policy, request, context, at) if deferral.until is not None]
    last = max(ending, key=lambda deferral: deferral.until or at, default=None)
    if last is None:
        return Opening(at)
    return Opening(last.until or at, last.reason, waits=isinstance(verdict, DeferUntil))
