"""Quiet hours and send windows in every time zone, including skipped and repeated hours (C7)."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo, available_timezones

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from journeys.calendar.timezones import zone_of
from journeys.gate.policy import Policy, load_policy
from journeys.gate.quiet_hours import DAYS, HoursRule, QuietHours, SendWindow, opens_at
from tests.support.reached import must_reach, reached

NIGHT = QuietHours(name="night", start="21:00", end="08:00")
OFFICE = SendWindow(name="office", days=DAYS[:5], start="09:00", end="17:00", holidays="DE")
ZONES = sorted(name for name in available_timezones() if "/" in name or name == "UTC")
EDGE = (
    QuietHours(name="over-the-gap", start="01:30", end="02:30"),
    QuietHours(name="until-midnight", start="20:00", end="00:00"),
    QuietHours(name="by-day", start="00:10", end="23:50"),
)


@cache
def changing_zones() -> list[tuple[str, list[datetime]]]:
    """Zones whose offset changes in 2026 or 2027, with the days of the changes; of equal zones the first by name."""
    days = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number) for number in range(731)]
    first_names: dict[tuple[timedelta | None, ...], str] = {}
    for name in ZONES:
        zone = ZoneInfo(name)
        first_names.setdefault(tuple(day.astimezone(zone).utcoffset() for day in days), name)
    return [
        (name, [day for day, (before, after) in zip(days, pairwise(offsets), strict=False) if before != after])
        for offsets, name in first_names.items()
        if len(set(offsets)) > 1
    ]


def is_quiet(rule: QuietHours, zone: ZoneInfo, at: datetime) -> bool:
    """An independent implementation of the rule, by minutes of the day."""
    local = at.astimezone(zone)
    minute = local.hour * 60 + local.minute
    start, end = (bound.hour * 60 + bound.minute for bound in (rule.start, rule.end))
    return start <= minute < end if start < end else minute >= start or minute < end


@pytest.mark.parametrize("rule", [NIGHT, *EDGE], ids=lambda rule: rule.name)
def test_C7_quiet_hours_end_at_the_right_instant_in_every_zone_around_clock_changes(
    rule: QuietHours,
) -> None:
    checked = 0
    for name, days in changing_zones():
        zone = ZoneInfo(name)
        for day in days:
            last = None
            for minutes in range(0, 48 * 60, 47):
                at = day - timedelta(hours=12) + timedelta(minutes=minutes)
                opens = opens_at([rule], zone, at)
                assert opens is not None, "every message can be sent some time"
                assert opens >= at
                assert not is_quiet(rule, zone, opens), f"{name} {at}"
                assert opens == at or is_quiet(rule, zone, opens - timedelta(seconds=1)), (
                    f"{name} {at}: it could be sent earlier"
                )
                assert opens == at or is_quiet(rule, zone, at)
                assert last is None or opens >= last, "order is kept"
                last = opens
                checked += 1
    assert checked > 5_000


def test_C7_quiet_hours_that_end_in_a_skipped_hour_end_when_the_clock_is_set_forward() -> None:
    rule, zone = EDGE[0], ZoneInfo("Europe/Vienna")
    at = datetime(2026, 3, 29, 0, 45, tzinfo=UTC)  # 01:45; at 02:00 the clock is set forward to 03:00
    assert opens_at([rule], zone, at) == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)


def test_C7_quiet_hours_in_a_repeated_hour_apply_twice() -> None:
    zone = ZoneInfo("Europe/Vienna")
    rule = QuietHours(name="early", start="02:00", end="02:30")
    first = datetime(2026, 10, 25, 0, 10, tzinfo=UTC)
    assert opens_at([rule], zone, first) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert opens_at([rule], zone, first + timedelta(hours=1)) == datetime(2026, 10, 25, 1, 30, tzinfo=UTC)


def test_C7_a_send_window_skips_weekends_and_local_holidays() -> None:
    zone = ZoneInfo("Europe/Berlin")
    eve = datetime(2026, 12, 24, 16, 30, tzinfo=UTC)  # Thursday, 17:30; Christmas is Friday and Saturday
    assert opens_at([OFFICE], zone, eve) == datetime(2026, 12, 28, 8, 0, tzinfo=UTC)


def test_C7_quiet_hours_hold_in_zones_of_part_hours_and_across_the_date_line() -> None:
    at = datetime(2026, 6, 1, 1, 0, tzinfo=UTC)
    assert opens_at([NIGHT], ZoneInfo("Asia/Kathmandu"), at) == datetime(2026, 6, 1, 2, 15, tzinfo=UTC)
    assert opens_at([NIGHT], ZoneInfo("Pacific/Kiritimati"), at) == at
    assert opens_at([NIGHT], ZoneInfo("Pacific/Pago_Pago"), datetime(2026, 6, 1, 9, 0, tzinfo=UTC)) == datetime(
        2026, 6, 1, 19, 0, tzinfo=UTC
    )


_times = st.times().map(lambda at: at.replace(second=0, microsecond=0, fold=0, tzinfo=None))


@st.composite
def hours(draw: st.DrawFn) -> HoursRule:
    start, end = draw(st.lists(_times, min_size=2, max_size=2, unique=True))
    if draw(st.booleans()):
        return QuietHours(name="quiet", start=start, end=end)
    low, high = min(start, end), max(start, end)
    days = draw(st.lists(st.sampled_from(DAYS), min_size=1, unique=True))
    return SendWindow(name="window", days=tuple(days), start=low, end=high)


@must_reach(open=5, later=5, never=1)
@settings(max_examples=150)
@given(
    rules=st.lists(hours(), min_size=1, max_size=3),
    zone=st.sampled_from(ZONES),
    at=st.integers(0, 2 * 365 * 24 * 60).map(lambda n: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=n)),
)
def test_C7_a_message_is_sent_at_the_first_instant_that_all_rules_allow(
    rules: list[HoursRule], zone: str, at: datetime
) -> None:
    place = ZoneInfo(zone)
    opens = opens_at(rules, place, at)
    allowed = lambda when: all(rule.allows(when.astimezone(place)) for rule in rules)  # noqa: E731 -- used thrice here
    probes = [at + timedelta(minutes=minutes) for minutes in range(0, 10 * 24 * 60, 61)]
    reached("never" if opens is None else "open" if opens == at else "later")
    if opens is None:
        assert not any(map(allowed, probes))
        return
    assert allowed(opens)
    assert not any(allowed(probe) for probe in probes if probe < opens)


@pytest.mark.parametrize(
    ("profile", "account", "zone"),
    [
        ({"timezone": "Asia/Kolkata", "phone": "+4315551234"}, {"timezone": "Europe/Berlin"}, "Asia/Kolkata"),
        ({"phone": "+4315551234"}, {"timezone": "Europe/Berlin"}, "Europe/Vienna"),
        ({"phone": "+1"}, {"timezone": "Europe/Berlin"}, "Europe/Berlin"),
        ({"timezone": "../../etc/passwd"}, {}, "Africa/Lagos"),
        ({"timezone": 7, "phone": "no number"}, {"timezone": ""}, "Africa/Lagos"),
        ({"timezone": "Mars/Olympus"}, {"timezone": "Etc/Unknown"}, "Africa/Lagos"),
    ],
)
def test_C7_the_zone_comes_from_profile_then_phone_then_account_then_policy(
    profile: dict[str, object], account: dict[str, object], zone: str
) -> None:
    assert zone_of(profile, account, "Africa/Lagos") == zone


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"quiet_hours": [{"name": "n", "start": "21:00", "end": "21:00"}]}, "quiet all day"),
        ({"quiet_hours": [{"name": "n", "start": 1260, "end": "08:00"}]}, "in quotes"),
        ({"send_windows": [{"name": "n", "start": "17:00", "end": "09:00"}]}, "never opens"),
        ({"send_windows": [{"name": "n", "holidays": "XX"}]}, "no holidays are known for XX"),
        ({"timezone": "Mars/Olympus"}, "not a time zone"),
        ({"caps": [{"name": "n", "limit": 1}]}, "either a rolling window"),
        (
            {"caps": [{"name": "n", "limit": 1, "window": "P1D"}], "cooldowns": [{"name": "n", "between": "P1D"}]},
            "two rules",
        ),
    ],
)
def test_a_policy_with_contradictory_or_unknown_values_is_refused(part: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        load_policy(part)


def test_a_send_window_works_on_the_days_that_it_lists() -> None:
    assert [OFFICE.is_open_day(date(2026, 11, 23) + timedelta(days=n)) for n in range(7)] == [True] * 5 + [False] * 2
    assert NIGHT.start == time(21)


def test_the_policy_of_the_guide_is_valid_and_has_every_key() -> None:
    text = (Path(__file__).parents[3] / "docs" / "policy.md").read_text("utf-8")
    given = yaml.safe_load(text.split("```yaml")[1].split("```")[0])
    assert set(given) == set(Policy.model_fields), "the guide describes every key of the policy"
    policy = load_policy(given)
    assert policy.quiet_hours[0].end == time(8)
    assert policy.brake is not None
