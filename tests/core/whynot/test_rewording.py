"""Answers rest on facts: rewording every sentence changes no code, change or date of an answer."""

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
from tests.core.whynot.test_whynot import PLAIN, TEMPLATE, Case, cases, happened
from tests.support.run_script import day

OTHER_WORDS = "so it is"


def reword(patch: pytest.MonkeyPatch) -> None:
    """Every reason, refusal and explanation says the same."""
    for kind, text in ((Reason, "text"), (EntryRefused, "reason"), (Step, "why")):
        patch.setattr(kind, "__init__", _with_other_words(kind, text))
    holds = Condition.holds
    patch.setattr(Condition, "holds", lambda self, lookup: (holds(self, lookup)[0], OTHER_WORDS))


def _with_other_words(kind: type[Any], text: str) -> Any:
    make, names = kind.__init__, tuple(kind.__dataclass_fields__)

    def init(self: Any, *values: Any, **named: Any) -> None:
        make(self, **{**dict(zip(names, values, strict=False)), **named, text: OTHER_WORDS})

    return init


def facts_of(obstacles: tuple[Obstacle, ...]) -> list[Any]:
    return [(found.action, found.code, found.change.kind, found.change.params, found.since) for found in obstacles]


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(cases())
def test_rewording_every_sentence_changes_no_answer(case: Case) -> None:
    before = case.asked()
    event(f"{len(before)} obstacles")
    with pytest.MonkeyPatch.context() as patch:
        reword(patch)
        after = case.asked()
    assert facts_of(after) == facts_of(before)


@pytest.mark.parametrize(
    ("scope", "name"), [("all", ""), ("channel", "email"), ("journey", "j"), ("template", TEMPLATE)]
)
def test_a_kill_switch_is_found_by_the_reasons_fact(scope: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reword(monkeypatch)
    first = Case(PLAIN, {}, frozenset({"email"}), [happened("stop", scope=scope, name=name)], day(2)).asked()[0]
    assert (first.what, first.change.kind) == (OTHER_WORDS, "release_stop")
    assert first.change.params == {"scope": scope, "name": name}


def test_each_of_two_kill_switches_is_an_obstacle_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    reword(monkeypatch)
    events = [happened("stop", scope="channel", name="email"), happened("stop", scope="journey", name="j")]
    first, second, *_ = Case(PLAIN, {}, frozenset({"email"}), events, day(2)).asked()
    assert [found.change.params["scope"] for found in (first, second)] == ["channel", "journey"]


@pytest.mark.parametrize("heard", [False, True], ids=["never entered", "refused at entry"])
def test_a_false_condition_is_named_once(heard: bool) -> None:
    guard = 'profile.plan == "team"'
    journey = {**PLAIN, "entry": {"on": "begin", "again": "always", "when": guard}}
    begun = [RecordedEvent(day(0.5), "p", "signal", "begin")] if heard else []
    *_, found = Case(journey, {}, frozenset({"email"}), begun, day(1)).asked()
    assert (found.code, found.change.kind) == ("guard", "identify")
    assert found.what.count(guard) == 1
