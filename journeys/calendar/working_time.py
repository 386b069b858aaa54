"""Working time: when somebody works, how long until so much of it has passed, and how much lies between two instants.

Hours are wall-clock times of the person's zone; what is counted is the time that really passes between them. So a night
shift of an autumn night that has an hour twice is an hour longer, and nobody works in an hour that a spring night skips.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

MinuteSpan = tuple[int, int]
"""Minutes since midnight on the wall clock, begin and end; 1440 is the midnight that ends the day."""
NOTHING = timedelta(0)
ONE_DAY = timedelta(days=1)
FARTHEST = 3_700
"""Days that are looked at: who does not work within ten years has no deadline."""
WHOLE_DAY = 24 * 60


def never_off(_: date) -> bool:
    """Somebody without holidays and absences."""
    return False


@dataclass(frozen=True, slots=True)
class WorkingHours:
    """A zone, the spans of each weekday (Monday first), and on which dates nobody works all the same."""

    zone: ZoneInfo
    week: tuple[tuple[MinuteSpan, ...], ...]
    is_off: Callable[[date], bool] = never_off

    def windows(self, since: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Begin and end of each working window that ends after `since`, in UTC and in order."""
        try:
            day = since.astimezone(self.zone).date() - ONE_DAY
            done = datetime.min.replace(tzinfo=UTC)
            for _ in range(FARTHEST):
                for begin, end in () if self.is_off(day) else self.week[day.weekday()]:
                    # Where the clock shows a time twice, work begins at the first and ends at the second.
                    opens, closes = max(self._at(day, begin, 0), done), self._at(day, end, 1)
                    done = max(done, closes)
                    if closes > max(opens, since):
                        yield opens, closes
                day += ONE_DAY
        except (OverflowError, ValueError):
            return  # the end of the calendar

    def _at(self, day: date, minute: int, fold: int) -> datetime:
        days, rest = divmod(minute, WHOLE_DAY)
        local = datetime.combine(day + ONE_DAY * days, time(rest // 60, rest % 60), self.zone)
        return local.replace(fold=fold).astimezone(UTC)

    def after(self, since: datetime, length: timedelta) -> datetime | None:
        """The first instant by which so much has been worked since then; of no time, when work begins. None: never."""
        for begin, end in self.windows(since):
            start = max(begin, since)
            if length <= end - start:
                return start + length
            length -= end - start
        return None

    def between(self, since: datetime, until: datetime) -> timedelta:
        """How much is worked between two instants; nothing when the second is not later."""
        total = NOTHING
        for begin, end in self.windows(since):
            if begin >= until:
                break
            total += min(end, until) - max(begin, since)
        return total
