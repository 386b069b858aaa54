"""Why-not: making the suggested change of each answer leads to the message being sent.

The property generates small journeys, policies and events. It applies the first change of each answer as a recorded event
until no obstacle is left; then the simulator sends the message.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache, lru_cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, target
from hypothesis import strategies as st

from journeys.decision.chart import Chart
from journeys.decision.compiler import compile_chart
from journeys.gate.judge import judge
from journeys.gate.policy import Policy, load_policy
from journeys.gate.verdicts import RecipientContext, SendNow, SendRequest, SentMessage
from journeys.language.parsing import read_journey
from journeys.simulation.recording import RecordedEvent
from journeys.simulation.simulator import simulate
from journeys.simulation.timeline import Scenario
from journeys.simulation.world import World
from journeys.whynot.changes import SuggestedChange, as_recorded
from journeys.whynot.gate_obstacles import GateFacts, gate_obstacles
from journeys.whynot.obstacles import Obstacle
from tests.core.whynot.simulated import why_not
from tests.support.run_script import day

TEMPLATE = "m"
MOST_STEPS = 30
TYPES = {"profile.plan": "string", "profile.n": "double", "account.tier": "string", "profile.date": "timestamp"}
TYPES |= {"profile.gone": "string"}
TYPES |= {f"event.{name}.n": "int" for name in ("begin", "s1", "s2")}
# One person can satisfy all of these at once, so that every generated journey can be completed.
GUARDS = (
    'known.profile.plan && profile.plan == "team"',
    "profile.n > 2.0",
    '!(known.account.tier && account.tier == "free")',
    'profile.plan == "team" && account.tier != "gold"',
    "!known.profile.gone",
)
OF_EVENT = ("event.n > 1", "event.n == 3 && profile.n >= 1.0")


@lru_cache(maxsize=8)
def _compiled(text: str) -> Chart:
    """Cached, because the property asks about one journey many times."""
    spec, source = read_journey(text)
    assert spec is not None, source.problems
    return compile_chart(spec, TYPES)


# -- a case ------------------------------------------------------------------------------------------------------------


@dataclass
class Case:
    """A journey, a policy, the events of a person, and the current time."""

    journey: dict[str, Any]
    rules: dict[str, Any]
    reachable: frozenset[str]
    events: list[RecordedEvent]
    now: datetime
    seen: list[Obstacle] = field(default_factory=list)

    def chart(self) -> Chart:
        return _compiled(json.dumps(self.journey))

    def scenario(self) -> Scenario:
        return Scenario((self.chart(),), load_policy(self.rules), self.reachable)

    def person(self) -> World:
        person = World(self.scenario())
        for event in self.events:
            person.accept(event)
        person.until(self.now)
        return person

    def obstacles(self) -> tuple[Obstacle, ...]:
        return why_not(self.person(), self.chart(), TEMPLATE, self.now)

    def make(self, change: SuggestedChange) -> None:
        """Apply this change and nothing else."""
        self.now += timedelta(seconds=1)  # a change comes after the question
        recorded = as_recorded(change, "p", self.now)
        match change.kind:
            case "wait":
                assert change.params["until"] >= self.now - timedelta(seconds=1), change
                self.now = max(self.now, change.params["until"])
            case "tell":
                for name in change.params["fields"]:
                    scope, _, rest = name.partition(".")
                    value = {"n": 5.0, "date": "2030-01-01T00:00:00Z"}.get(rest, "team")
                    kind = "profile" if scope == "profile" else "account"
                    self.events.append(RecordedEvent(self.now, "p", kind, "", {rest: value}))  # type: ignore[arg-type]
            case "address":
                assert change.params["field"] == "profile.email"
                self.events.append(RecordedEvent(self.now, "p", "profile", "", {"email": "p@example.com"}))
            case "allow_again":
                self.journey["entry"]["again"] = "always"
            case "change_policy":
                for rules in self.rules.values():
                    rules[:] = [rule for rule in rules if rule.get("name") != change.params["rule"]]
            case _:
                assert recorded is not None, change
                self.events.append(recorded)


def sent(case: Case) -> bool:
    """Whether the simulator's timeline contains the message as sent."""
    moments = simulate(case.scenario(), case.events, case.now)
    return any(moment.what == "sent" and moment.why.startswith(f"{TEMPLATE} by ") for moment in moments)


