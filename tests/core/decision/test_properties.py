"""Properties of decisions, of the gate and of the backtest, checked on random journeys and histories."""

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
from journeys.simulation.recording import RecordedEvent
from journeys.simulation.timeline import MessageOutcome, Scenario
from journeys.simulation.world import World
from tests.support.reached import must_reach, reached
from tests.support.run_script import START, chart, day
from tests.support.strategies import TYPES, WILD, anything, charts, lives


def decide_all(spec: Chart, life: list[Occurrence]) -> tuple[RunState, list[Any]]:
    """The last state, and the log lines and effects in order."""
    state = RunState()
    decided: list[Any] = []
    for occurrence in life:
        decision = decide(spec, state, occurrence)
        state, decided = decision.state, [*decided, *decision.log, *decision.effects]
    return state, decided


def split(decided: list[Any]) -> tuple[list[Any], list[Any]]:
    """Log lines and effects."""
    log = [item for item in decided if isinstance(item, LogLine)]
    return log, [item for item in decided if not isinstance(item, LogLine)]


@must_reach(decided=5)
@given(charts(), lives())
def test_the_same_occurrences_lead_to_the_same_decisions(spec: Chart, life: list[Occurrence]) -> None:
    recompiled = compile_chart(spec.spec, TYPES)
    state, decided = decide_all(spec, life)
    assert (state, decided) == decide_all(recompiled, life)
    reached("decided", len(decided))


@must_reach(fired=5, redelivered=5)
@settings(max_examples=120)
@given(charts(), lives(), st.data())
def test_redelivery_and_lag_in_any_order_change_nothing(
    spec: Chart, life: list[Occurrence], data: st.DataObject
) -> None:
    """Timers fire in time, late, twice or without need; delivered occurrences are delivered again, in whole prefixes."""
    expected_state, expected = decide_all(spec, life)
    state = RunState()
    decided: list[Any] = []

    def happen(occurrence: Occurrence) -> Decision:
        nonlocal state
        decision = decide(spec, state, occurrence)
        state = state_from_json(state_to_json(decision.state))
        decided.extend((*decision.log, *decision.effects))
        return decision

    for number, occurrence in enumerate(life):
        for _ in range(data.draw(st.integers(0, 6), label="timers fired")):
            due = state.next_due()
            if due is None or due > occurrence.at:
                break
            happen(TimerDue(due))
            happen(TimerDue(data.draw(st.sampled_from((due, START)), label="stale")))
            reached("fired")
        for delivered in life[data.draw(st.integers(0, number), label="redelivered from") : number]:
            assert happen(delivered).log == ()
            reached("redelivered")
        happen(occurrence)
    assert state == expected_state
    assert split(decided) == split(expected)


@must_reach(finished=5, ended=5)
@given(charts(), lives())
def test_a_run_has_no_effects_after_its_end(spec: Chart, life: list[Occurrence]) -> None:
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
    for occurrence in life:
        if isinstance(occurrence, Signal | Entered):
            if occurrence.facts:
                events.append(RecordedEvent(occurrence.at, "p", "profile", "identify", occurrence.facts["profile"]))
            events.append(RecordedEvent(occurrence.at, "p", "signal", occurrence.name, occurrence.data))
    return sorted(events, key=lambda event: event.at)


CONSENTS = st.lists(st.tuples(st.integers(0, 40), st.sampled_from(("email", "in_app", "*"))), max_size=2)


@must_reach(sent=5, waiting=5, finished=5)
@settings(max_examples=120)
@given(charts(busy=True), lives(), CONSENTS)
def test_H7_C3_C5_no_message_is_sent_after_the_end_an_opt_out_or_leaving_its_state(
    spec: Chart, life: list[Occurrence], consents: list[tuple[int, str]]
) -> None:
    person = World(Scenario((spec,), POLICY, frozenset({"email", "in_app"})))
    for event in _recorded(life, consents):
        person.accept(event)
    person.until(day(90))
    current_state, ended, visits = "", False, dict[str, int]()
    withdrawn = {(channel, "t"): at for at, channel in sorted(consents, reverse=True)}
    for _, item in person.timeline:
        if isinstance(item, LogLine):
            ended = ended or item.kind == "finished"
            reached("finished", item.kind == "finished")
            if item.kind == "moved":
                current_state = item.about
                visits[current_state] = visits.get(current_state, 0) + 1
        elif isinstance(item, MessageOutcome) and item.kind == Status.DEFERRED:
            reached("waiting")
        elif isinstance(item, MessageOutcome) and item.kind == Status.SENT:
            reached("sent")
            assert item.message.stands or (
                not ended and (item.message.state, item.message.visit) == (current_state, visits[current_state])
            )
            for channel in (item.channel, "*"):
                assert day(withdrawn.get((channel, "t"), 99)) >= item.at


