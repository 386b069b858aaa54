"""Answers of why-not depend on facts only: other wording changes no code, change or date."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings

from journeys.decision.entry import EntryRefused
from journeys.gate.verdicts import Reason
from journeys.language.conditions import Condition
from journeys.simulation.recording import RecordedEvent
from journeys.whynot.obstacles import Obstacle
from journeys.whynot.situation import Step
from tests.core.whynot.test_whynot import PLAIN, TEMPLATE, Case, cases, gate_event
from tests.support.run_script import day

SAME_TEXT = "the same text"


def reword(patch: pytest.MonkeyPatch) -> None:
    """Give every reason, refusal and explanation the same text."""
    for kind, text in ((Reason, "text"), (EntryRefused, "reason"), (Step, "why")):
        patch.setattr(kind, "__init__", _with_same_text(kind, text))
    holds = Condition.holds
    patch.setattr(Condition, "holds", lambda self, lookup: (holds(self, lookup)[0], SAME_TEXT))


def _with_same_text(kind: type[Any], text: str) -> Any:
    make, names = kind.__init__, tuple(kind.__dataclass_fields__)

    def init(self: Any, *values: Any, **named: Any) -> None:
        make(self, **{**dict(zip(names, values, strict=False)), **named, text: SAME_TEXT})

    return init


def facts_of(obstacles: tuple[Obstacle, ...]) -> list[Any]:
    return [(item.action, item.code, item.change.kind, item.change.params, item.since) for item in obstacles]


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(cases())
def test_other_wording_changes_no_answer(case: Case) -> None:
    before = case.obstacles()
    event(f"{len(before)} obstacles")
    with pytest.MonkeyPatch.context() as patch:
        reword(patch)
        after = case.obstacles()
    assert facts_of(after) == facts_of(before)


@pytest.mark.parametrize(
    ("scope", "name"), [("all", ""), ("channel", "email"), ("journey", "j"), ("template", TEMPLATE)]
)
def test_a_kill_switch_is_identified_by_the_facts_of_its_reason(
    scope: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reword(monkeypatch)
    first = Case(PLAIN, {}, frozenset({"email"}), [gate_event("stop", scope=scope, name=name)], day(2)).obstacles()[0]
    assert (first.what, first.change.kind) == (SAME_TEXT, "release_stop")
    assert first.change.params == {"scope": scope, "name": name}


def test_two_kill_switches_are_two_obstacles(monkeypatch: pytest.MonkeyPatch) -> None:
    reword(monkeypatch)
    events = [gate_event("stop", scope="channel", name="email"), gate_event("stop", scope="journey", name="j")]
    first, second, *_ = Case(PLAIN, {}, frozenset({"email"}), events, day(2)).obstacles()
    assert [obstacle.change.params["scope"] for obstacle in (first, second)] == ["channel", "journey"]


@pytest.mark.parametrize("has_event", [False, True], ids=["never entered", "refused at entry"])
def test_a_false_condition_is_named_once(has_event: bool) -> None:
    guard = 'profile.plan == "team"'
    journey = {**PLAIN, "entry": {"on": "begin", "again": "always", "when": guard}}
    events = [RecordedEvent(day(0.5), "p", "signal", "begin")] if has_event else []
    *_, obstacle = Case(journey, {}, frozenset({"email"}), events, day(1)).obstacles()
    assert (obstacle.code, obstacle.change.kind) == ("guard", "identify")
    assert obstacle.what.count(guard) == 1