def follow(case: Case) -> Case:
    """Make the first suggested change until no obstacle is left."""
    for _ in range(MOST_STEPS):
        obstacles = case.obstacles()
        if not obstacles:
            return case
        first = obstacles[0]
        assert first.what
        assert first.change.text
        if case.seen:
            before = case.seen[-1]
            same = (first.code, first.what, first.change) == (before.code, before.what, before.change)
            assert not same, f"its change was made, and it is still there: {first}"
        case.seen.append(first)
        assert first.change.kind != "change_journey", f"{first.what}\n{case.journey}\n{case.events}\n{case.now}"
        case.make(first.change)
    raise AssertionError("no end of obstacles:\n" + "\n".join(f"{o.code}: {o.what} -> {o.change}" for o in case.seen))


# -- generated cases ---------------------------------------------------------------------------------------------------


def _guarded(draw: st.DrawFn, item: dict[str, Any], guards: tuple[str, ...], often: int = 2) -> dict[str, Any]:
    guard = draw(st.sampled_from((None,) * often + guards))
    return {**item, **({"when": guard} if guard else {})}


@st.composite
def journeys(draw: st.DrawFn) -> dict[str, Any]:
    """A journey that sends the message in a, b or c: on entry, on a signal, after a time or at a date."""
    send: dict[str, Any] = {"send": TEMPLATE, "via": draw(st.sampled_from((["email"], ["in_app", "email"])))}
    if draw(st.booleans()):
        send["expires"] = "P2D"
    if draw(st.integers(0, 3)) == 0:
        send["priority"] = draw(st.sampled_from(("promotional", "transactional", "urgent_support")))
    trigger = draw(st.sampled_from(("do", "on", "after", "at")))
    guards = (*GUARDS, *OF_EVENT) if trigger == "on" else GUARDS
    send = _guarded(draw, send, guards)
    part: dict[str, Any] = {}
    match trigger:
        case "do":
            part["do"] = [send]
        case "on":
            part["on"] = {"s2": [_guarded(draw, {"do": [send]}, guards)]}
        case "after":
            part["after"] = {"P3D": [_guarded(draw, {"do": [send]}, GUARDS)]}
        case "at":
            part["at"] = [{"date": "profile.date", "before": "P1D", "do": [send]}]
    states: dict[str, Any] = {"a": {}, "b": {}, "c": {}, "z": {"final": "over"}}
    state = draw(st.sampled_from(("a", "b", "c")))
    states["a"]["on"] = {"s1": [_guarded(draw, {"to": "b"}, (*GUARDS, *OF_EVENT))]}
    states["b"]["after"] = {"P5D": [_guarded(draw, {"to": "c"}, GUARDS)]}
    states["c"]["on"] = {"s1": [{"to": draw(st.sampled_from(("z", "a")))}]}
    for key, value in part.items():
        states[state][key] = {**states[state].get(key, {}), **value} if isinstance(value, dict) else value
    journey: dict[str, Any] = {
        "journey": "j",
        "entry": _guarded(draw, {"on": "begin"}, (*GUARDS, *OF_EVENT))
        | {"again": draw(st.sampled_from(("never", "always", {"after": "P10D"})))},
        "topic": "t",
        "start": "a",
        "states": states,
    }
    if draw(st.booleans()):
        journey["exit"] = [{"on": "left"}]
    if draw(st.integers(0, 3)) == 0:
        journey["goal"] = {"on": "won", "within": "P40D"}
    return journey


