"""Instants as senders write them: what has one meaning is read, and nothing else."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeys.calendar.sender_instants import sender_instant
from journeys.simulation.recording import read_instant

AT = datetime(2026, 11, 29, 6, 6, 21, tzinfo=UTC)


@pytest.mark.parametrize(
    "written",
    [
        "2026-11-29T06:06:21Z",
        "2026-11-29T06:06:21z",
        "2026-11-29T06:06:21",
        "2026-11-29T10:06:21 am+0400",
        "2026-11-29T10:06:21 AM+04:00",
        "2026-11-29 06:06:21\u202fa.m.",
        "2026-11-29 10:06:21 +0400",
        "2026-11-29 06:06:21 UTC",
        "2026-11-29T10:06:21+04:00[Asia/Dubai]",
        "Sun Nov 29 2026 10:06:21 GMT+0400 (Gulf Standard Time)",
        "Sun Nov 29 2026 06:06:21 GMT+0000",
        "Sun, 29 Nov 2026 06:06:21 GMT",
        "Sun, 29 Nov 2026 10:06:21 +0400",
        " 2026-11-29T06:06:21Z ",
        1795932381,
        1795932381.0,
        1795932381000,
        1795932381000000,
        "1795932381",
        "1795932381000",
    ],
    ids=str,
)
def test_an_instant_with_one_meaning_is_read(written):
    assert sender_instant(written) == AT
    assert read_instant(written) == AT, "the simulator reads what the API reads"


@pytest.mark.parametrize(
    ("written", "hour"),
    [("12:05 am", 0), ("12:05 pm", 12), ("11:05 pm", 23), ("22:05 pm", 22), ("0:05 am", 0)],
    ids=str,
)
def test_hours_of_twelve_are_read_by_their_half_of_the_day(written, hour):
    assert sender_instant(f"2026-11-29 {written}") == datetime(2026, 11, 29, hour, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    "written",
    [
        None, "", " ", 0, 7, -1, True, [], {}, "yesterday", "31/12/2026", "11/29/2026", "06:06:21", "2026-11-29T22:06:21 am",
        "2026-13-01", "20261129100621", 20261129, 99999999999, float("nan"), float("inf"), 10**400, "9" * 200,
        "Foo Bar 29 2026 10:06:21 GMT", "9999-12-31T23:59:59-12:00",
    ],
    ids=lambda written: repr(written)[:20],
)  # fmt: skip
def test_what_has_no_meaning_or_several_is_not_read(written):
    assert sender_instant(written) is None


def test_a_date_of_digits_alone_is_a_date_and_no_epoch():
    assert sender_instant("20261129") == datetime(2026, 11, 29, tzinfo=UTC)
    assert sender_instant("1201010112345") == datetime(2008, 1, 22, 13, 55, 12, 345000, tzinfo=UTC)


@given(
    st.none()
    | st.integers()
    | st.floats()
    | st.text()
    | st.from_regex(r"[0-9TZ :+/apm-]{0,30}")
    | st.lists(st.integers(), max_size=2)
)
def test_no_value_raises(written):
    at = sender_instant(written)
    assert at is None or at.tzinfo is UTC
