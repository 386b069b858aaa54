"""Verdict of the gate on one message to one person, pure and total.

It checks four groups in this order. The first group with reasons decides, with all its reasons:

1. Validity: **withhold** if the state was left, the message expired, it needs unknown product state, the person left
   its account or has none of its roles, another account of theirs has sent the same template, or they replied to its
   run.
2. Channel: the first with an address that is not suppressed, and with consent; without one, **withhold**.
3. Time: **defer** for kill switches, holds, urgent tickets, cooldowns, caps and quiet hours until the last of them
   ends. If the end is known and the message expires before it, **withhold** at once. If a message of higher priority
   waits for the same cooldown, **replace**.
4. Consolidation: **merge** into a similar message that goes out in this pass, or **defer** for similar messages that
   fall due within the window.

Reasons for skipped channels come last; the first reason is reported to the run. The order of sent messages and of rules
changes nothing. `now` is the gate's clock, never `request.at`. The caller counts reserved messages and those being sent
as sent, so that caps are exact under concurrency.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

from journeys.gate.consent import consent_refusal
from journeys.gate.consolidation import consolidation_wait, head_to_join, outranking
from journeys.gate.deferral import Deferral, deferrals_for, readable_instant
from journeys.gate.policy import Policy
from journeys.gate.verdicts import (
    ChannelAddress,
    DeferUntil,
    MergeInto,
    Reason,
    RecipientContext,
    Replace,
    SendNow,
    SendRequest,
    Verdict,
    Withhold,
)
from journeys.language.actions import PRESSING

SUPPRESSED: Final[Mapping[str, str]] = {
    "hard_bounce": "a message to it bounced",
    "soft_bounces": "several messages to it bounced",
    "complaint": "the recipient complained about a message",
    "stop_word": "the recipient replied with an opt-out keyword",
    "operator": "an operator suppressed it",
}
"""Why nothing is sent to an address, in words, by the reason of its suppression."""


def judge(policy: Policy, request: SendRequest, context: RecipientContext, now: datetime) -> Verdict:
    """The verdict on a message: send now, defer, merge, replace or withhold, with its reasons."""
    deadline = expiry(policy, request)
    reasons = tuple(_invalid(policy, request, context, deadline, now))
    if reasons:
        return Withhold(reasons)
    channel, passed_over = channel_for(policy, request, context)
    if channel is None:
        return Withhold(passed_over)
    head = None if request.alone else head_to_join(policy, request, context, channel, now)
    if head is not None:
        return MergeInto(head.key, channel, (*passed_over, *head.reasons))
    deferrals = deferrals_for(policy, request, context, channel, now)
    if deferrals:
        return _later(policy, request, context, channel, passed_over, deferrals, deadline)
    others = None if request.alone else consolidation_wait(policy, request, context, channel, now, deadline)
    if others is not None and others.until is not None:
        return DeferUntil(others.until, (others.reason, *passed_over))
    return SendNow(channel, passed_over)


def expiry(policy: Policy, request: SendRequest) -> datetime | None:
    """When the message expires: by the request, else by the policy; None for never."""
    if request.expires_at is not None or policy.expires_after is None:
        return request.expires_at
    return policy.expires_after.after(request.at)


# -- validity ----------------------------------------------------------------------------------------------------------


def _invalid(
    policy: Policy, request: SendRequest, context: RecipientContext, deadline: datetime | None, now: datetime
) -> Iterator[Reason]:
    if not request.holds and not request.stands:
        yield Reason("state_left", request.holds_why or "the run has left the state that requested it")
    if deadline is not None and deadline <= now:
        yield Reason("expired", f"it expired on {readable_instant(deadline)}")
    if request.missing and request.priority not in policy.state_exempt:
        yield Reason("state_unknown", f"not known: {', '.join(sorted(request.missing))}")
    if request.roles and request.account not in context.accounts:
        yield Reason("no_recipient", "the person no longer belongs to this account")
    elif request.roles and context.role not in request.roles:
        yield Reason(
            "no_recipient",
            f"it is for the account's {' or '.join(request.roles)}, and the person no longer has that role",
        )
    if _sent_for_other_account(policy, request, context, now):
        yield Reason("told_already", f"another account of this person has already sent {request.template}")
    for conversation in context.talks if request.run and request.priority not in PRESSING else ():
        if conversation.run == request.run and conversation.until > now:
            text = f"the person replied to {request.journey}: {conversation.owner or 'a colleague'} is answering"
            yield Reason("in_conversation", text, about=conversation)


def _sent_for_other_account(policy: Policy, request: SendRequest, context: RecipientContext, now: datetime) -> bool:
    """Whether another account of the person has sent this template: a person gets it once, not once an account."""
    if request.account is None:
        return False
    return any(
        sent.template == request.template
        and not sent.to_other
        and sent.account not in (None, request.account)
        and policy.once_across_accounts.after(sent.at) > now
        for sent in context.sent
    )


# -- channel -----------------------------------------------------------------------------------------------------------


def channel_for(
    policy: Policy, request: SendRequest, context: RecipientContext
) -> tuple[str | None, tuple[Reason, ...]]:
    """The first channel with an address and consent, and the reasons against those before it."""
    passed_over: list[Reason] = []
    for channel in request.allowed_channels:
        refusal = _refusal(policy, request, context, channel)
        if refusal is None:
            return channel, tuple(passed_over)
        passed_over.append(refusal)
    return None, tuple(passed_over) or (Reason("no_address", "the message names no channel"),)


def _refusal(policy: Policy, request: SendRequest, context: RecipientContext, channel: str) -> Reason | None:
    if not context.addresses.get(channel, False):
        return Reason("no_address", f"the person has no address for {channel}", about=ChannelAddress(channel))
    if channel in context.suppressed:
        cause = context.suppressed[channel]
        text = f"the address for {channel} is suppressed: {SUPPRESSED.get(cause, cause)}"
        return Reason("suppressed", text, about=ChannelAddress(channel))
    for topic in request.topics or (request.topic,):
        refusal = consent_refusal(policy, topic, request.priority, channel, context.consents)
        if refusal is not None:
            return refusal
    return None


# -- time --------------------------------------------------------------------------------------------------------------


def _later(
    policy: Policy,
    request: SendRequest,
    context: RecipientContext,
    channel: str,
    passed_over: tuple[Reason, ...],
    deferrals: Sequence[Deferral],
    deadline: datetime | None,
) -> Verdict:
    reasons = tuple(deferral.reason for deferral in deferrals)
    if any(deferral.never_in_time(deadline) for deferral in deferrals):
        return Withhold((*reasons, Reason("expires_first", _too_late(deadline)), *passed_over))
    ahead = outranking(policy, request, context, channel, deferrals)
    if ahead is not None:
        text = f"{ahead.action or 'another message'} has a higher priority and waits for the same cooldown"
        return Replace(ahead.key, (*reasons, Reason("replaced", text), *passed_over))
    until = max(deferral.until for deferral in deferrals if deferral.until is not None)
    until = until if deadline is None else min(until, deadline)
    return DeferUntil(until, (*reasons, *passed_over))


def _too_late(deadline: datetime | None) -> str:
    return "this wait never ends" if deadline is None else f"it expires before that, on {readable_instant(deadline)}"
