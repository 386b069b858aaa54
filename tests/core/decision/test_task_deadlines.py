"""Deadlines in working time: set and moved by occurrences, escalated by the run's own timer (C10)."""

from __future__ import annotations

from datetime import datetime

import pytest

from journeys.decision.occurrences import DeadlineSet
from journeys.protocol.envelope import Unreadable, occurrence_of, read_envelope
from journeys.protocol.wire import Envelope
from tests.support.run_script import Play, day

TEXT = """
states:
  a:
    do: [{task: call, owner: dana, within: PT4H, escalate: [lead, boss]}]
    on: {go: a, done: b, call.overdue: {do: [{send: sorry}]}}
  b: {}
"""


def due(run: Play, at: float, deadline: float, ask: str = "a.1/call.1", seq: int = 0) -> Play:
    return run.do(DeadlineSet(day(at), "call", ask, day(deadline), lane="lane", seq=seq))


def levels(run: Play) -> list[tuple[int, str, datetime]]:
    return [(e.level, e.owner, e.at) for e in run.effects if e.kind == "escalate_task"]


def test_C10_a_task_in_working_time_has_no_deadline_until_one_is_set() -> None:
    run = Play(TEXT)
    assert (run.did[0].within, run.did[0].due_at, run.state.timers) == ("PT4H", None, {})
    due(run, 0.1, 1)
    assert run.state.timers == {"t:call": day(1)}
    assert run.says("task call is due on 2024-01-02 00:00 UTC")


def test_C10_a_task_past_its_deadline_is_escalated_and_sends_a_signal() -> None:
    run = due(Play(TEXT), 0.1, 1).wait(3)
    assert levels(run) == [(1, "lead", day(1))]
    assert run.sent == [("sorry", 1)]
    due(run, 1, 2).wait(5)
    assert levels(run)[1:] == [(2, "boss", day(2))]
    due(run, 2, 3)
    assert run.state.timers == {}, "no timer after the end of the chain"


def test_C10_a_moved_deadline_escalates_only_at_its_new_instant() -> None:
    run = due(due(Play(TEXT), 0.1, 1), 0.5, 2).wait(1.5)
    assert levels(run) == []
    assert levels(run.wait(2)) == [(1, "lead", day(2))]


def test_a_deadline_in_the_past_escalates_at_once() -> None:
    assert levels(due(Play(TEXT), 2, 1)) == [(1, "lead", day(2))]


@pytest.mark.parametrize("ask", ["a.1/call.1", "a.2/call.2", "b.2/call.1", "nonsense"])
def test_a_deadline_of_an_earlier_visit_or_firing_sets_no_timer(ask: str) -> None:
    run = due(Play(TEXT).signal(1, "go"), 1.1, 3, ask)
    assert run.state.timers == {}
    assert due(run, 1.2, 3, "a.2/call.1").state.timers == {"t:call": day(3)}


def test_a_deadline_of_a_closed_or_withdrawn_task_sets_no_timer() -> None:
    assert due(Play(TEXT).signal(1, "done"), 1.1, 3).state.timers == {}
    assert due(Play(TEXT).signal(1, "call.closed"), 1.1, 3).state.timers == {}


def test_a_redelivered_deadline_changes_nothing() -> None:
    run = due(Play(TEXT), 0.1, 1, seq=4)
    assert due(run, 0.2, 9, seq=4).state.timers == {"t:call": day(1)}


def test_a_deadline_is_read_unchanged_from_its_envelope() -> None:
    envelope = Envelope("e", "u_1", 3, day(1).isoformat(), "deadline", "call", {"ask": "a.1/call.1", "due_at": day(2).isoformat()})  # fmt: skip
    assert occurrence_of(read_envelope(envelope)) == DeadlineSet(
        day(1), "call", "a.1/call.1", day(2), lane="u_1", seq=3
    )


@pytest.mark.parametrize("data", [{}, {"ask": "a", "due_at": "soon"}, {"due_at": 7, "ask": "a"}])
def test_an_envelope_without_a_valid_deadline_is_unreadable(data: dict[str, object]) -> None:
    with pytest.raises(Unreadable):
        read_envelope({"id": "e", "lane": "u", "seq": 1, "at": day(1).isoformat(), "kind": "deadline", "data": data})
