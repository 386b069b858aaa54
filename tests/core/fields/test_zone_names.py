"""Time zones are read as senders write them; the server's own zone is nobody's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from journeys.calendar.timezones import zone_of
from journeys.calendar.zone_names import canonical_zone
from journeys.gate.policy import Policy

DAYS = (datetime(2026, 1, 15, 12, tzinfo=UTC), datetime(2026, 7, 15, 12, tzinfo=UTC))


@pytest.mark.parametrize(
    ("written", "zone"),
    [
        ("Europe/Berlin", "Europe/Berlin"),
        ("europe/berlin", "Europe/Berlin"),
        ("AMERICA/NEW_YORK", "America/New_York"),
        (" Europe/Vienna ", "Europe/Vienna"),
        ("Pacific Standard Time", "America/Los_Angeles"),
        ("w. europe standard time", "Europe/Berlin"),
        ("UTC", "UTC"),
        ("utc", "UTC"),
        ("Z", "UTC"),
        ("+00:00", "UTC"),
    ],
)
def test_a_zone_is_read_in_any_case_and_by_its_name_in_windows(written, zone):
    assert canonical_zone(written) == zone


@pytest.mark.parametrize(
    ("written", "minutes"),
    [
        ("+02:00", 120),
        ("-0500", -300),
        ("UTC+2", 120),
        ("GMT-03", -180),
        ("+05:30", 330),
        ("+05:45", 345),
        ("+14", 840),
    ],
)
def test_an_offset_from_utc_is_a_zone_with_this_offset_all_the_year(written, minutes):
    zone = canonical_zone(written)
    assert zone is not None
    assert {day.astimezone(ZoneInfo(zone)).utcoffset() for day in DAYS} == {timedelta(minutes=minutes)}


@pytest.mark.parametrize(
    "written",
    ["", " ", "localtime", "LOCALTIME", "Factory", "posixrules", "posix/Europe/Berlin", "right/UTC", "Etc/Unknown",
     "Berlin", "PST", "+25:00", "+02:17", "../../etc/passwd", "/etc/localtime", "Europe/Berlin\n+", "Бер/лин", "x" * 99],
)  # fmt: skip
def test_what_names_no_zone_is_not_read(written):
    assert canonical_zone(written) is None


def test_a_zone_that_cannot_be_read_leaves_the_choice_to_the_next_source():
    account = {"timezone": "Tokyo Standard Time"}
    assert zone_of({"timezone": "localtime"}, account, "UTC") == "Asia/Tokyo"
    assert zone_of({"timezone": "localtime", "phone": "+81312345678"}, {}, "UTC") == "Asia/Tokyo"
    assert zone_of({"timezone": "+02:00"}, account, "UTC") == "Etc/GMT-2"
    assert zone_of({"timezone": " "}, {}, "UTC") == "UTC"


def test_a_policy_cannot_name_the_servers_own_zone():
    with pytest.raises(ValidationError):
        Policy.model_validate({"timezone": "localtime"})
