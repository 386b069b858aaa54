"""Deferral rules: kill switches, holds, urgent tickets, cooldowns, caps, quiet hours, send windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from journeys.calendar.timezones import zone_named
from journeys.gate.policy import Cap, Cooldown, Policy
from journeys.gate.quiet_hours import HoursRule, QuietHours, SendWindow, opens_at
from journeys.gate.verdicts import KillSwitch, Reason, RecipientContext, SendRequest, SentMessage
from journeys.language.actions import PRESSING

GateRule = Cap | Cooldown | QuietHours | SendWindow


@dataclass(frozen=True, slots=True)
class Deferral:
    """`until` None is never; `known` is false when the end may come sooner or later than that."""

    until: datetime | None
    reason: Reason
    known: bool = True

    def is_final(self, deadline: datetime | None) -> bool:
        """Whether waiting is no use: it never ends, or surely not before the message does."""
        return self.until is None or (self.known and deadline is not None and self.until >= deadline)


def deferrals_for(
    policy: Policy, ask: SendRequest, standing: RecipientContext, channel: str, now: datetime
) -> tuple[Deferral, ...]:
    """Everything that keeps it from this channel now. Hours count from where the others end, so one wait says it all."""
    name = standing.zone if ask.zone is None else ask.zone
    zone = zone_named(name) or zone_named(policy.timezone) or ZoneInfo("UTC")
    found = [*_stopped(policy, ask, standing, channel, now), *_counted(policy, ask, standing, channel, zone, now)]
    begin = max((wait.until for wait in found if wait.until is not None), default=now)
    return (*found, *_hours(policy, ask, channel, zone, begin, now))


def counts_for(rule: Cap | Cooldown, sent: SentMessage) -> bool:
    """Whether what went out counts for a rule: a part of a message only for its own topic and journey."""
    if sent.is_part and rule.topic is None and rule.journey is None:
        return False
    return rule_applies(rule, sent.channel, sent.topic, sent.journey)


def rule_applies(rule: GateRule, channel: str, topic: str | None, journey: str) -> bool:
    """Whether a rule speaks of such a message at all; its priorities are another question."""
    return rule.channel in (None, channel) and rule.topic in (None, topic) and rule.journey in (None, journey)


def engaged_switches(found: Sequence[KillSwitch], ask: SendRequest, channel: str) -> Iterator[KillSwitch]:
    """The switches that are thrown for this message."""
    names = {"channel": channel, "journey": ask.journey, "template": ask.template}
    return (stop for stop in found if stop.scope == "all" or names.get(stop.scope) == stop.name)


# -- until somebody says so --------------------------------------------------------------------------------------------


def _stopped(
    policy: Policy, ask: SendRequest, standing: RecipientContext, channel: str, now: datetime
) -> Iterator[Deferral]:
    again = policy.urgent_ticket.recheck.after(now)
    for stop in engaged_switches(standing.stops, ask, channel):
        text = f"a kill switch stops {stop.target}" + (f": {stop.why}" if stop.why else "")
        yield Deferral(again, Reason("stopped", text, about=stop), known=False)
    for held in standing.held if ask.priority not in PRESSING else ():
        text = f"{held.by} has put automation on hold until {readable_instant(held.until)}"
        text += f": {held.why}" if held.why else ""
        yield Deferral(held.until, Reason("held", text, about=held), known=False)
    if standing.urgent_open and ask.priority in policy.urgent_ticket.defers:
        yield Deferral(again, Reason("urgent_ticket", "an urgent ticket is open"), known=False)


# -- how much, how often -----------------------------------------------------------------------------------------------


def _counted(
    policy: Policy, ask: SendRequest, standing: RecipientContext, channel: str, zone: ZoneInfo, now: datetime
) -> Iterator[Deferral]:
    for cooldown in policy.cooldowns:
        if rule_applies(cooldown, channel, ask.topic, ask.journey) and ask.priority not in cooldown.exempt:
            yield from _cooling(cooldown, standing, now)
    for cap in policy.caps:
        if rule_applies(cap, channel, ask.topic, ask.journey) and ask.priority in cap.priorities:
            yield from _capped(cap, standing, zone, now)


def _cooling(rule: Cooldown, standing: RecipientContext, now: datetime) -> Iterator[Deferral]:
    ends = [
        rule.between.after(sent.at)
        for sent in standing.sent
        if counts_for(rule, sent) and sent.priority not in rule.exempt
    ]
    until = max(ends, default=now)
    if until > now:
        yield Deferral(
            until, Reason("cooldown", f"cooldown {rule.name} lasts until {readable_instant(until)}", rule.name)
        )


def _capped(rule: Cap, standing: RecipientContext, zone: ZoneInfo, now: datetime) -> Iterator[Deferral]:
    """Each message leaves a rolling window once its own length of it is over; the cap frees when enough have left.

    A calendar window ends for all of them at the same midnight of the person.
    """
    ends = sorted(
        end
        for sent in standing.sent
        if counts_for(rule, sent) and sent.priority in rule.priorities
        if (end := _leaves(rule, sent, zone)) > now
    )
    if len(ends) < rule.limit:
        return
    if rule.limit == 0:
        yield Deferral(None, Reason("cap_reached", f"cap {rule.name} allows no messages", rule.name))
        return
    until = ends[len(ends) - rule.limit]
    text = f"cap {rule.name} is reached: {len(ends)} of {rule.limit}, free again on {readable_instant(until)}"
    yield Deferral(until, Reason("cap_reached", text, rule.name))


def _leaves(rule: Cap, sent: SentMessage, zone: ZoneInfo) -> datetime:
    if rule.calendar is not None:
        return period_end(rule.calendar, sent.at, zone)
    assert rule.window is not None
    return rule.window.after(sent.at)


def period_end(calendar: Literal["day", "week", "month"], at: datetime, zone: ZoneInfo) -> datetime:
    """The midnight, on that wall, that ends the day, the week (Monday is its first day, ISO 8601) or the month of an instant."""
    day = at.astimezone(zone).date()
    match calendar:
        case "day":
            following = day + timedelta(days=1)
        case "week":
            following = day + timedelta(days=7 - day.weekday())
        case "month":
            following = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
    return datetime.combine(following, time(0), zone).astimezone(at.tzinfo)


# -- the clock on the wall ---------------------------------------------------------------------------------------------


def _hours(
    policy: Policy, ask: SendRequest, channel: str, zone: ZoneInfo, begin: datetime, now: datetime
) -> Iterator[Deferral]:
    all_hours: tuple[HoursRule, ...] = (*policy.quiet_hours, *policy.send_windows)
    rules = [
        rule
        for rule in all_hours
        if rule_applies(rule, channel, ask.topic, ask.journey) and ask.priority in rule.priorities
    ]
    if not rules:
        return
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
    """An instant for a reader."""
    return f"{at:%Y-%m-%d %H:%M} UTC"
