"""Verdict of the gate on one message to one person, pure and total.

It checks four groups in this order. The first group with reasons decides, with all its reasons:

1. Validity: **withhold** if the state was left, the message expired, it needs unknown product state, the person left
   its account or has none of its roles, another account of theirs has sent the same template, or they replied to its
   run.
2. Channel: the first with an address that is not suppressed, and with consent; without one, **withhold**.
3. Time: **defer** for kill switches, holds, urgent tickets, cooldowns, caps and quiet hours until the last of them
   ends. If the end is known and the message expires before it, **withhold** at once. If a message of higher priority
   waits for the same cooldown and goes no later, **replace**. Without any of these, **defer** for queued messages that
   are ahead under a cap or a cooldown (`fairness.py`).
4. Consolidation: **merge** into a similar message that goes out in this pass, or **defer** for similar messages that
   fall due within the window.

Reasons for skipped channels come last; the first reason is reported to the run. The order of sent messages and of rules
changes nothing. `now` is the gate's clock, never `request.at`. The caller counts reserved messages and those being sent
as sent, so that caps are exact under concurrency.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from journeys.gate.consent import channel_for
from journeys.gate.consolidation import consolidation_wait, head_to_join, merged_with, outranking
from journeys.gate.deferral import Deferral, deferrals_for, expired, expiry, readable_instant
from journeys.gate.fairness import behind
from journeys.gate.policy import Policy
from journeys.gate.verdicts import (
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


def judge(policy: Policy, request: SendRequest, context: RecipientContext, now: datetime) -> Verdict:
    """The verdict on a message: send now, defer, merge, replace or withhold, with its reasons."""
    deadline = expiry(policy, request)
    reasons = tuple(_invalid(policy, request, context, now))
    if reasons:
        return Withhold(reasons)
    channel, passed_over = channel_for(policy, request, context)
    if channel is None:
        return Withhold(passed_over)
    joined = head_to_join(policy, request, context, channel)
    if joined is not None and not reasons_to_wait(policy, request, joined[1], channel, now, joins=True):
        return MergeInto(joined[0].key, channel, (*passed_over, merged_with(policy, joined[0])))
    deferrals = reasons_to_wait(policy, request, context, channel, now)
    if deferrals:
        return _later(policy, request, context, channel, passed_over, deferrals, deadline)
    others = consolidation_wait(policy, request, context, channel, now)
    if others is not None and others.until is not None:
        return DeferUntil(others.until, (others.reason, *passed_over))
    return SendNow(channel, passed_over)


def reasons_to_wait(
    policy: Policy, request: SendRequest, context: RecipientContext, channel: str, now: datetime, *, joins: bool = False
) -> tuple[Deferral, ...]:
    """All reasons to wait; without any of its own, those of a message that leaves its place to messages ahead.

    `joins`: the message would be sent in a digest.
    """
    own = deferrals_for(policy, request, context, channel, now)
    return own or behind(policy, request, context, channel, now, joins=joins)


# -- validity ----------------------------------------------------------------------------------------------------------


def _invalid(policy: Policy, request: SendRequest, context: RecipientContext, now: datetime) -> Iterator[Reason]:
    if not request.holds and not request.stands:
        yield Reason("state_left", request.holds_why or "the run has left the state that requested it")
    too_late = expired(policy, request, now)
    if too_late is not None:
        yield too_late
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
    until = max(deferral.until for deferral in deferrals if deferral.until is not None)
    ahead = outranking(policy, request, context, channel, deferrals, until)
    if ahead is not None:
        text = f"{ahead.action or 'another message'} has a higher priority and waits for the same cooldown"
        return Replace(ahead.key, (*reasons, Reason("replaced", text), *passed_over))
    until = until if deadline is None else min(until, deadline)
    return DeferUntil(until, (*reasons, *passed_over))


def _too_late(deadline: datetime | None) -> str:
    return "this wait never ends" if deadline is None else f"it expires before that, on {readable_instant(deadline)}"