@st.composite
def policies(draw: st.DrawFn) -> dict[str, Any]:
    rules: dict[str, Any] = {
        "consent": [{"channel": "email", "topic": "t", "default": "required"}],
        "caps": [{"name": "few", "limit": draw(st.sampled_from((0, 1))), "window": "P3D"}],
        "cooldowns": [{"name": "calm", "between": "P4D"}],
        "quiet_hours": [{"name": "night", "start": "20:00", "end": "08:00"}],
        "send_windows": [{"name": "office", "days": ["mon", "tue"], "start": "09:00", "end": "17:00"}],
    }
    chosen = draw(st.sets(st.sampled_from(sorted(rules)), max_size=2))
    return {name: rules[name] for name in sorted(chosen)}


@cache
def _event_parts() -> st.SearchStrategy[tuple[str, str, dict[str, Any]]]:
    n = st.sampled_from(({}, {"n": 1}, {"n": 3}))
    signals = st.tuples(st.just("signal"), st.sampled_from(("begin", "begin", "s1", "s2", "left")), n)
    traits = st.sampled_from(
        ({"plan": "team"}, {"plan": "free"}, {"n": 3.0}, {"n": 0.0}, {"gone": "x"}, {"email": "p@example.com"})
    )
    accounts = st.sampled_from(({"tier": "gold"}, {"tier": "free"}))
    places = st.tuples(st.sampled_from(("email", "in_app", "*")), st.sampled_from(("t", "*")), st.booleans())
    ticket = {"ticket_id": "7", "priority": "urgent"}
    operator: list[tuple[str, dict[str, Any]]] = [
        *(("stop", {"scope": scope, "name": name, "why": "a broken link"}) for scope, name in (
            ("all", ""), ("journey", "j"), ("template", TEMPLATE), ("channel", "email"),
        )),
        ("hold", {"until": day(90).isoformat(), "by": "dana"}),
        ("suppress", {"channel": "email"}),
        ("suppress", {"channel": "in_app"}),
        ("retire_content", {"template": TEMPLATE, "why": "m is retired"}),
        ("retire_content", {"template": TEMPLATE, "why": "m was due for review on 2024-01-01"}),
    ]  # fmt: skip
    return st.one_of(
        signals,
        st.tuples(st.just("profile"), st.just(""), traits),
        st.tuples(st.just("account"), st.just(""), accounts),
        places.map(lambda place: ("consent", "consent", {"channel": place[0], "topic": place[1], "granted": place[2]})),
        st.just(("signal", "ticket_opened", ticket)),
        st.sampled_from(operator).map(lambda action: ("operator", *action)),
        st.just(("signal", "message_replied", {"template": TEMPLATE})),
    )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    events = []
    at = day(0)
    for kind, name, data in draw(st.lists(_event_parts(), max_size=8)):
        at += timedelta(hours=draw(st.sampled_from((1, 7, 26, 100))))
        events.append(RecordedEvent(at, "p", kind, name, data))  # type: ignore[arg-type]
    reachable = draw(st.sampled_from((frozenset({"in_app", "email"}), frozenset({"in_app"}), frozenset[str]())))
    return Case(draw(journeys()), draw(policies()), reachable, events, at + timedelta(hours=draw(st.integers(1, 200))))


# -- the property ------------------------------------------------------------------------------------------------------


# Known gap: if the signal that makes a timer due also leaves its state, the suggested changes can repeat in a circle.
# Random examples contain such a journey rarely.
@settings(max_examples=30, suppress_health_check=list(HealthCheck))
@given(cases())
def test_making_each_suggested_change_leads_to_the_message_being_sent(case: Case) -> None:
    follow(case)
    target(float(len(case.seen)))
    assert sent(case), [(obstacle.code, obstacle.what, obstacle.change) for obstacle in case.seen]


# -- examples ----------------------------------------------------------------------------------------------------------

PLAIN: dict[str, Any] = {
    "journey": "j",
    "entry": {"on": "begin", "again": "always"},
    "topic": "t",
    "start": "a",
    "states": {"a": {"do": [{"send": TEMPLATE, "via": ["email"]}]}},
}


