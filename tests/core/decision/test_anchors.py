"""Anchors whose date moves and moves back: each window acts at most once for a date."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeys.decision.occurrences import FieldsChanged
from journeys.decision.state import RunState
from journeys.decision.timers import MAX_JITTER, jitter
from tests.support.run_script import Play, chart, day


def renewal(before: str = "P30D", **keys: str) -> str:
    """A journey with one anchor at the renewal date."""
    more = "".join(f", {name}: {value}" for name, value in keys.items())
    return f"at: [{{date: account.renewal_date, before: {before}{more}, do: {{send: renew}}}}]\nstates: {{a: {{}}}}"


def told(run: Play, at: float, text: str) -> Play:
    """The account's renewal date as a sender wrote it."""
    return run.do(FieldsChanged(day(at), {"account": {"renewal_date": text}}))


def test_J9_a_date_that_moves_away_and_back_leaves_no_timer_of_the_other_date() -> None:
    run = Play(renewal()).renewal(1, 100).wait(71).renewal(72, 465).renewal(73, 100)
    assert run.state.timers == {}
    assert run.says("dropped, as its window for 2024-04-10 is over")
    assert run.wait(800).sent == [("renew", 70)]


def test_J9_a_repeating_window_keeps_its_own_series_when_the_date_moves_away_and_back() -> None:
    run = Play(renewal(every="P1Y")).renewal(1, 100).wait(71).renewal(72, 200).renewal(73, 100)
    assert run.wait(500).sent == [("renew", 70), ("renew", 435)]


def test_J9_a_skipped_date_that_comes_back_leaves_no_timer_of_the_other_date() -> None:
    run = Play(renewal()).renewal(80, 100).renewal(81, 465).renewal(82, 100)
    assert run.wait(800).sent == []


def test_J9_a_date_whose_window_has_acted_does_not_act_again_after_a_skipped_one_in_between() -> None:
    run = Play(renewal(past="act")).renewal(1, 100).wait(70).renewal(70, 60).renewal(70, 100)
    assert run.wait(800).sent == [("renew", 70)]


@pytest.mark.parametrize("days", [1, 2, -1, -2])
def test_J9_a_correction_by_a_day_or_two_after_the_window_has_acted_does_not_act_again(days: int) -> None:
    run = Play(renewal()).renewal(1, 100).wait(70).renewal(70.5, 100 + days)
    assert run.wait(400).sent == [("renew", 70)]
    assert Play(renewal()).renewal(1, 100).wait(70).renewal(70.5, 103).wait(400).sent == [("renew", 70), ("renew", 73)]


def test_J9_the_author_may_declare_another_tolerance() -> None:
    exact = Play(renewal(tolerance="PT0S")).renewal(1, 100).wait(70).renewal(70.5, 102).wait(400)
    assert exact.sent == [("renew", 70), ("renew", 72)]
    wide = Play(renewal(tolerance="P14D")).renewal(1, 100).wait(70).renewal(71, 112).wait(400)
    assert wide.sent == [("renew", 70)]


def test_J9_a_window_within_a_day_of_its_date_is_an_appointment_and_has_no_tolerance() -> None:
    run = Play(renewal("PT2H")).renewal(1, 100).wait(100).renewal(99.95, 101).wait(400)
    assert [name for name, _ in run.sent] == ["renew", "renew"]


def test_J9_the_same_day_at_another_hour_is_the_same_date_where_a_day_was_given() -> None:
    run = Play(renewal(tolerance="PT0S"))
    told(run, 1, "2024-04-10T00:00:00Z").wait(71)
    assert told(run, 72, "2024-04-10T18:00:00Z").wait(400).sent == [("renew", 70)]
    hours = Play(renewal(tolerance="PT0S"))
    told(hours, 1, "2024-04-10T06:00:00Z").wait(70.25)
    assert [name for name, _ in told(hours, 70.3, "2024-04-10T18:00:00Z").wait(400).sent] == ["renew", "renew"]


def test_J9_a_repetition_that_came_due_during_a_pause_survives_a_date_told_again() -> None:
    run = Play(renewal(every="P1Y")).renewal(1, 100).wait(71).pause(400).renewal(436, 100)
    assert run.resume(440, "catch_up").wait(441).sent == [("renew", 70), ("renew", 440)]


@given(
    st.lists(st.tuples(st.integers(1, 40), st.sampled_from([60, 100, 200, 465])), min_size=1, max_size=8),
    st.sampled_from(["skip", "act"]),
)
def test_J9_a_window_acts_at_most_once_for_each_date_whatever_walk_the_date_takes(
    walk: list[tuple[int, int]], past: str
) -> None:
    run, now = Play(renewal(past=past)), 0.0
    for wait, date in walk:
        now += wait
        run.wait(now).renewal(now, date)
    last = walk[-1][1]
    run.wait(1_000)
    acted = [at for name, at in run.sent if name == "renew"]
    windows = {date - 30 for _, date in walk}
    assert len(acted) == len(set(acted))
    late = [at for at in acted if at not in windows]
    assert len(late) <= (past == "act"), "only a date that is past when it is told acts late, and once"
    assert last - 30 <= now or last - 30 in acted, "the window of the last date is still to come, and acts"


# -- jitter ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "most"),
    [("PT59M", timedelta(0)), ("PT1H", timedelta(minutes=6)), ("P1D", MAX_JITTER), ("P180D", MAX_JITTER)],
)
def test_jitter_is_bounded_by_the_offset_and_there_is_none_below_an_hour(before: str, most: timedelta) -> None:
    state = RunState(state="a", timers={"j:at.0": day(10)})
    late = [jitter(chart(renewal(before)), f"run-{number}", state, day(10)) for number in range(200)]
    assert max(late) <= most
    assert max(late) >= most * 0.9


def test_there_is_no_jitter_at_the_date_itself_and_for_other_timers() -> None:
    text = "at: [{date: account.renewal_date, do: {send: renew}}]\nstates: {a: {after: {P30D: {do: {send: month}}}}}"
    for timer in ("j:at.0", "s:after.P30D"):
        state = RunState(state="a", timers={timer: day(10)})
        assert {jitter(chart(text), f"run-{number}", state, day(10)) for number in range(50)} == {timedelta(0)}
