"""WorkingHours: working windows, deadlines in working time, time worked between instants.

Hours are local times of a zone; elapsed time is counted. A night shift over the autumn clock change is an hour
longer, and the hour that the spring clock change skips is not worked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

MinuteSpan = tuple[int, int]
"""Begin and end in minutes since local midnight; 1440 is the midnight that ends the day."""
NO_TIME = timedelta(0)
ONE_DAY = timedelta(days=1)
_MAX_DAYS = 3_700
"""Days searched: without working time in ten years there is no deadline."""
WHOLE_DAY = 24 * 60


def no_day_off(_: date) -> bool:
    """No day is off: no holidays, no absences."""
    return False


@dataclass(frozen=True, slots=True)
class WorkingHours:
    """A zone, the spans of each weekday (Monday first), and the dates that are off."""

    zone: ZoneInfo
    week: tuple[tuple[MinuteSpan, ...], ...]
    is_off: Callable[[date], bool] = no_day_off

    def windows(self, since: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Begin and end of each working window that ends after `since`, in UTC and in order."""
        try:
            day = since.astimezone(self.zone).date() - ONE_DAY
            previous_end = datetime.min.replace(tzinfo=UTC)
            for _ in range(_MAX_DAYS):
                for begin, end in () if self.is_off(day) else self.week[day.weekday()]:
                    # Where the clock shows a time twice, work begins at the first and ends at the second.
                    opens, closes = max(self._instant(day, begin, 0), previous_end), self._instant(day, end, 1)
                    previous_end = max(previous_end, closes)
                    if closes > max(opens, since):
                        yield opens, closes
                day += ONE_DAY
        except (OverflowError, ValueError):
            return  # the end of the calendar

    def _instant(self, day: date, minute: int, fold: int) -> datetime:
        days, minute_of_day = divmod(minute, WHOLE_DAY)
        local = datetime.combine(day + ONE_DAY * days, time(minute_of_day // 60, minute_of_day % 60), self.zone)
        return local.replace(fold=fold).astimezone(UTC)

    def after(self, since: datetime, length: timedelta) -> datetime | None:
        """The first instant by which `length` has been worked since then; for no length, when work begins. None: never."""
        for begin, end in self.windows(since):
            start = max(begin, since)
            if length <= end - start:
                return start + length
            length -= end - start
        return None

    def between(self, since: datetime, until: datetime) -> timedelta:
        """The time worked between two instants; nothing if the second is not later."""
        total = NO_TIME
        for begin, end in self.windows(since):
            if begin >= until:
                break
            total += min(end, until) - max(begin, since)
        return total
