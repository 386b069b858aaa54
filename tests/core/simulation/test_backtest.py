"""The backtest: counts of all decisions, in one process or several, and comparison of two definitions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import groupby, pairwise
from pathlib import Path

import pytest

from cli.catalog_folder import journey_text, read_plan_file, read_policy_file
from cli.demonstration.cdnow import CdnowUnavailable, Order, cdnow_file, cdnow_streams, read_orders
from cli.process_pool import Job, comparison, run_job, total
from journeys.decision.compiler import artifact_of, load_chart
from journeys.gate.policy import load_policy
from journeys.language.parsing import read_journey
from journeys.simulation.backtest import Stream, Tally, backtest, compare, differences
from journeys.simulation.recording import RecordedEvent
from journeys.simulation.timeline import Scenario
from tests.support.run_script import chart, day

BOTH = frozenset({"email", "in_app"})
TEXT = """
journey: j
entry: {on: begin}
goal: {on: won}
topic: t
start: a
states:
  a: {do: {send: one}, after: {P3D: b}}
  b: {do: [{send: two}, {task: call}]}
"""
SLOWER = TEXT.replace("P3D", "P5D")


def people(count: int = 4) -> list[Stream]:
    """Everyone enters; every second person reaches the goal on the fourth day."""
    begin = [[RecordedEvent(day(0), str(n), "signal", "begin")] for n in range(count)]
    for n in range(0, count, 2):
        begin[n].append(RecordedEvent(day(4), str(n), "signal", "won"))
    return [(str(n), events) for n, events in enumerate(begin)]


def test_the_tally_counts_entries_moves_outcomes_and_messages() -> None:
    rules = load_policy({"caps": [{"name": "one", "limit": 1, "window": "P2D"}]})
    tally = backtest(Scenario((chart(TEXT),), rules, BOTH), people(), day(9))
    assert (tally.people, tally.events, tally.tasks, tally.queued) == (4, 6, 4, 0)
    assert tally.entered == {"j": 4}
    assert tally.moves == {("j", "", "a"): 4, ("j", "a", "b"): 4}
    assert tally.moves_into("j") == {"a": 4, "b": 4}
    assert tally.outcomes == {("j", "reached"): 2}
    assert tally.open_in == {("j", "b"): 2}
    assert tally.sent == {("send:one", "email"): 4, ("send:two", "email"): 4}


def test_deferred_withheld_refused_and_queued_messages_are_counted_with_their_reasons() -> None:
    rules = load_policy({"caps": [{"name": "one", "limit": 1, "window": "P9D"}]})
    streams = [("0", [*people()[0][1], RecordedEvent(day(5), "0", "signal", "begin")]), *people()[1:]]
    tally = backtest(Scenario((chart(TEXT),), rules, BOTH), streams, day(7))
    assert tally.deferred == {("send:two", "cap_reached"): 4}
    assert tally.withheld == {("send:two", "withdrawn"): 2}
    assert tally.queued == 2
    assert sum(tally.refused.values()) == 1


def test_the_end_of_a_backtest_is_inclusive() -> None:
    scenario = Scenario((chart(TEXT),), load_policy({}), BOTH)
    assert backtest(scenario, people(), day(3)).moves["j", "a", "b"] == 4
    assert backtest(scenario, people(), day(2.99)).moves["j", "a", "b"] == 0
    assert backtest(scenario, people(), None).moves["j", "a", "b"] == 2


def job(text: str, streams: list[Stream], *, against: str | None = None, lines: bool = False) -> Job:
    texts = []
    for definition in (text, against):
        journey = read_journey(definition)[0] if definition else None
        texts.append((artifact_of(journey, {}),) if journey else ())
    return Job(texts[0], load_policy({}), BOTH, streams, day(9), texts[1], people=lines)


def test_several_processes_give_the_same_counts_and_lines_in_the_same_order() -> None:
    work = job(TEXT, people(37), lines=True)
    shares = [list(run_job(work, workers)) for workers in (1, 2)]
    one, two = (total(work, workers) for workers in (1, 2))
    assert one == two
    assert one.people == 37
    lines_of = [[line for _, lines in share for line in lines] for share in shares]
    assert lines_of[0] == lines_of[1]
    first = json.loads(lines_of[0][0])
    assert first == {
        "person": "0",
        "run": "j/-/1",
        "at": day(0).isoformat(),
        "kind": "entered",
        "about": "j",
        "text": "entered on begin",
    }


def test_two_definitions_are_compared_for_each_person() -> None:
    before, after = (Scenario((chart(text),), load_policy({}), BOTH) for text in (TEXT, SLOWER))
    result = compare(before, after, people(), day(9))
    assert result.people == {"less": 2, "later": 2}
    assert result.messages == {("two", "less"): 2, ("two", "later"): 2}
    assert result.examples == {"less": ["0", "2"], "later": ["1", "3"]}
    assert comparison(job(TEXT, people(37), against=SLOWER), 2).people == {"less": 19, "later": 18}
    assert comparison(job(TEXT, people(8), against=TEXT), 1).people == {"same": 8}


def test_M4_differences_compare_messages_by_their_position() -> None:
    one, two = "m", "n"
    counted: Counter[tuple[str, str]] = Counter()
    assert differences({one: [day(1), day(5)]}, {one: [day(2), day(4), day(9)], two: [day(1)]}, counted) == {
        "more",
        "later",
        "earlier",
    }
    assert counted == {("m", "more"): 1, ("m", "later"): 1, ("m", "earlier"): 1, ("n", "more"): 1}


def test_tallies_of_parts_add_up_to_the_tally_of_all() -> None:
    scenario = Scenario((chart(TEXT),), load_policy({}), BOTH)
    whole, parts = backtest(scenario, people(6), day(9)), Tally()
    for start in range(0, 6, 2):
        parts.add(backtest(scenario, people(6)[start : start + 2], day(9)))
    assert parts == whole


# -- CDNOW -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def orders() -> Path:
    try:
        return cdnow_file()
    except CdnowUnavailable as fault:
        pytest.skip(str(fault))


def test_a_missing_cdnow_file_or_one_with_another_checksum_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "CDNOW_master.txt"
    monkeypatch.setenv("TENURE_CDNOW", str(path))
    with pytest.raises(CdnowUnavailable, match="does not exist"):
        cdnow_file()
    path.write_text("1 19970101 1 1.0\n", encoding="ascii")
    with pytest.raises(CdnowUnavailable, match="does not have the expected checksum"):
        cdnow_file()


LONGEST_PAUSE = timedelta(days=60)
EVERY = 8
"""Each eighth customer is played: the journey decides each person by itself, and 2,947 have every kind of pause."""


def silences(orders: Iterable[Order], until: datetime) -> tuple[int, int]:
    """Silences of more than 60 days, and how many of them ended with an order: counted from the orders alone."""
    began = ended = 0
    for _, own in groupby(orders, key=lambda order: order.customer):
        days = [order.at for order in own]
        closed = sum(later - earlier > LONGEST_PAUSE for earlier, later in pairwise(days))
        ended += closed
        began += closed + (until - days[-1] > LONGEST_PAUSE)
    return began, ended


def test_J14_the_shipped_journey_notices_every_silence_of_the_cdnow_customers(orders: Path) -> None:
    every_order = list(read_orders(orders))
    assert len(every_order) == 69_659
    until = max(order.at for order in every_order)
    assert until.date().isoformat() == "1998-06-30"
    assert silences(every_order, until) == (36_580, 15_558), "as counted in SQL"
    streams = cdnow_streams(orders)[::EVERY]
    played = {customer for customer, _ in streams}
    began, ended = silences((order for order in every_order if order.customer in played), until)
    text = journey_text("win-back-and-replenishment", read_plan_file())
    tally = total(Job((text,), read_policy_file(), frozenset({"in_app"}), streams, until))
    key = load_chart(text).key
    assert tally.people == tally.entered[key] == len(played) == 2_947
    assert tally.moves[key, "buying", "silent"] == tally.moves_into(key)["silent"] == began == 4_571
    assert tally.moves[key, "silent", "buying"] == ended == 1_939
    assert tally.sent["send:shop/win-back", "email"] == began
