"""Verdict of the gate on one message to one person, pure and total.

How it weighs, always in this order; the first group that objects speaks, with all its reasons:

1. Is it still true? Its state was left, it came too late, the product state it needs is not known, they have left the account
   it is about or the role that it is for, another account of theirs has told them already, or they have answered its run and a
   person speaks with them: **withhold**.
2. May anyone say it? The first channel with an address that is not suppressed, and consent, carries it; else **withhold**.
3. May it be said now? A stop, an open urgent ticket, a cooldown, a cap, quiet hours: **defer** until the last of them
   frees. A wait whose end is known and not before the message expires is a **withhold** at once; a cap never drops what
   can still wait. One that matters more and waits for the same cooldown has its place: **replace**.
4. With whom? One of its kind that goes out in this pass takes it along: **merge**. Others of its kind that fall due
   within the consolidation window are waited for.

Why the channels before the one that carries it were passed over is told with every verdict, but behind what it hangs on:
the first reason is the one that a run hears. The order in which messages were sent or rules were written changes nothing.
`now` is the gate's clock, never `ask.at`. The caller counts as sent what is reserved or being sent, so that caps are exact
under concurrency.
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
"""Why nothing is sent to an address, by the reason that is kept with it."""


def judge(policy: Policy, ask: SendRequest, standing: RecipientContext, now: datetime) -> Verdict:
    """Whether this message goes out now, later, with another or never, and why."""
    deadline = expiry(policy, ask)
    untrue = tuple(_untrue(policy, ask, standing, deadline, now))
    if untrue:
        return Withhold(untrue)
    channel, passed_over = channel_for(policy, ask, standing)
    if channel is None:
        return Withhold(passed_over)
    head = None if ask.alone else head_to_join(policy, ask, standing, channel, now)
    if head is not None:
        return MergeInto(head.key, channel, (*passed_over, *head.reasons))
    found = deferrals_for(policy, ask, standing, channel, now)
    if found:
        return _later(policy, ask, standing, channel, passed_over, found, deadline)
    others = None if ask.alone else consolidation_wait(policy, ask, standing, channel, now, deadline)
    if others is not None and others.until is not None:
        return DeferUntil(others.until, (others.reason, *passed_over))
    return SendNow(channel, passed_over)


def expiry(policy: Policy, ask: SendRequest) -> datetime | None:
    """When the message is too late to be useful: its own word, else the policy's."""
    if ask.expires_at is not None or policy.expires_after is None:
        return ask.expires_at
    return policy.expires_after.after(ask.at)


# -- is it still true? -------------------------------------------------------------------------------------------------


def _untrue(
    policy: Policy, ask: SendRequest, standing: RecipientContext, deadline: datetime | None, now: datetime
) -> Iterator[Reason]:
    if not ask.holds and not ask.stands:
        yield Reason("state_left", ask.holds_why or "the run has left the state that requested it")
    if deadline is not None and deadline <= now:
        yield Reason("expired", f"it expired on {readable_instant(deadline)}")
    if ask.missing and ask.priority not in policy.state_exempt:
        yield Reason("state_unknown", f"not known: {', '.join(sorted(ask.missing))}")
    if ask.roles and ask.account not in standing.accounts:
        yield Reason("no_recipient", "the person no longer belongs to this account")
    elif ask.roles and standing.role not in ask.roles:
        yield Reason(
            "no_recipient", f"it is for the account's {' or '.join(ask.roles)}, and the person no longer has that role"
        )
    if _sent_already(policy, ask, standing, now):
        yield Reason("told_already", f"another account of this person has already sent {ask.template}")
    for talk in standing.talks if ask.run and ask.priority not in PRESSING else ():
        if talk.run == ask.run and talk.until > now:
            text = f"the person replied to {ask.journey}: {talk.owner or 'a colleague'} is answering"
            yield Reason("in_conversation", text, about=talk)


def _sent_already(policy: Policy, ask: SendRequest, standing: RecipientContext, now: datetime) -> bool:
    """A person of several accounts gets one message, not one for each of them."""
    if ask.account is None:
        return False
    return any(
        sent.template == ask.template
        and sent.account not in (None, ask.account)
        and policy.once_across_accounts.after(sent.at) > now
        for sent in standing.sent
    )


# -- may anyone say it? ------------------------------------------------------------------------------------------------


def channel_for(policy: Policy, ask: SendRequest, standing: RecipientContext) -> tuple[str | None, tuple[Reason, ...]]:
    """The first channel with an address and consent, with what stood against those before it."""
    passed_over: list[Reason] = []
    for channel in ask.allowed_channels:
        refusal = _refusal(policy, ask, standing, channel)
        if refusal is None:
            return channel, tuple(passed_over)
        passed_over.append(refusal)
    return None, tuple(passed_over) or (Reason("no_address", "the message names no channel"),)


def _refusal(policy: Policy, ask: SendRequest, standing: RecipientContext, channel: str) -> Reason | None:
    if not standing.addresses.get(channel, False):
        return Reason("no_address", f"the person has no address for {channel}", about=ChannelAddress(channel))
    if channel in standing.suppressed:
        because = standing.suppressed[channel]
        text = f"the address for {channel} is suppressed: {SUPPRESSED.get(because, because)}"
        return Reason("suppressed", text, about=ChannelAddress(channel))
    for topic in ask.topics or (ask.topic,):
        refusal = consent_refusal(policy, topic, ask.priority, channel, standing.consents)
        if refusal is not None:
            return refusal
    return None


# -- may it be said now? -----------------------------------------------------------------------------------------------


def _later(
    policy: Policy,
    ask: SendRequest,
    standing: RecipientContext,
    channel: str,
    passed_over: tuple[Reason, ...],
    found: Sequence[Deferral],
    deadline: datetime | None,
) -> Verdict:
    reasons = tuple(wait.reason for wait in found)
    if any(wait.is_final(deadline) for wait in found):
        return Withhold((*reasons, Reason("expires_first", _too_late(deadline)), *passed_over))
    ahead = outranking(policy, ask, standing, channel, found)
    if ahead is not None:
        text = f"{ahead.action or 'another message'} has a higher priority and waits for the same cooldown"
        return Replace(ahead.key, (*reasons, Reason("replaced", text), *passed_over))
    until = max(wait.until for wait in found if wait.until is not None)
    until = until if deadline is None else min(until, deadline)
    return DeferUntil(until, (*reasons, *passed_over))


def _too_late(deadline: datetime | None) -> str:
    return "that never ends" if deadline is None else f"it expires before that, on {readable_instant(deadline)}"
