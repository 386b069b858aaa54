"""Consolidate messages due together into a digest; replace lower-priority ones (C4, C6)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from journeys.gate.deferral import Deferral, deferrals_for, readable_instant, rule_applies
from journeys.gate.policy import Consolidation, Cooldown, Policy
from journeys.gate.verdicts import MergeInto, QueuedMessage, Reason, RecipientContext, SendRequest
from journeys.language.actions import PRIORITIES

MAX_PARTS = 10
"""Messages in one; a person reads no more. What comes after them is judged as if there were nobody to go with."""


def consolidation(policy: Policy, priority: str, channel: str) -> Consolidation | None:
    """The rule by which such messages become one, if there is one."""
    fitting = (rule for rule in policy.consolidate if rule.channel == channel and priority in rule.priorities)
    return next(fitting, None)


def head_to_join(
    policy: Policy, ask: SendRequest, standing: RecipientContext, channel: str, now: datetime
) -> MergeInto | None:
    """The message of this pass that takes this one along: of its priority and channel, and nothing else keeps it waiting.

    The two are one message where a rule is over all of them, so the head is not counted against it; where it is of a topic or a
    journey the head counts, as each part does for its own.
    """
    rule = consolidation(policy, ask.priority, channel)
    if rule is None:
        return None
    for head in standing.sent:
        if head.key not in standing.heads or (head.channel, head.priority) != (channel, ask.priority):
            continue
        parts = (replace(sent, is_part=True) if sent is head else sent for sent in standing.sent)
        if deferrals_for(policy, ask, replace(standing, sent=tuple(parts)), channel, now):
            return None
        return MergeInto(head.key, channel, (Reason("merged", f"sent together with {head.action}", rule.name),))
    return None


def consolidation_wait(
    policy: Policy, ask: SendRequest, standing: RecipientContext, channel: str, now: datetime, deadline: datetime | None
) -> Deferral | None:
    """A short wait for others that fall due within the window, so that one message comes instead of several."""
    rule = consolidation(policy, ask.priority, channel)
    if rule is None:
        return None
    limit = rule.window.after(ask.ready_at or now)
    last = max(
        (each for each in _alike(ask, standing.queue, channel) if now < each.due <= limit), key=_due, default=None
    )
    if last is None or (deadline is not None and last.due >= deadline):
        return None
    text = f"it waits for {last.action or 'another message'} until {readable_instant(last.due)}, to be sent together"
    return Deferral(last.due, Reason("consolidating", text, rule.name))


def _alike(ask: SendRequest, queue: Sequence[QueuedMessage], channel: str) -> Iterator[QueuedMessage]:
    """Those that wait for something with a known end; a stop or a ticket may hold them for much longer."""
    for each in queue:
        if each.priority == ask.priority and each.channels[:1] == (channel,) and each.rules and each.key != ask.key:
            yield each


def _due(queued: QueuedMessage) -> datetime:
    return queued.due


def outranked_by(policy: Policy, ask: SendRequest, standing: RecipientContext, channel: str) -> tuple[str, ...]:
    """Those that wait within a cooldown which this message, that matters more, will begin or wait for as well."""
    rules = {rule.name for rule in _shared(policy, ask, channel)}
    found = (each for each in standing.queue if _rank(each.priority) > _rank(ask.priority) and each.rules & rules)
    return tuple(each.key for each in found if each.key != ask.key)


def outranking(
    policy: Policy, ask: SendRequest, standing: RecipientContext, channel: str, found: Sequence[Deferral]
) -> QueuedMessage | None:
    """The one that matters more and waits for the same cooldown: it has the place when that ends."""
    cooling = {wait.reason.rule for wait in found if wait.reason.code == "cooldown"}
    rules = cooling & {rule.name for rule in _shared(policy, ask, channel)}
    ahead = [each for each in standing.queue if _rank(each.priority) < _rank(ask.priority) and each.rules & rules]
    return min(ahead, key=lambda each: (_rank(each.priority), each.due), default=None)


def _shared(policy: Policy, ask: SendRequest, channel: str) -> Iterator[Cooldown]:
    for rule in policy.cooldowns:
        if rule.replaces and rule_applies(rule, channel, ask.topic, ask.journey) and ask.priority not in rule.exempt:
            yield rule


def _rank(priority: str) -> int:
    """0 is the most pressing (C6)."""
    return PRIORITIES.index(priority)
