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
"""Messages in one digest. Further ones are decided as if there were no message to join."""


def consolidation(policy: Policy, priority: str, channel: str) -> Consolidation | None:
    """The rule that combines messages of this priority and channel, or None."""
    for rule in policy.consolidate:
        if rule.channel == channel and priority in rule.priorities:
            return rule
    return None


def head_to_join(
    policy: Policy, request: SendRequest, context: RecipientContext, channel: str, now: datetime
) -> MergeInto | None:
    """The message of this pass that this one joins: of its priority and channel, if nothing else makes this one wait.

    For a rule over all topics and journeys the two are one message, so the head is not counted. For a rule of a topic
    or a journey the head counts.
    """
    rule = consolidation(policy, request.priority, channel)
    if rule is None:
        return None
    for head in context.sent:
        if head.key not in context.heads or (head.channel, head.priority) != (channel, request.priority):
            continue
        parts = (replace(sent, is_part=True) if sent is head else sent for sent in context.sent)
        if deferrals_for(policy, request, replace(context, sent=tuple(parts)), channel, now):
            return None
        return MergeInto(head.key, channel, (Reason("merged", f"sent together with {head.action}", rule.name),))
    return None


def consolidation_wait(
    policy: Policy,
    request: SendRequest,
    context: RecipientContext,
    channel: str,
    now: datetime,
    deadline: datetime | None,
) -> Deferral | None:
    """A wait for similar messages that fall due within the window, so that one digest is sent."""
    rule = consolidation(policy, request.priority, channel)
    if rule is None:
        return None
    limit = rule.window.after(request.ready_at or now)
    similar = (message for message in _similar(request, context.queue, channel) if now < message.due <= limit)
    last = max(similar, key=_due, default=None)
    if last is None or (deadline is not None and last.due >= deadline):
        return None
    text = f"it waits for {last.action or 'another message'} until {readable_instant(last.due)}, to be sent together"
    return Deferral(last.due, Reason("consolidating", text, rule.name))


def _similar(request: SendRequest, queue: Sequence[QueuedMessage], channel: str) -> Iterator[QueuedMessage]:
    """Queued messages of the same priority and channel that wait for a rule; other waits may last much longer."""
    for message in queue:
        is_alike = message.priority == request.priority and message.channels[:1] == (channel,)
        if is_alike and message.rules and message.key != request.key:
            yield message


def _due(message: QueuedMessage) -> datetime:
    return message.due


def outranked_by(policy: Policy, request: SendRequest, context: RecipientContext, channel: str) -> tuple[str, ...]:
    """Keys of queued messages of lower priority that wait for a cooldown which covers this message too."""
    rules = {rule.name for rule in _shared(policy, request, channel)}
    behind = (message for message in context.queue if _rank(message.priority) > _rank(request.priority))
    return tuple(message.key for message in behind if message.rules & rules and message.key != request.key)


def outranking(
    policy: Policy, request: SendRequest, context: RecipientContext, channel: str, deferrals: Sequence[Deferral]
) -> QueuedMessage | None:
    """The queued message of higher priority that waits for the same cooldown: it is sent when that ends."""
    cooling = {deferral.reason.rule for deferral in deferrals if deferral.reason.code == "cooldown"}
    rules = cooling & {rule.name for rule in _shared(policy, request, channel)}
    ahead = (message for message in context.queue if _rank(message.priority) < _rank(request.priority))
    return min(
        (message for message in ahead if message.rules & rules),
        key=lambda message: (_rank(message.priority), message.due),
        default=None,
    )


def _shared(policy: Policy, request: SendRequest, channel: str) -> Iterator[Cooldown]:
    for rule in policy.cooldowns:
        if (
            rule.replaces
            and rule_applies(rule, channel, request.topic, request.journey)
            and request.priority not in rule.exempt
        ):
            yield rule


def _rank(priority: str) -> int:
    """The rank of a priority; 0 is the highest (C6)."""
    return PRIORITIES.index(priority)
