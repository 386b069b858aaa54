"""Deferral rules: kill switches, holds, urgent tickets, cooldowns, caps, quiet hours, send windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Literal, Protocol
from zoneinfo import ZoneInfo

from journeys.calendar.timezones import zone_named
from journeys.gate.policy import Cap, Cooldown, Policy
from journeys.gate.queue import QueuedMessage
from journeys.gate.quiet_hours import HoursRule, QuietHours, SendWindow, opens_at
from journeys.gate.verdicts import KillSwitch, Reason, RecipientContext, SendRequest, SentMessage
from journeys.language.actions import PRESSING

GateRule = Cap | Cooldown | QuietHours | SendWindow


class Expiring(Protocol):
    """A message, requested at `at`, that may have an expiry of its own."""

    @property
    def at(self) -> datetime: ...
    @property
    def expires_at(self) -> datetime | None: ...


@dataclass(frozen=True, slots=True)
class Deferral:
    """A reason to wait. `until` None is without end; `known` is false if the wait may end sooner or later than that."""

    until: datetime | None
    reason: Reason
    known: bool = True

    def never_in_time(self, deadline: datetime | None) -> bool:
        """Whether the wait never ends, or surely not before the message expires."""
        return self.until is None or (self.known and deadline is not None and self.until >= deadline)


@dataclass(frozen=True, slots=True)
class ApplicableRules:
    """The rules that apply to messages of one channel, topic, journey and priority."""

    cooldowns: tuple[Cooldown, ...]
    caps: tuple[Cap, ...]
    hours: tuple[HoursRule, ...]


def deferrals_for(
    policy: Policy, request: SendRequest, context: RecipientContext, channel: str, now: datetime
) -> tuple[Deferral, ...]:
    """All reasons to wait before this channel may be used. Hours are checked at the end of the other waits."""
    zone, rules = zone_for(policy, request, context), rules_for(policy, request, channel)
    deferrals = list[Deferral]()
    if context.stops or context.held or context.urgent_open:
        deferrals += _stops(policy, request, context, channel, now)
    for cooldown in rules.cooldowns:
        deferrals += _cooldown(cooldown, context, zone, now)
    for cap in rules.caps:
        deferrals += _cap(cap, context, zone, now)
    if rules.hours:
        begin = max((deferral.until for deferral in deferrals if deferral.until is not None), default=now)
        deferrals += hours_from(rules.hours, zone, begin, now)
    return tuple(deferrals)


def zone_for(policy: Policy, request: SendRequest, context: RecipientContext) -> ZoneInfo:
    """The recipient's time zone for this message (C7)."""
    name = context.zone if request.zone is None else request.zone
    return zone_named(name) or zone_named(policy.timezone) or ZoneInfo("UTC")


def expiry(policy: Policy, message: Expiring) -> datetime | None:
    """When the message expires: by its request, else by the policy; None for never."""
    if message.expires_at is not None or policy.expires_after is None:
        return message.expires_at
    return policy.expires_after.after(message.at)


def expired(policy: Policy, message: Expiring, now: datetime) -> Reason | None:
    """The reason to withhold a message that has expired; None before."""
    deadline = expiry(policy, message)
    if deadline is None or deadline > now:
        return None
    return Reason("expired", f"it expired on {readable_instant(deadline)}")


def is_expected(policy: Policy, message: QueuedMessage) -> bool:
    """Whether the wait of a queued message ends by itself before the message expires."""
    deadline = expiry(policy, message) if message.has_known_end else None
    return message.has_known_end and (deadline is None or message.due < deadline)


def rules_for(policy: Policy, request: SendRequest, channel: str) -> ApplicableRules:
    """The rules of a policy that a message has to keep."""
    topic, journey, priority = request.topic, request.journey, request.priority
    key = ("rules", channel, topic or "", journey, priority)
    rules: ApplicableRules | None = policy.memo.get(key)
    if rules is None:
        hours: tuple[HoursRule, ...] = (*policy.quiet_hours, *policy.send_windows)
        rules = policy.memo[key] = ApplicableRules(
            tuple(
                rule for rule in policy.cooldowns
                if rule_applies(rule, channel, topic, journey) and priority not in rule.exempt
            ),
            tuple(
                rule for rule in policy.caps if rule_applies(rule, channel, topic, journey) and priority in rule.priorities
            ),
            tuple(rule for rule in hours if rule_applies(rule, channel, topic, journey) and priority in rule.priorities),
        )  # fmt: skip
    return rules


def counts_for(rule: Cap | Cooldown, sent: SentMessage) -> bool:
    """Whether a sent message of a covered priority counts; a part of a digest only for rules of a topic or journey."""
    if sent.is_part and is_general(rule):
        return False
    return rule_applies(rule, sent.channel, sent.topic, sent.journey)


def is_general(rule: Cap | Cooldown) -> bool:
    """Whether a rule is over all topics and journeys, so that a digest counts once for it."""
    return rule.topic is None and rule.journey is None


def uses(rule: Cap | Cooldown, message: QueuedMessage, channel: str) -> bool:
    """Whether a message by this channel takes a place under a rule."""
    covered = message.priority in rule.priorities if isinstance(rule, Cap) else message.priority not in rule.exempt
    return covered and rule_applies(rule, channel, message.topic, message.journey)