@must_reach(open=5)
@given(charts(), lives(), st.booleans(), st.sampled_from((Cancelled, Erased, OptedOut)))
def test_a_run_can_end_in_any_state_and_while_paused(
    spec: Chart, life: list[Occurrence], paused: bool, end: type[Cancelled | Erased | OptedOut]
) -> None:
    state, _ = decide_all(spec, life)
    reached("open", state.is_open)
    if paused:
        state = decide(spec, state, Paused(day(41))).state
    won = decide(spec, state, Signal(day(42), "won")).state
    assert won.outcome is not None
    ended = decide(spec, state, end(day(42))).state
    assert not ended.is_open
    assert ended.next_due() is None
    assert (ended.held, ended.waiting) == ((), ())


@must_reach(decided=5)
@settings(max_examples=150)
@given(charts(WILD), st.lists(anything(), max_size=8))
def test_decide_accepts_any_occurrence_and_its_state_is_json(spec: Chart, life: list[Occurrence]) -> None:
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


@must_reach(lines=5)
@given(charts(), lives(), st.lists(st.integers(0, 60), max_size=6))
def test_stopping_the_simulation_at_any_instants_does_not_change_the_timeline(
    spec: Chart, life: list[Occurrence], stops: list[int]
) -> None:
    timelines = []
    for instants in ([], stops):
        person = World(Scenario((spec,), POLICY, frozenset({"email"})))
        for event in _recorded(life, []):
            for instant in sorted(instants):
                if day(instant) <= event.at:
                    person.until(day(instant))
            person.accept(event)
        person.until(day(90))
        timelines.append(person.lines())
    assert timelines[0] == timelines[1]
    reached("lines", len(timelines[0]))


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
    def check_sizes(
        signals_sent: list[tuple[str, dict[str, Any]]], profile: Any, account: Any, first: dict[str, Any]
    ) -> None:
        facts = {"profile": profile, "account": account}
        state = decide(
            spec, RunState(), Entered(START, spec.spec.entry.on[0], first, facts, lane="k" * 26, seq=1)
        ).state
        for number, (name, data) in enumerate(signals_sent, 1):
            at = day(number * 9)
            while (due := state.next_due()) is not None and due <= at:
                state = decide(spec, state, TimerDue(due)).state
            state = decide(
                spec, state, Signal(at, name, spec.kept(name, data), facts, lane="k" * 26, seq=number + 1)
            ).state
            reached("decided")
            assert state_size(state) < 2_048
            assert state_from_json(json.loads(json.dumps(state_to_json(state)))) == state

    check_sizes()


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
def test_judge_does_not_depend_on_the_order_of_messages_and_every_deferral_ends(
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
    request = SendRequest(
        ("email", "in_app"), "t", "lifecycle", now, now + timedelta(hours=expires) if expires else None
    )
    verdict = judge(rules, request, RecipientContext({"email": True}, sent=tuple(messages)), now)
    random.shuffle(messages)
    shuffled = RecipientContext({"email": True}, sent=tuple(messages))
    assert judge(rules, request, shuffled, now) == verdict
    deferrals = 0
    while isinstance(verdict, DeferUntil):
        assert verdict.until > now
        assert verdict.reasons
        reached("deferred")
        now, deferrals = verdict.until, deferrals + 1
        verdict = judge(rules, request, shuffled, now)
    assert deferrals <= len(messages) + 1
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
def test_the_backtest_notices_as_many_silences_as_an_independent_count(
    people: list[list[int]], days: int, until: int
) -> None:
    first = date(2024, 1, 1)
    expected, returned = 0, 0
    for orders in people:
        order_dates = sorted({first + timedelta(at) for at in orders if at <= until})
        for order, following in zip(order_dates, [*order_dates[1:], None], strict=False):
            end = following or first + timedelta(until)
            silent = (end - order).days >= days
            expected += silent
            returned += silent and following is not None
    streams = [
        (str(number), [RecordedEvent(day(at), str(number), "signal", "order_completed") for at in sorted(orders)])
        for number, orders in enumerate(people)
    ]
    scenario = Scenario((chart(SILENCE.format(days=days), {}),), load_policy({}), frozenset({"email"}))
    tally = backtest(scenario, streams, datetime.combine(first, datetime.min.time(), START.tzinfo) + timedelta(until))
    assert tally.moves["silence", "buying", "silent"] == expected
    assert tally.moves["silence", "silent", "buying"] == returned
    reached("silent", expected)
    reached("returned", returned)
