"""RunDraft reads and writes every field of a run's state under its own name."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from journeys.decision.draft import RunDraft
from journeys.decision.state import OpenTask, RunState, UnconsumedSignal
from tests.support.run_script import chart, day

STATE = RunState(
    state="a",
    visit=2,
    started_at=day(1),
    entered_at=day(2),
    last_at=day(3),
    visits={"a": 2},
    timers={"goal": day(30)},
    fired={"s:every.P1D": 3},
    anchors={"j:at.0": "2024-01-09"},
    firings={"send:m": 4},
    variables={"v": 5},
    facts={"profile.n": 6},
    seqs={"lane": 7},
    missed=(UnconsumedSignal("s1", day(2), {"n": 8}),),
    tasks={"call": OpenTask("owner", 9)},
    paused_at=day(2.5),
    held=({"kind": "send", "n": 10},),
    outcome="lost",
)


def test_an_unchanged_draft_returns_its_original_state() -> None:
    assert RunDraft(chart("states: {a: {}}"), STATE).decision().state == STATE


def test_changing_one_field_of_a_draft_changes_only_this_field() -> None:
    values = [getattr(STATE, field.name) for field in fields(RunState)]
    assert all(values.count(value) == 1 for value in values)
    for field in fields(RunState):
        draft = RunDraft(chart("states: {a: {}}"), STATE)
        changed: dict[str, Any] = {field.name: "changed"}
        setattr(draft, field.name, "changed")
        assert draft.decision().state == replace(STATE, **changed)


def test_changing_a_draft_does_not_change_its_original_state() -> None:
    draft = RunDraft(chart("states: {a: {}}"), STATE)
    draft.timers["s:after.P1D"] = day(4)
    assert STATE.timers == {"goal": day(30)}