def gate_event(name: str, /, **data: Any) -> RecordedEvent:
    kind = "signal" if name.startswith(("ticket", "message")) else "consent" if name == "consent" else "operator"
    return RecordedEvent(day(1), "p", kind, name, data)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("event", "kind", "params"),
    [
        (gate_event("consent", channel="email", topic="t", granted=False), "consent", {"granted": True}),
        (gate_event("consent", channel="*", topic="t", granted=False), "consent", {"channel": "*", "granted": None}),
        (gate_event("consent", channel="*", topic="*", granted=False), "consent", {"topic": "*", "granted": None}),
        (gate_event("suppress", channel="email"), "lift_suppression", {"channel": "email"}),
        (gate_event("stop", scope="all", name=""), "release_stop", {"scope": "all", "name": ""}),
        (gate_event("stop", scope="channel", name="email"), "release_stop", {"scope": "channel", "name": "email"}),
        (gate_event("stop", scope="journey", name="j"), "release_stop", {"scope": "journey", "name": "j"}),
        (gate_event("stop", scope="template", name=TEMPLATE), "release_stop", {"scope": "template", "name": TEMPLATE}),
        (gate_event("hold", until="2024-06-01", by="dana"), "release_hold", {"by": "dana"}),
        (gate_event("ticket_opened", ticket_id="7", priority="urgent"), "resolve_ticket", {"ticket_id": "7"}),
        (gate_event("retire_content", template=TEMPLATE), "mend_content", {"template": TEMPLATE}),
    ],
)
def test_an_obstacle_of_the_gate_has_its_change_and_the_instant_of_its_cause(event, kind, params):
    case = Case(PLAIN, {}, frozenset({"email", "in_app"}), [event], day(2))
    first = case.obstacles()[0]
    assert (first.code, first.change.kind, first.since) == ("gate", kind, day(1))
    assert params.items() <= first.change.params.items()
    follow(case)
    assert sent(case)


def test_an_open_conversation_is_an_obstacle_for_later_messages_of_its_run():
    journey = {
        **PLAIN,
        "states": {"a": {"do": [{"send": "n", "via": ["email"]}], "on": {"s1": {"do": [{"send": "m"}]}}}},
    }
    events = [RecordedEvent(day(0), "p", "signal", "begin"), gate_event("message_replied", template="n")]
    case = Case(journey, {}, frozenset({"email"}), events, day(2))
    first = case.obstacles()[0]
    assert (first.change.kind, first.since) == ("close_conversation", day(1))
    follow(case)
    assert sent(case)


def test_the_same_message_of_another_account_is_an_obstacle_that_ends_with_time():
    request = SendRequest(("email",), None, "lifecycle", day(1), template=TEMPLATE, account="a_2")
    before = SentMessage(day(1), "email", None, "lifecycle", template=TEMPLATE, account="a_1")
    recipient, policy = RecipientContext(addresses={"email": True}, sent=(before,)), Policy()
    (obstacle,) = gate_obstacles(policy, request, recipient, GateFacts(), day(1.2))
    assert (obstacle.change.kind, obstacle.since) == ("wait", day(1))
    until = obstacle.change.params["until"]
    assert gate_obstacles(policy, request, recipient, GateFacts(), until) == ()
    assert isinstance(judge(policy, replace(request, at=until), recipient, until), SendNow)


def test_a_missing_field_and_a_missing_address_are_named_by_their_fields():
    send = {"send": TEMPLATE, "via": ["email"], "data": {"x": "profile.n"}}
    case = Case({**PLAIN, "states": {"a": {"do": [send]}}}, {}, frozenset({"in_app"}), [], day(2))
    follow(case)
    assert sent(case)
    kinds = Counter(obstacle.change.kind for obstacle in case.seen)
    assert kinds["address"] == 1
    assert kinds["track"] == 1
    needed = [obstacle.change.params["fields"] for obstacle in case.seen if obstacle.change.kind == "tell"]
    assert needed in ([], [["profile.n"]])


