"""Entry looks back for the journey's goal, and history opens no run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from journeys.decision.compiler import artifact_of, load_chart
from journeys.decision.entry import (
    EarlierSignal,
    EntryAllowed,
    EntryRefused,
    EventTimes,
    PastRun,
    is_history_for,
    may_enter,
)
from journeys.language import definition as d
from journeys.language.parsing import read_journey
from journeys.language.signal_names import play_signal
from tests.support.run_script import chart, day

MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
NOW = day(10)
TEXT = "journey: j\ntopic: t\n{case}entry: {{on: [begin, order], again: always{more}}}\n{ends}start: a\nstates: {{a: {{}}}}"
ENDS = "goal: {on: [done, order]}\nexit: [{on: left}]\n"


def verdict(
    more: str = "",
    earlier: Sequence[EarlierSignal] = (),
    *previous: PastRun,
    name: str = "begin",
    ends: str = ENDS,
    case: str = "",
    occurred: datetime = NOW,
    accepted: datetime = NOW,
    historical: bool = False,
    **data: object,
) -> EntryAllowed | EntryRefused:
    spec = chart(TEXT.format(more=f", {more}" if more else "", ends=ends, case=f"case: {case}\n" if case else ""))
    times = EventTimes(occurred, accepted, historical)
    return may_enter(spec, name, data, {"profile": {}}, previous, accepted, times=times, earlier=earlier)


def signal(name: str, before: timedelta, *, at: datetime | None = None, **data: object) -> EarlierSignal:
    return EarlierSignal(name, data, at or NOW - before, NOW - before)


def enters(outcome: EntryAllowed | EntryRefused) -> bool:
    return isinstance(outcome, EntryAllowed)


@pytest.mark.parametrize(
    ("before", "may"),
    [(SECOND, False), (10 * MINUTE, False), (10 * MINUTE + SECOND, True), (timedelta(), False), (-SECOND, False)],
    ids=["a second", "the limit", "longer", "the same instant", "accepted first, happened later"],
)
def test_a_goal_within_ten_minutes_before_the_entry_keeps_the_run_from_beginning(before: timedelta, may: bool) -> None:
    assert enters(verdict("", [signal("done", before)])) is may


@pytest.mark.parametrize(
    ("lookback", "name", "before", "may"),
    [
        ("P30D", "done", timedelta(days=29), False),
        ("P30D", "done", timedelta(days=31), True),
        ("P30D", "left", SECOND, True),
        ("{goal: P1D}", "done", timedelta(hours=23), False),
        ("{exit: PT1H}", "left", SECOND, False),
        ("{exit: PT1H}", "left", timedelta(hours=2), True),
        ("{exit: PT1H}", "done", SECOND, False),
        ("PT0S", "done", SECOND, True),
        ("PT0S", "done", timedelta(), True),
    ],
)
def test_the_author_chooses_how_long_and_whether_exits_count(
    lookback: str, name: str, before: timedelta, may: bool
) -> None:
    assert enters(verdict(f"lookback: {lookback}", [signal(name, before)])) is may


def test_without_an_authors_word_an_exit_before_the_entry_does_not_count() -> None:
    assert enters(verdict("", [signal("left", SECOND), signal("other", SECOND)]))


def test_a_signal_that_can_open_a_run_keeps_none_from_beginning() -> None:
    assert enters(verdict("", [signal("order", SECOND)], name="order"))


def test_what_came_by_the_end_of_an_earlier_run_belongs_to_that_run() -> None:
    ended = PastRun(1, open=False, ended_at=NOW - 2 * MINUTE)
    assert enters(verdict("", [signal("done", 2 * MINUTE)], ended))
    assert enters(verdict("", [signal("done", 3 * MINUTE)], ended))
    assert not enters(verdict("", [signal("done", MINUTE)], ended))


def test_the_end_of_an_earlier_run_is_compared_with_the_instant_of_decision() -> None:
    """The goal of the earlier run happened before its decided timers, so it was decided after them."""
    ended = PastRun(1, open=False, ended_at=NOW - 2 * MINUTE)
    assert not enters(verdict("", [signal("done", 3 * MINUTE, at=NOW - MINUTE)], ended))


def test_only_a_goal_of_the_same_case_counts() -> None:
    outcomes = [
        enters(verdict("", [signal("done", SECOND, order_id=order)], case="order_id", order_id="1"))
        for order in ("1", "2", None)
    ]
    assert outcomes == [False, True, True]


def test_the_goals_guard_is_evaluated_on_the_earlier_signal() -> None:
    guarded = 'goal: {on: step_done, when: event.step == "last"}\n'
    assert not enters(verdict("", [signal("step_done", SECOND, step="last")], ends=guarded))
    assert enters(verdict("", [signal("step_done", SECOND, step="first")], ends=guarded))


def test_a_play_is_refused_neither_for_the_goal_nor_for_its_age() -> None:
    assert enters(verdict("", [signal("done", SECOND)], name=play_signal("j")))
    assert enters(verdict("", name=play_signal("j"), historical=True))


@pytest.mark.parametrize(
    ("max_age", "age", "may"),
    [
        ("", timedelta(days=2), True),
        ("", timedelta(days=2, seconds=1), False),
        ("max_age: PT1H", timedelta(hours=2), False),
        ("max_age: P30D", timedelta(days=29), True),
    ],
)
def test_an_event_older_than_the_age_limit_opens_no_run(max_age: str, age: timedelta, may: bool) -> None:
    assert enters(verdict(max_age, occurred=NOW - age)) is may


def test_what_its_sender_tells_as_history_opens_no_run_and_says_why() -> None:
    assert verdict(historical=True) == EntryRefused("the event is history: its sender says so")
    aged = verdict(occurred=NOW - timedelta(days=3))
    assert aged == EntryRefused("the event is history: it happened more than P2D before it came")


def test_an_old_event_is_history_for_a_run_that_began_after_it() -> None:
    spec, old = chart("states: {a: {}}"), NOW - timedelta(days=3)
    assert is_history_for(spec, NOW - timedelta(days=1), old, NOW)
    assert not is_history_for(spec, NOW - timedelta(days=5), old, NOW), "the run was waiting for it"
    assert not is_history_for(spec, NOW - timedelta(hours=1), NOW - timedelta(days=1), NOW), "it is not old"


def test_the_defaults_written_out_do_not_change_a_definitions_address() -> None:
    addresses = set()
    for more in ("", "lookback: PT10M, max_age: P2D"):
        spec, _ = read_journey(TEXT.format(more=f", {more}" if more else "", ends=ENDS, case=""))
        assert spec is not None
        addresses.add(d.content_hash(artifact_of(spec, {})))
        assert load_chart(artifact_of(spec, {})).limits.goal is not None
    assert len(addresses) == 1
