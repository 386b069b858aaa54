"""Entry: re-entry, epochs, cases, guards and plays."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeys.decision.entry import EntryAllowed, EntryRefused, PastRun, case_of, enters_on, may_enter, unusable_case
from journeys.gate.policy import Policy
from journeys.language.signal_names import play_signal
from journeys.protocol.wire import run_id
from journeys.simulation.recording import read_recorded
from journeys.simulation.simulator import simulate
from journeys.simulation.timeline import Scenario
from tests.support.run_script import chart, day

ENTRY = "journey: j\ntopic: t\nentry: {on: [begin, order], again: %s}\nstart: a\nstates: {a: {on: {go: a}}}"
ENDED = PastRun(1, open=False, ended_at=day(10))


def entry_verdict(
    text: str, *previous: PastRun, at: float = 20, name: str = "begin", **data: Any
) -> EntryAllowed | EntryRefused:
    return may_enter(chart(text), name, data, None, previous, day(at))


def test_the_first_entry_signal_starts_epoch_one() -> None:
    assert entry_verdict(ENTRY % "never") == EntryAllowed(1, "")


def test_a_signal_that_is_no_entry_signal_starts_no_run() -> None:
    assert isinstance(entry_verdict(ENTRY % "always", name="go"), EntryRefused)


@pytest.mark.parametrize("again", ["never", "always", "{after: P1D}"])
def test_no_second_run_starts_while_one_is_open(again: str) -> None:
    assert entry_verdict(ENTRY % again, PastRun(1, open=True)) == EntryRefused("a run is open")


@pytest.mark.parametrize(
    ("again", "at", "epoch"),
    [("never", 999, None), ("always", 10, 2), ("{after: P30D}", 39.9, None), ("{after: P30D}", 40, 2)],
)
def test_re_entry_follows_the_again_rule_of_the_journey(again: str, at: float, epoch: int | None) -> None:
    verdict = entry_verdict(ENTRY % again, ENDED, at=at)
    assert verdict == EntryAllowed(epoch, "") if epoch else isinstance(verdict, EntryRefused)


def test_the_next_epoch_does_not_depend_on_the_order_of_past_runs() -> None:
    runs = (PastRun(3, open=False, ended_at=day(9)), PastRun(1, open=False, ended_at=day(1)))
    assert (
        entry_verdict(ENTRY % "always", *runs)
        == entry_verdict(ENTRY % "always", *reversed(runs))
        == EntryAllowed(4, "")
    )


CASED = "journey: j\ntopic: t\ncase: order_id\nentry: {on: order, when: %s}\nstart: a\nstates: {a: {}}"


@pytest.mark.parametrize(
    ("value", "case"),
    [
        ("o-1", "o-1"),
        (17, "17"),
        (" x ", "x"),
        ("", None),
        (None, None),
        (True, None),
        (1.5, None),
        ([], None),
        ("x" * 201, None),
        ("漢" * 200, "漢" * 200),
        ("👩" * 201, None),
    ],
)
def test_the_case_is_read_from_the_event_and_an_invalid_one_is_refused(value: object, case: str | None) -> None:
    spec = chart(CASED % "'true'")
    assert case_of(spec, {"order_id": value}) == case
    verdict = may_enter(spec, "order", {"order_id": value}, None, (), day(0))
    assert verdict == EntryAllowed(1, case) if case else isinstance(verdict, EntryRefused)


def test_an_event_without_the_case_property_belongs_to_no_case() -> None:
    assert case_of(chart(CASED % "'true'"), {}) is None
    assert case_of(chart(ENTRY % "never"), {}) == ""


@given(st.text(max_size=250), st.integers(1, 10**9))
def test_A1_the_id_of_a_run_has_at_most_200_bytes_whatever_its_case(text: str, epoch: int) -> None:
    spec = chart(CASED % "'true'")
    case = case_of(spec, {"order_id": text})
    assert (unusable_case(spec, {"order_id": text}) == "") == (case is not None)
    if case is not None:
        identity = run_id("j" * 64, "u_0123456789abcdef", case, epoch)
        assert identity.isascii()
        assert len(identity) <= 200


@given(st.lists(st.text(max_size=200), min_size=2, max_size=2, unique=True))
def test_A1_two_cases_have_two_ids(cases: list[str]) -> None:
    first, second = (run_id("j", "u_1", case, 1) for case in cases)
    assert first != second


@pytest.mark.parametrize("value", ["", " ", True, 1.5, [], "x" * 201, "漢" * 201])
def test_A1_a_case_that_can_never_be_one_has_a_reason_and_a_missing_one_has_none(value: object) -> None:
    spec = chart(CASED % "'true'")
    assert unusable_case(spec, {"order_id": value}).startswith("order_id is the case of j")
    for data in ({}, {"order_id": None}, {"order_id": "o-1"}, {"other": value}):
        assert unusable_case(spec, data) == ""


def test_an_entry_guard_reads_the_event_and_the_facts() -> None:
    spec = chart(CASED % '\'event.total > 10.0 && profile.plan == "pro" && now > timestamp("2023-01-01T00:00:00Z")\'')
    for total, plan, entered in ((11.0, "pro", True), (9.0, "pro", False), (11.0, "free", False)):
        facts = {"profile": {"plan": plan}}
        verdict = may_enter(spec, "order", {"order_id": "1", "total": total}, facts, (), day(0))
        assert isinstance(verdict, EntryAllowed) is entered
    unknown = may_enter(spec, "order", {"order_id": "1"}, None, (), day(0))
    assert isinstance(unknown, EntryRefused)
    assert "is not known" in unknown.reason


def test_a_chart_reacts_only_to_signals_that_move_or_end_a_run() -> None:
    spec = chart(
        "journey: j\ntopic: t\nentry: {on: begin}\ngoal: {on: won}\nexit: {on: left}\nstart: a\nstates: {a: {on: {go: a}, do: {task: call}}}"
    )
    assert spec.signals == {"won", "left", "go", "call.closed"}
    assert (enters_on(spec, "begin"), enters_on(spec, "go")) == (True, False)


GUARDED = "journey: j\ntopic: t\nentry: {on: order, when: event.total > 100.0, again: %s}\nstart: a\nstates: {a: {do: [{send: x/y, data: {n: event.total}}]}}"


def test_a_play_ignores_the_entry_guard_but_obeys_the_re_entry_rule() -> None:
    assert isinstance(entry_verdict(GUARDED % "never", name="order", total=5.0), EntryRefused)
    assert entry_verdict(GUARDED % "never", name=play_signal("j"), total=5.0) == EntryAllowed(1, "")
    assert entry_verdict(GUARDED % "never", PastRun(1, open=True), name=play_signal("j")) == EntryRefused(
        "a run is open"
    )
    assert isinstance(entry_verdict(GUARDED % "never", ENDED, name=play_signal("j")), EntryRefused)
    assert isinstance(entry_verdict(GUARDED % "always", name=play_signal("another")), EntryRefused)


def test_a_play_has_the_entrys_properties_and_starts_a_run_in_the_simulator() -> None:
    scenario = Scenario((chart(GUARDED % "never"),), Policy(), frozenset({"email"}))
    event = {"type": "track", "event": play_signal("j"), "userId": "ada", "timestamp": day(1).isoformat()}
    recorded = read_recorded({**event, "properties": {"total": 5.0, "by": "dana", "why": "asked"}})
    timeline = simulate(scenario, [recorded], day(2))
    assert [moment.what for moment in timeline if moment.what in {"entered", "acted"}] == ["entered", "acted"]
    assert chart(GUARDED % "never").kept(play_signal("j"), {"total": 5.0, "by": "dana"}) == {"total": 5.0}