def rule_applies(rule: GateRule, channel: str, topic: str | None, journey: str) -> bool:
    """Whether a rule covers the channel, topic and journey of a message; priorities are not compared."""
    return rule.channel in (None, channel) and rule.topic in (None, topic) and rule.journey in (None, journey)


def engaged_switches(switches: Sequence[KillSwitch], request: SendRequest, channel: str) -> Iterator[KillSwitch]:
    """The engaged kill switches that stop this message."""
    names = {"channel": channel, "journey": request.journey, "template": request.template}
    return (switch for switch in switches if switch.scope == "all" or names.get(switch.scope) == switch.name)


# -- until a person ends it --------------------------------------------------------------------------------------------


def _stops(
    policy: Policy, request: SendRequest, context: RecipientContext, channel: str, now: datetime
) -> Iterator[Deferral]:
    again = policy.urgent_ticket.recheck.after(now)
    for switch in engaged_switches(context.stops, request, channel):
        text = f"a kill switch stops {switch.target}" + (f": {switch.why}" if switch.why else "")
        yield Deferral(again, Reason("stopped", text, about=switch), known=False)
    for hold in context.held if request.priority not in PRESSING else ():
        text = f"{hold.by} has put automation on hold until {readable_instant(hold.until)}"
        text += f": {hold.why}" if hold.why else ""
        yield Deferral(hold.until, Reason("held", text, about=hold), known=False)
    if context.urgent_open and request.priority in policy.urgent_ticket.defers:
        yield Deferral(again, Reason("urgent_ticket", "an urgent ticket is open"), known=False)


# -- cooldowns and caps ------------------------------------------------------------------------------------------------


def places_until(rule: Cap | Cooldown, context: RecipientContext, zone: ZoneInfo, now: datetime) -> list[datetime]:
    """When each place under a rule that is taken now is free again, the earliest first."""
    if isinstance(rule, Cap):
        counted = [sent.at for sent in context.sent if sent.priority in rule.priorities and counts_for(rule, sent)]
    else:
        counted = [sent.at for sent in context.sent if sent.priority not in rule.exempt and counts_for(rule, sent)]
    return sorted([end for at in counted if (end := place_until(rule, at, zone)) > now])


def place_until(rule: Cap | Cooldown, at: datetime, zone: ZoneInfo) -> datetime:
    """Until when a message that is sent at this instant takes a place under a rule.

    Each message leaves a rolling window after the window's length; all leave a calendar window at its last midnight.
    """
    if isinstance(rule, Cooldown):
        return rule.between.after(at)
    if rule.calendar is not None:
        return period_end(rule.calendar, at, zone)
    assert rule.window is not None
    return rule.window.after(at)


def _cooldown(rule: Cooldown, context: RecipientContext, zone: ZoneInfo, now: datetime) -> Iterator[Deferral]:
    for until in places_until(rule, context, zone, now)[-1:]:
        text = f"cooldown {rule.name} lasts until {readable_instant(until)}"
        yield Deferral(until, Reason("cooldown", text, rule.name))


def _cap(rule: Cap, context: RecipientContext, zone: ZoneInfo, now: datetime) -> Iterator[Deferral]:
    """The cap frees when enough messages have left its window."""
    ends = places_until(rule, context, zone, now)
    if len(ends) < rule.limit:
        return
    if rule.limit == 0:
        yield Deferral(None, Reason("cap_reached", f"cap {rule.name} allows no messages", rule.name))
        return
    until = ends[len(ends) - rule.limit]
    text = f"cap {rule.name} is reached: {len(ends)} of {rule.limit}, free again on {readable_instant(until)}"
    yield Deferral(until, Reason("cap_reached", text, rule.name))


def period_end(calendar: Literal["day", "week", "month"], at: datetime, zone: ZoneInfo) -> datetime:
    """The midnight of this zone that ends the day, week (from Monday, ISO 8601) or month of an instant."""
    day = at.astimezone(zone).date()
    match calendar:
        case "day":
            following = day + timedelta(days=1)
        case "week":
            following = day + timedelta(days=7 - day.weekday())
        case "month":
            following = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
    return datetime.combine(following, time(0), zone).astimezone(at.tzinfo)


# -- quiet hours and send windows --------------------------------------------------------------------------------------


def hours_from(rules: Sequence[HoursRule], zone: ZoneInfo, begin: datetime, now: datetime) -> Iterator[Deferral]:
    """The wait for hours at the end of other waits, at `begin`."""
    until = opens_at(rules, zone, begin)
    if until is None:
        yield Deferral(None, Reason("never_opens", f"{', '.join(rule.name for rule in rules)} leave no time to send"))
    elif until > now:
        for rule in rules:
            if not rule.allows(begin.astimezone(zone)):
                yield Deferral(until, _closed(rule, zone, until))


def _closed(rule: HoursRule, zone: ZoneInfo, until: datetime) -> Reason:
    opening = f"next opening {readable_instant(until)}"
    if isinstance(rule, QuietHours):
        return Reason("quiet_hours", f"quiet hours {rule.name} apply in {zone.key}: {opening}", rule.name)
    return Reason("send_window", f"send window {rule.name} is closed in {zone.key}: {opening}", rule.name)


def readable_instant(at: datetime) -> str:
    """An instant as text for people, in UTC."""
    return f"{at:%Y-%m-%d %H:%M} UTC"
