"""What holds for every journey and every life: the promises of a decision, asked of random ones."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journeys.decision.chart import Chart
from journeys.decision.compiler import artifact_of, compile_chart, load_chart
from journeys.decision.decide import decide
from journeys.decision.effects import Decision, LogLine
from journeys.decision.occurrences import Cancelled, Entered, Erased, Occurrence, OptedOut, Paused, Signal, TimerDue
from journeys.decision.state import RunState, state_from_json, state_size, state_to_json
from journeys.events.tracking_plan import TrackingPlan
from journeys.gate.judge import judge
from journeys.gate.policy import load_policy
from journeys.gate.status import Status
from journeys.gate.verdicts import DeferUntil, RecipientContext, SendNow, SendRequest, SentMessage
from journeys.language.parsing import read_journey, read_model
from journeys.simulation.backtest import backtest
from journeys.simulation.person import SimulatedPerson
from journeys.simulation.recording import RecordedEvent
from journeys.simulation.timeline import MessageOutcome, Scenario
from tests.support.reached import must_reach, reached
from tests.support.run_script import START, chart, day
from tests.support.strategies import TYPES, WILD, anything, charts, lives


def story(spec: Chart, life: list[Occurrence]) -> tuple[RunState, list[Any]]:
    """The last state, and all that was decided, in order."""
    state = RunState()
    told: list[Any] = []
    for occurrence in life:
        decision = decide(spec, state, occurrence)
        state, told = decision.state, [*told, *decision.log, *decision.effects]
    return state, told


def split(told: list[Any]) -> tuple[list[Any], list[Any]]:
    return [item for item in told if isinstance(item, LogLine)], [
        item for item in told if not isinstance(item, LogLine)
    ]


@must_reach(decided=5)
@given(charts(), lives())
def test_same_occurrences_same_decision(spec: Chart, life: list[Occurrence]) -> None:
    again = compile_chart(spec.spec, TYPES)
    state, told = story(spec, life)
    assert (state, told) == story(again, life)
    reached("decided", len(told))


@must_reach(rung=5, redelivered=5)
@settings(max_examples=120)
@given(charts(), lives(), st.data())
def test_redelivery_and_lag_in_any_interleaving_change_nothing(
    spec: Chart, life: list[Occurrence], data: st.DataObject
) -> None:
    """The clock rings in time or late, twice or for nothing; what was delivered comes again, whole prefixes of it."""
    expected_state, expected = story(spec, life)
    state = RunState()
    told: list[Any] = []

    def happen(occurrence: Occurrence) -> Decision:
        nonlocal state
        decision = decide(spec, state, occurrence)
        state = state_from_json(state_to_json(decision.state))
        told.extend((*decision.log, *decision.effects))
        return decision

    for number, occurrence in enumerate(life):
        for _ in range(data.draw(st.integers(0, 6), label="rings")):
            due = state.next_due()
            if due is None or due > occurrence.at:
                break
            happen(TimerDue(due))
            happen(TimerDue(data.draw(st.sampled_from((due, START)), label="stale")))
            reached("rung")
        for delivered in life[data.draw(st.integers(0, number), label="redelivered from") : number]:
            assert happen(delivered).log == ()
            reached("redelivered")
        happen(occurrence)
    assert state == expected_state
    assert split(told) == split(expected)


@must_reach(finished=5, ended=5)
@given(charts(), lives())
def test_nothing_is_asked_after_the_end(spec: Chart, life: list[Occurrence]) -> None:
    state = RunState()
    for occurrence in life:
        ended = not state.is_open
        decision = decide(spec, state, occurrence)
        assert not ended or (decision.effects, decision.log, decision.state) == ((), (), state)
        state = decision.state
        reached("ended", ended)
        kinds = [effect.kind for effect in decision.effects]
        if "finish" in kinds:
            reached("finished")
            assert kinds[-1] == "finish"
            assert "withdraw" in kinds


POLICY = load_policy(
    {
        "caps": [{"name": "few", "limit": 2, "window": "P3D"}],
        "cooldowns": [{"name": "calm", "between": "PT30H"}],
        "expires_after": "P20D",
    }
)


def _recorded(life: list[Occurrence], consents: list[tuple[int, str]]) -> list[RecordedEvent]:
    events = [
        RecordedEvent(day(at), "p", "consent", "consent", {"channel": channel, "topic": "t", "granted": False})
        for at, channel in consents
    ]
    for each in life:
        if isinstance(each, Signal | Entered):
            if each.facts:
                events.append(RecordedEvent(each.at, "p", "profile", "identify", each.facts["profile"]))
            events.append(RecordedEvent(each.at, "p", "signal", each.name, each.data))
    return sorted(events, key=lambda event: event.at)


CONSENTS = st.lists(st.tuples(st.integers(0, 40), st.sampled_from(("email", "in_app", "*"))), max_size=2)


@must_reach(sent=5, waiting=5, finished=5)
@settings(max_examples=120)
@given(charts(busy=True), lives(), CONSENTS)
def test_H7_C3_C5_no_message_after_goal_exit_or_opt_out_nor_of_a_state_that_was_left(
    spec: Chart, life: list[Occurrence], consents: list[tuple[int, str]]
) -> None:
    person = SimulatedPerson(Scenario((spec,), POLICY, frozenset({"email", "in_app"})))
    for event in _recorded(life, consents):
        person.happen(event)
    person.until(day(90))
    here, ended, visits = "", False, dict[str, int]()
    withdrawn = {(c, "t"): at for at, c in sorted(consents, reverse=True)}
    for _, item in person.story:
        if isinstance(item, LogLine):
            ended = ended or item.kind == "finished"
            reached("finished", item.kind == "finished")
            if item.kind == "moved":
                here = item.about
                visits[here] = visits.get(here, 0) + 1
        elif isinstance(item, MessageOutcome) and item.kind == Status.DEFERRED:
            reached("waiting")
        elif isinstance(item, MessageOutcome) and item.kind == Status.SENT:
            reached("sent")
            assert item.message.stands or (
                not ended and (item.message.state, item.message.visit) == (here, visits[here])
            )
            for channel in (item.channel, "*"):
                assert day(withdrawn.get((channel, "t"), 99)) >= item.at


@must_reach(open=5)
@given(charts(), lives(), st.booleans(), st.sampled_from((Cancelled, Erased, OptedOut)))
def test_every_run_can_end_in_any_state_and_paused_too(
    spec: Chart, life: list[Occurrence], paused: bool, end: type[Cancelled | Erased | OptedOut]
) -> None:
    state, _ = story(spec, life)
    reached("open", state.is_open)
    if paused:
        state = decide(spec, state, Paused(day(41))).state
    won = decide(spec, state, Signal(day(42), "won")).state
    assert won.outcome is not None
    ended = decide(spec, state, end(day(42))).state
    assert not ended.is_open
    assert ended.next_due() is None
    assert ended.held == ()


@must_reach(decided=5)
@settings(max_examples=150)
@given(charts(WILD), st.lists(anything(), max_size=8))
def test_decide_is_total_and_its_state_is_json(spec: Chart, life: list[Occurrence]) -> None:
    state = RunState()
    for occurrence in life:
        decision = decide(spec, state, occurrence)
        assert decide(spec, state, occurrence) == decision
        text = json.dumps(state_to_json(decision.state), allow_nan=False)
        state = state_from_json(json.loads(text))
        assert state == decision.state
        assert all(line.text for line in decision.log)
        reached("decided", bool(decision.log))
        if state.started_at is not None and decision.state.last_at is not None and decision.log:
            assert max(line.at for line in decision.log) <= decision.state.last_at


@must_reach(told=5)
@given(charts(), lives(), st.lists(st.integers(0, 60), max_size=6))
def test_however_often_time_is_let_pass_the_story_is_the_same(
    spec: Chart, life: list[Occurrence], stops: list[int]
) -> None:
    told = []
    for halts in ([], stops):
        person = SimulatedPerson(Scenario((spec,), POLICY, frozenset({"email"})))
        for event in _recorded(life, []):
            for halt in sorted(halts):
                if day(halt) <= event.at:
                    person.until(day(halt))
            person.happen(event)
        person.until(day(90))
        told.append(person.lines())
    assert told[0] == told[1]
    reached("told", len(told[0]))


# -- the shipped journeys ----------------------------------------------------------------------------------------------

SHIPPED = sorted(Path("catalog/journeys").glob("*.yaml"))


def shipped(path: Path) -> tuple[Chart, TrackingPlan]:
    plan, _ = read_model(Path("catalog/tracking-plan.yaml").read_bytes(), TrackingPlan)
    journey, _ = read_journey(path.read_bytes())
    assert plan is not None
    assert journey is not None
    return load_chart(artifact_of(journey, plan.types(journey))), plan


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "string": st.text("abcdefghij -", min_size=1, max_size=24),
    "int": st.integers(0, 10_000),
    "double": st.floats(0, 1000),
    "bool": st.booleans(),
    "timestamp": st.integers(-100, 800).map(lambda at: day(at).isoformat()),
    "strings": st.lists(st.text("abc", max_size=8), max_size=3),
}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_journeys_state_stays_under_two_kilobytes(path: Path) -> None:
    spec, _ = shipped(path)
    signals = sorted(spec.signals)

    def fields(prefix: str) -> st.SearchStrategy[dict[str, Any]]:
        known = {
            name.removeprefix(prefix): VALUES[kind] for name, kind in spec.types.items() if name.startswith(prefix)
        }
        return st.fixed_dictionaries(known)

    events = st.lists(
        st.sampled_from(signals).flatmap(lambda name: st.tuples(st.just(name), fields(f"event.{name}."))), max_size=25
    )

    @must_reach(decided=5)
    @settings(max_examples=30)
    @given(events, fields("profile."), fields("account."), fields(f"event.{spec.spec.entry.on[0]}."))
    def lives_on(told: list[tuple[str, dict[str, Any]]], profile: Any, account: Any, first: dict[str, Any]) -> None:
        facts = {"profile": profile, "account": account}
        state = decide(
            spec, RunState(), Entered(START, spec.spec.entry.on[0], first, facts, lane="k" * 26, seq=1)
        ).state
        for number, (name, data) in enumerate(told, 1):
            at = day(number * 9)
            while (due := state.next_due()) is not None and due <= at:
                state = decide(spec, state, TimerDue(due)).state
            state = decide(
                spec, state, Signal(at, name, spec.kept(name, data), facts, lane="k" * 26, seq=number + 1)
            ).state
            reached("decided")
            assert state_size(state) < 2_048
            assert state_from_json(json.loads(json.dumps(state_to_json(state)))) == state

    lives_on()


# -- the gate ----------------------------------------------------------------------------------------------------------


@must_reach(deferred=5, decided=5)
@given(
    st.lists(
        st.tuples(st.integers(0, 200), st.sampled_from(("email", "in_app")), st.sampled_from(("t", "u", None))),
        max_size=12,
    ),
    st.integers(1, 4),
    st.integers(1, 72),
    st.none() | st.integers(1, 300),
    st.randoms(use_true_random=False),
)
def test_judge_is_order_independent_and_every_wait_ends(
    sent: list[tuple[int, str, str | None]], limit: int, window: int, expires: int | None, random: Any
) -> None:
    rules = load_policy(
        {
            "caps": [
                {"name": "c", "limit": limit, "window": f"PT{window}H"},
                {"name": "d", "topic": "t", "limit": 1, "window": "P1D"},
            ],
            "cooldowns": [{"name": "e", "channel": "email", "between": "PT7H"}],
        }
    )
    now = day(10)
    messages = [SentMessage(now - timedelta(hours=ago), channel, topic, "lifecycle") for ago, channel, topic in sent]
    ask = SendRequest(("email", "in_app"), "t", "lifecycle", now, now + timedelta(hours=expires) if expires else None)
    verdict = judge(rules, ask, RecipientContext({"email": True}, sent=tuple(messages)), now)
    random.shuffle(messages)
    standing = RecipientContext({"email": True}, sent=tuple(messages))
    assert judge(rules, ask, standing, now) == verdict
    waits = 0
    while isinstance(verdict, DeferUntil):
        assert verdict.until > now
        assert verdict.reasons
        reached("deferred")
        now, waits = verdict.until, waits + 1
        verdict = judge(rules, ask, standing, now)
    assert waits <= len(messages) + 1
    assert isinstance(verdict, SendNow) or verdict.reasons
    reached("decided")


# -- counting silences -------------------------------------------------------------------------------------------------

SILENCE = """
journey: silence
entry: {{on: order_completed, again: always}}
topic: t
start: buying
states:
  buying: {{on: {{order_completed: buying}}, after: {{P{days}D: silent}}}}
  silent: {{on: {{order_completed: buying}}, do: {{send: win-back}}}}
"""


@must_reach(silent=5, returned=5)
@given(
    st.lists(st.lists(st.integers(0, 300), min_size=1, max_size=8), max_size=8), st.integers(1, 90), st.integers(0, 320)
)
def test_silences_are_noticed_as_often_as_an_independent_count_says(
    people: list[list[int]], days: int, until: int
) -> None:
    first = date(2024, 1, 1)
    expected, returned = 0, 0
    for orders in people:
        made = sorted({first + timedelta(at) for at in orders if at <= until})
        for order, following in zip(made, [*made[1:], None], strict=False):
            end = following or first + timedelta(until)
            silent = (end - order).days >= days
            expected += silent
            returned += silent and following is not None
    streams = [
        (str(number), [RecordedEvent(day(at), str(number), "signal", "order_completed") for at in sorted(orders)])
        for number, orders in enumerate(people)
    ]
    world = Scenario((chart(SILENCE.format(days=days), {}),), load_policy({}), frozenset({"email"}))
    tally = backtest(world, streams, datetime.combine(first, datetime.min.time(), START.tzinfo) + timedelta(until))
    assert tally.moves["silence", "buying", "silent"] == expected
    assert tally.moves["silence", "silent", "buying"] == returned
    reached("silent", expected)
    reached("returned", returned)