def test_a_sent_message_has_no_obstacle_and_a_deferred_one_has_its_due_instant():
    events = [RecordedEvent(day(0.5), "p", "signal", "begin")]
    assert Case(PLAIN, {}, frozenset({"email"}), events, day(1)).obstacles() == ()
    night = {"quiet_hours": [{"name": "night", "start": "10:00", "end": "18:00"}]}
    (obstacle,) = Case(PLAIN, night, frozenset({"email"}), events, day(0.6)).obstacles()
    assert (obstacle.code, obstacle.change.kind, obstacle.change.params["until"]) == ("queued", "wait", day(0.75))
    assert obstacle.since == day(0.5)


def test_a_message_deferred_repeatedly_has_waited_since_its_first_deferral():
    night = {"quiet_hours": [{"name": "night", "start": "10:00", "end": "18:00"}]}
    stop = RecordedEvent(day(0.6), "p", "operator", "stop", {"scope": "all", "name": "", "why": "a broken link"})
    events = [RecordedEvent(day(0.5), "p", "signal", "begin"), stop]
    (queued,) = [
        obstacle
        for obstacle in Case(PLAIN, night, frozenset({"email"}), events, day(0.8)).obstacles()
        if obstacle.code == "queued"
    ]
    assert queued.what.startswith("the message is queued: a kill switch stops all messages")
    assert queued.since == day(0.5)


def test_an_obstacle_names_the_last_refusal_beside_the_signal_it_waits_for():
    send = {"send": TEMPLATE, "via": ["email"]}
    journey = {**PLAIN, "states": {"a": {"on": {"s1": {"do": [send]}}}}}
    no, yes = ({"channel": "email", "topic": "t", "granted": granted} for granted in (False, True))
    events = [
        RecordedEvent(day(0), "p", "signal", "begin"),
        RecordedEvent(day(1), "p", "consent", "consent", no),
        RecordedEvent(day(2), "p", "signal", "s1"),
        RecordedEvent(day(3), "p", "consent", "consent", yes),
    ]
    journey["exit"] = [{"on": "left"}]
    journey["states"]["a"]["do"] = [{"send": "n", "via": ["in_app"]}]
    (obstacle,) = Case(journey, {}, frozenset({"email", "in_app"}), events, day(4)).obstacles()
    assert obstacle.what == (
        "the run is in a, and the message is sent on s1; it was not sent when it was last requested: the person opted out of t by email"
    )


def test_a_message_that_would_expire_before_its_hours_is_requested_when_they_begin_if_the_run_stays_until_then():
    send = {"do": [{"send": TEMPLATE, "via": ["email"], "expires": "P2D"}]}
    journey = {
        **PLAIN,
        "states": {
            "a": {"on": {"s1": "b"}},
            "b": {"on": {"s2": send}, "after": {"P5D": "c"}},
            "c": {"on": {"s1": "z"}},
            "z": {"final": "over"},
        },
    }
    journey["entry"] = {"on": "begin", "again": {"after": "P10D"}}
    office = {"send_windows": [{"name": "office", "days": ["mon", "tue"], "start": "09:00", "end": "17:00"}]}
    thursday = day(10.3)
    case = Case(journey, office, frozenset({"email"}), [RecordedEvent(thursday, "p", "signal", "begin")], thursday)
    follow(case)
    assert sent(case)
    changes = [(obstacle.change.kind, obstacle.change.params.get("until")) for obstacle in case.seen]
    assert changes == [("track", None), ("wait", day(14.375)), ("track", None)], "s1, Monday at nine, s2"


def test_a_journey_that_can_never_send_the_message_must_be_changed():
    never = {**PLAIN["states"]["a"]["do"][0], "when": "1 > 2"}
    case = Case({**PLAIN, "states": {"a": {"do": [never]}}}, {}, frozenset({"email"}), [], day(1))
    assert case.obstacles()[0].change.kind == "change_journey"
