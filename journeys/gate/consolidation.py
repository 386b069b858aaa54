"""Consolidate messages due together into a digest; replace lower-priority ones (C4, C6)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from journeys.gate.consent import channel_for
from journeys.gate.deferral import (
    Deferral,
    expiry,
    is_expected,
    readable_instant,
    rule_applies,
    rules_for,
    zone_for,
)
from journeys.gate.policy import Consolidation, Cooldown, Policy
from journeys.gate.queue import QueuedMessage
from journeys.gate.quiet_hours import opens_at
from journeys.gate.verdicts import Reason, RecipientContext, SendRequest, SentMessage
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
    policy: Policy, request: SendRequest, context: RecipientContext, channel: str
) -> tuple[SentMessage, RecipientContext] | None:
    """The message of this pass that this one may join, of its priority and channel, and the context for that.

    For a rule over all topics and journeys the two are one message, so the head is not counted. For a rule of a topic
    or a journey the head counts.
    """
    if request.alone or not context.heads or consolidation(policy, request.priority, channel) is None:
        return None
    for head in context.sent:
        if head.key in context.heads and (head.channel, head.priority) == (channel, request.priority):
            parts = (replace(sent, is_part=True) if sent is head else sent for sent in context.sent)
            return head, replace(context, sent=tuple(parts))
    return None


def merged_with(policy: Policy, head: SentMessage) -> Reason:
    """The reason of a message that joins this one."""
    rule = consolidation(policy, head.priority, head.channel)
    return Reason("merged", f"sent together with {head.action}", rule.name if rule is not None else "")


def consolidation_wait(
    policy: Policy, request: SendRequest, context: RecipientContext, channel: str, now: datetime
) -> Deferral | None:
    """A wait for similar messages that fall due within the window, so that one digest is sent."""
    if not context.queue:
        return None
    last = max(due_together(policy, request, context, channel, now), key=_due, default=None)
    rule = consolidation(policy, request.priority, channel)
    if last is None or rule is None:
        return None
    text = f"it waits for {last.action or 'another message'} until {readable_instant(last.due)}, to be sent together"
    return Deferral(last.due, Reason("consolidating", text, rule.name))


def due_together(
    policy: Policy, request: SendRequest, context: RecipientContext, channel: str, now: datetime
) -> list[QueuedMessage]:
    """The queued messages that would become one message with this one: alike, and due while it can still wait for them.

    It can wait for the window, if it does not expire before and if its hours allow it then. Waits without a known end
    may last much longer.
    """
    rule = consolidation(policy, request.priority, channel)
    if rule is None or request.alone:
        return []
    limit, deadline = rule.window.after(request.ready_at or now), expiry(policy, request)
    hours, zone = rules_for(policy, request, channel).hours, zone_for(policy, request, context)
    return [
        message
        for message in context.queue
        if message.priority == request.priority
        and message.key != request.key
        and message.has_known_end
        and now < message.due <= limit
        and (deadline is None or message.due < deadline)
        and channel_for(policy, message, context)[0] == channel
        and opens_at(hours, zone, message.due) == message.due
    ]


def _due(message: QueuedMessage) -> datetime:
    return message.due


def outranked_by(
    policy: Policy, request: SendRequest, context: RecipientContext, channel: str, due: datetime, now: datetime
) -> tuple[str, ...]:
    """Keys of queued messages of lower priority that wait for a cooldown which covers this message too.

    `due` is when this message goes. One that would go before it keeps its place: both would be lost if this one came to
    nothing.
    """
    rules = {rule.name for rule in _shared(policy, request, channel)}
    return tuple(
        message.key
        for message in context.queue
        if _rank(message.priority) > _rank(request.priority)
        and message.rules & rules
        and message.key != request.key
        and due <= max(message.due, now)
    )


def outranking(
    policy: Policy,
    request: SendRequest,
    context: RecipientContext,
    channel: str,
    deferrals: Sequence[Deferral],
    until: datetime,
) -> QueuedMessage | None:
    """The queued message of higher priority that waits for the same cooldown and goes by `until`, when this one would."""
    cooling = {deferral.reason.rule for deferral in deferrals if deferral.reason.code == "cooldown"}
    rules = cooling & {rule.name for rule in _shared(policy, request, channel)}
    if not rules:
        return None
    ahead = (message for message in context.queue if _rank(message.priority) < _rank(request.priority))
    return min(
        (
            message
            for message in ahead
            if message.rules & rules and message.due <= until and is_expected(policy, message)
        ),
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
