"""Places under caps and cooldowns, left to queued messages that are ahead.

A message waits if it would take the place of one that is ahead: a message before it in the order of `order_of`, that
takes a place under the same rule, and whose wait has a known end. So who is queued with a known end is not overtaken,
and does not expire where it would have gone without less pressing messages (record 0023).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

from journeys.gate.consent import channel_for
from journeys.gate.consolidation import due_together
from journeys.gate.deferral import (
    Deferral,
    hours_from,
    is_expected,
    is_general,
    place_until,
    places_until,
    readable_instant,
    rules_for,
    uses,
    zone_for,
)
from journeys.gate.policy import Cap, Cooldown, Policy
from journeys.gate.queue import QueuedMessage, order_of
from journeys.gate.verdicts import Reason, RecipientContext, SendRequest

Ahead = tuple[tuple[QueuedMessage, str], ...]
"""Queued messages that are ahead, each with the channel that would carry it."""


def behind(
    policy: Policy, request: SendRequest, context: RecipientContext, channel: str, now: datetime, *, joins: bool = False
) -> tuple[Deferral, ...]:
    """The waits of a message that may go otherwise, for the messages ahead of it and then for its hours.

    A message that `joins` a digest takes no place under general rules. One that may have arrived has its places already.
    """
    ahead = _ahead(policy, request, context) if context.queue and not request.tried_by else ()
    if not ahead:
        return ()
    zone, rules = zone_for(policy, request, context), rules_for(policy, request, channel)
    together = {message.key for message in due_together(policy, request, context, channel, now)}
    others = tuple((message, by) for message, by in ahead if message.key not in together)
    limits: tuple[Cap | Cooldown, ...] = (*rules.cooldowns, *rules.caps)
    deferrals = list[Deferral]()
    for rule in limits:
        if not (joins and is_general(rule)):
            deferral = _left_to(rule, others if is_general(rule) else ahead, context, zone, now)
            deferrals += [deferral] if deferral is not None else []
    if deferrals and rules.hours:
        begin = max(deferral.until for deferral in deferrals if deferral.until is not None)
        deferrals += [replace(wait, known=False) for wait in hours_from(rules.hours, zone, begin, now)]
    return tuple(deferrals)


def _ahead(policy: Policy, request: SendRequest, context: RecipientContext) -> Ahead:
    mine = order_of(request)
    pressing = (message for message in context.queue if message.key != request.key and order_of(message) < mine)
    carried = ((each, channel_for(policy, each, context)[0]) for each in pressing if is_expected(policy, each))
    return tuple((message, by) for message, by in carried if by is not None)


def _left_to(
    rule: Cap | Cooldown, ahead: Ahead, context: RecipientContext, zone: ZoneInfo, now: datetime
) -> Deferral | None:
    """The wait for the first message ahead, if not all of them have a place with this message.

    Counted are the messages ahead that fall due while this one would still take its place, and what is taken by then.
    """
    end = place_until(rule, now, zone)
    waiting = [message for message, by in ahead if message.due < end and uses(rule, message, by)]
    first = min(waiting, key=lambda message: message.due, default=None)
    limit = rule.limit if isinstance(rule, Cap) else 1
    if first is None or limit == 0:
        return None
    until = max(first.due, now)
    if len(places_until(rule, context, zone, until)) + len(waiting) < limit:
        return None
    kind = "cap" if isinstance(rule, Cap) else "cooldown"
    text = f"{first.action or 'another message'} is ahead of it under {kind} {rule.name}, due {readable_instant(until)}"
    return Deferral(until, Reason("behind", text, rule.name), known=False)
