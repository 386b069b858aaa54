"""Deadlines in working time over weekends, holidays, absences and clock changes (C10)."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from journeys.calendar.working_time import WorkingHours
from journeys.tasks.assignment import Roster
from journeys.tasks.team import Team, read_team

HOUR = timedelta(hours=1)
NINE_TO_FIVE = (((9 * 60, 17 * 60),),) * 5 + ((), ())
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia", "UTC")


def team(text: str) -> Roster:
    parsed, source = read_team(text)
    assert parsed is not None, source.problems
    return Roster(parsed)


def berlin(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Berlin"))


DANA = team(
    """
zone: Europe/Berlin
hours: {mon-fri: "09:00-17:00"}
holidays: DE
people:
  dana: {away: [{from: 2026-06-22, to: 2026-06-23}]}
  nick: {hours: {mon-fri: "22:00-24:00", sun: "00:00-06:00"}}
"""
)


@pytest.mark.parametrize(
    ("since", "within", "due"),
    [
        ("2026-06-08 10:00", "PT4H", "2026-06-08 14:00"),
        ("2026-06-08 15:00", "PT4H", "2026-06-09 11:00"),
        ("2026-06-08 07:00", "PT1H", "2026-06-08 10:00"),
        ("2026-06-08 09:00", "PT8H", "2026-06-08 17:00"),  # at the end of the working day
        ("2026-06-12 16:00", "PT2H", "2026-06-15 10:00"),  # over a weekend
        ("2026-06-13 12:00", "PT30M", "2026-06-15 09:30"),  # from a Saturday
        ("2026-04-02 16:00", "PT2H", "2026-04-07 10:00"),  # Good Friday and Easter Monday
        ("2026-06-19 16:00", "PT2H", "2026-06-24 10:00"),  # dana is away on Monday and Tuesday
        ("2026-03-27 16:00", "PT2H", "2026-03-30 10:00"),  # the clock is set forward in between
    ],
)
def test_C10_a_deadline_is_counted_in_the_owners_working_hours(since, within, due):
    assert DANA.due("dana", berlin(since), within) == berlin(due)


def test_C10_a_night_shift_over_a_clock_change_is_an_hour_shorter_or_longer():
    hours = DANA.hours("nick")
    spring, autumn, other = (berlin(f"2026-{day} 00:00") for day in ("03-29", "10-25", "10-18"))
    worked = [hours.between(night, night.astimezone(UTC) + 12 * HOUR) for night in (spring, autumn, other)]
    assert worked == [5 * HOUR, 7 * HOUR, 6 * HOUR]


@pytest.mark.parametrize("zone", ZONES)
def test_C10_a_deadline_is_counted_in_the_owners_zone(zone):
    roster = Roster(Team.model_validate({"people": {"kim": {"zone": zone}}}))
    due = roster.due("kim", datetime(2026, 6, 10, 0, tzinfo=ZoneInfo(zone)), "PT3H")
    assert due is not None
    assert due.astimezone(ZoneInfo(zone)).strftime("%d %H:%M") == "10 12:00"


def test_an_owner_without_future_working_time_has_no_deadline():
    away = {"from": "2020-01-01", "to": "9999-12-31"}
    roster = Roster(Team.model_validate({"people": {"kim": {"away": [away]}}}))
    assert roster.due("kim", datetime(2026, 6, 10, tzinfo=UTC), "PT1H") is None


minutes = st.integers(0, 24 * 60)


@st.composite
def weeks(draw):
    """Any week with some working hours."""
    days = []
    for _ in range(7):
        marks = sorted(draw(st.sets(minutes, max_size=4)))
        days.append(tuple(zip(marks[::2], marks[1::2], strict=False)))
    return tuple(days) if any(days) else NINE_TO_FIVE


instants = st.timedeltas(timedelta(0), timedelta(days=730)).map(lambda since: datetime(2026, 1, 1, tzinfo=UTC) + since)
lengths = st.timedeltas(timedelta(0), timedelta(hours=60))


@given(weeks(), st.sampled_from(ZONES), st.sets(st.integers(0, 365)), instants, lengths)
def test_C10_a_deadline_is_the_first_instant_after_the_given_working_time(week, zone, off, since, length):
    """Any zone, also with clock changes of half an hour or a skipped day, and any days off."""
    days_off = {date(2026, 1, 1) + timedelta(days=day) for day in off}
    hours = WorkingHours(ZoneInfo(zone), week, days_off.__contains__)
    minutes_a_week = sum(end - begin for spans in week for begin, end in spans)
    assume(length <= 200 * timedelta(minutes=minutes_a_week))  # later than ten years is no deadline
    due = hours.after(since, length)
    assert due is not None
    assert due >= since
    assert hours.between(since, due) == length
    if length:
        assert hours.between(since, due - timedelta.resolution) < length
    local = (due - timedelta.resolution if length else due).astimezone(ZoneInfo(zone))
    assert local.date() not in days_off


@given(weeks(), st.sampled_from(ZONES), instants, instants, instants)
def test_working_times_of_adjacent_spans_add_up(week, zone, one, another, last):
    hours = WorkingHours(ZoneInfo(zone), week)
    first, second, third = sorted((one, another, last))
    assert hours.between(first, second) + hours.between(second, third) == hours.between(first, third)
    assert timedelta(0) <= hours.between(first, third) <= third - first


@given(
    instants, st.timedeltas(timedelta(minutes=1), timedelta(hours=30)), st.timedeltas(timedelta(0), timedelta(days=9))
)
def test_C10_a_postponed_deadline_keeps_the_remaining_working_time(since, length, pause):
    hours = DANA.hours("dana")
    due = hours.after(since, length)
    assert due is not None
    moved = DANA.moved("dana", "dana", due, since, since + pause)
    assert moved is not None
    assert hours.between(since + pause, moved) == length


@pytest.mark.parametrize(
    ("since", "due"), [("2026-06-12 16:30", "2026-06-15 09:30"), ("2026-06-15 09:20", "2026-06-15 09:30")]
)
def test_C10_a_reminder_is_due_before_the_deadline_by_working_time(since, due):
    roster = Roster(DANA.team.model_copy(update={"remind": HOUR}))
    at = roster.remind_at("call", "dana", berlin(due), berlin(since), working=True)
    assert at == max(berlin("2026-06-12 16:30"), berlin(since)), "half an hour on Friday, half an hour on Monday"
