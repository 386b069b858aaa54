"""Quiet hours, send windows, business days and holidays in the person's zone (C7).

Rules compare local times, so the hours that a clock change skips or repeats need no rule of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema, field_validator, model_validator

from journeys.calendar.holidays import holidays_in
from journeys.language.actions import CALM, ChannelName, Model, Name, Priority

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
FURTHEST = 400
"""Days to look ahead: in a year, weekdays and public holidays repeat."""
_WALL = re.compile(r"^([01]\d|2[0-3]):[0-5]\d$")


def _wall_time(value: object) -> object:
    if isinstance(value, str) and _WALL.match(value):
        return time.fromisoformat(value)
    if isinstance(value, time):
        return value
    raise ValueError("a time of day is written in quotes, as '08:00'")


WallTime = Annotated[
    time,
    BeforeValidator(_wall_time),
    PlainSerializer(lambda value: value.strftime("%H:%M")),
    WithJsonSchema({"type": "string", "pattern": _WALL.pattern}),
]


class QuietHours(Model):
    """No message of these priorities is sent from `start` to `end`, the person's time, also over midnight."""

    name: Name
    channel: ChannelName | None = None
    topic: Name | None = None
    journey: Name | None = None
    priorities: Annotated[tuple[Priority, ...], Field(min_length=1)] = CALM
    start: WallTime
    end: WallTime

    @model_validator(mode="after")
    def _some_time_is_left(self) -> QuietHours:
        if self.start == self.end:
            raise ValueError(f"{self.name} would be quiet all day: start and end are the same")
        return self

    def allows(self, local: datetime) -> bool:
        """Whether messages may be sent at this local time; at `end` they may."""
        at = local.time()
        quiet = self.start <= at < self.end if self.start < self.end else at >= self.start or at < self.end
        return not quiet

    def openings(self, day: date) -> Iterator[datetime]:
        """The local times of a day at which the rule may begin to allow messages."""
        yield datetime.combine(day, self.end)


class SendWindow(Model):
    """Messages of these priorities are sent only on these days between `start` and `end`, and not on public holidays.

    `holidays` is a country or a part of it, by the names of the `holidays` library: `DE`, `US-CA`.
    """

    name: Name
    channel: ChannelName | None = None
    topic: Name | None = None
    journey: Name | None = None
    priorities: Annotated[tuple[Priority, ...], Field(min_length=1)] = CALM
    days: Annotated[tuple[Weekday, ...], Field(min_length=1)] = DAYS
    start: WallTime = time(0)
    end: WallTime | None = None
    holidays: str | None = None

    @field_validator("holidays")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is not None:
            holidays_in(value, 2026)
        return value

    @model_validator(mode="after")
    def _opens(self) -> SendWindow:
        if self.end is not None and self.end <= self.start:
            raise ValueError(f"{self.name} never opens: it ends at or before its start")
        return self

    def allows(self, local: datetime) -> bool:
        """Whether the window is open at this local time; at `end` it is closed."""
        at = local.time()
        if at < self.start or (self.end is not None and at >= self.end):
            return False
        return self.is_open_day(local.date())

    def is_open_day(self, day: date) -> bool:
        """Whether a day is one of `days` and no public holiday."""
        if DAYS[day.weekday()] not in self.days:
            return False
        return self.holidays is None or day not in holidays_in(self.holidays, day.year)

    def openings(self, day: date) -> Iterator[datetime]:
        """The local times of a day at which the rule may begin to allow messages."""
        yield datetime.combine(day, self.start)


HoursRule = QuietHours | SendWindow


def opens_at(rules: Sequence[HoursRule], zone: ZoneInfo, at: datetime) -> datetime | None:
    """The first instant from `at` on that every rule allows; None if there is none within more than a year."""
    if _all_allow(rules, zone, at):
        return at
    first = at.astimezone(zone).date() - timedelta(days=1)
    for number in range(FURTHEST):
        day = first + timedelta(days=number)
        for opening in sorted(_openings(rules, zone, day)):
            if opening > at and _all_allow(rules, zone, opening):
                return opening
    return None


def _all_allow(rules: Sequence[HoursRule], zone: ZoneInfo, at: datetime) -> bool:
    local = at.astimezone(zone)
    return all(rule.allows(local) for rule in rules)


def _openings(rules: Sequence[HoursRule], zone: ZoneInfo, day: date) -> Iterator[datetime]:
    """The instants of a day at which all rules may begin to allow: the rules' own, midnight and clock changes."""
    local_times = {datetime.combine(day, time(0)), *(local for rule in rules for local in rule.openings(day))}
    for local in local_times:
        for fold in (0, 1):
            yield local.replace(tzinfo=zone, fold=fold).astimezone(UTC)
    begin = datetime.combine(day, time(0), zone).astimezone(UTC)
    end = datetime.combine(day + timedelta(days=1), time(0), zone).astimezone(UTC)
    yield from _changes(zone, begin, end)


def _changes(zone: ZoneInfo, begin: datetime, end: datetime) -> Iterator[datetime]:
    """The instants, to the second, at which the zone's offset changes; no zone changes twice in an hour."""
    step = timedelta(hours=1)
    while begin < end:
        if begin.astimezone(zone).utcoffset() != (begin + step).astimezone(zone).utcoffset():
            yield _change_between(zone, begin, begin + step)
        begin += step


def _change_between(zone: ZoneInfo, low: datetime, high: datetime) -> datetime:
    before = low.astimezone(zone).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) // 2
        middle = middle.replace(microsecond=0)
        if middle.astimezone(zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return high
