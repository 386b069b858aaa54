"""Duration: ISO 8601 durations of calendar months and an exact length.

`P1M` is a month of the calendar, `P30D` is thirty times 24 hours.
"""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import datetime, timedelta

_ISO = re.compile(
    r"P(?=.)(?:(?P<years>\d{1,4})Y)?(?:(?P<months>\d{1,4})M)?(?:(?P<weeks>\d{1,4})W)?(?:(?P<days>\d{1,5})D)?"
    r"(?:T(?=.)(?:(?P<hours>\d{1,6})H)?(?:(?P<minutes>\d{1,7})M)?(?:(?P<seconds>\d{1,8}(?:\.\d{1,6})?)S)?)?"
)
MAX_DURATION = timedelta(days=366 * 100)


@dataclass(frozen=True, slots=True)
class Duration:
    """Whole calendar months, then an exact length (ISO 8601-1:2019, 5.5.2). Never negative."""

    months: int
    exact: timedelta

    def after(self, at: datetime) -> datetime:
        """The instant this much later, at most the calendar's end. A month after the 31st is the last day of the next."""
        try:
            return (_add_months(at, self.months) if self.months else at) + self.exact
        except (OverflowError, ValueError):
            return datetime.max.replace(tzinfo=at.tzinfo)

    def before(self, at: datetime) -> datetime:
        """The instant this much earlier; never before the calendar's beginning."""
        try:
            return (_add_months(at, -self.months) if self.months else at) - self.exact
        except (OverflowError, ValueError):
            return datetime.min.replace(tzinfo=at.tzinfo)

    def roughly(self) -> timedelta:
        """The length with months of 30 days, for comparisons without a calendar."""
        return timedelta(days=30 * self.months) + self.exact

    def times(self, count: int) -> Duration:
        """The duration times `count`: three times `P1M` is `P3M`, not three times 28 days."""
        return Duration(self.months * count, self.exact * count)

    def at_most(self) -> timedelta:
        """The greatest length, with months of 31 days."""
        return timedelta(days=31 * self.months) + self.exact


def parse_duration(text: str) -> Duration:
    """Parse `P3D`, `PT24H`, `P1M`, `P2W`, `P1Y6M`. Raises ValueError with the expected form."""
    match = _ISO.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not an ISO 8601 duration such as P3D, PT24H, P2W or P1M")
    part = {name: float(value) if value else 0.0 for name, value in match.groupdict().items()}
    exact = timedelta(
        weeks=part["weeks"],
        days=part["days"],
        hours=part["hours"],
        minutes=part["minutes"],
        seconds=part["seconds"],
    )
    duration = Duration(int(part["years"]) * 12 + int(part["months"]), exact)
    if duration.roughly() > MAX_DURATION:
        raise ValueError(f"{text!r} is longer than a hundred years")
    return duration


def is_iso(text: str) -> bool:
    """Whether a text is an ISO 8601 duration and not a CEL expression that yields one."""
    return _ISO.fullmatch(text) is not None


def _add_months(at: datetime, months: int) -> datetime:
    index = at.year * 12 + at.month - 1 + months
    year, month = divmod(index, 12)
    day = min(at.day, calendar.monthrange(year, month + 1)[1])
    return at.replace(year=year, month=month + 1, day=day)
