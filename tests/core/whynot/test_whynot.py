"""Why not, as a property: whoever makes the change that the answer names, and asks again, comes to the message being sent.

Small invented journeys, policies and lives; each answer's first change is made exactly as its structured form says, as a
recorded event, and what is told in the end is what `python -m cli simulate` tells.
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
from journeys.simulation.person import SimulatedPerson
from journeys.simulation.recording import RecordedEvent
from journeys.simulation.simulator import simulate
from journeys.simulation.timeline import Scenario
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
# There is somebody for whom all of these are true at once, so that no journey is invented which nobody could get through.
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
    """A journey is asked about again and again while only its person changes."""
    spec, source = read_journey(text)
    assert spec is not None, source.problems
    return compile_chart(spec, TYPES)


# -- a case ------------------------------------------------------------------------------------------------------------


@dataclass
class Case:
    """A journey, a policy, a life, and now."""

    journey: dict[str, Any]
    rules: dict[str, Any]
    reachable: frozenset[str]
    events: list[RecordedEvent]
    now: datetime
    seen: list[Obstacle] = field(default_factory=list)

    def chart(self) -> Chart:
        return _compiled(json.dumps(self.journey))

    def world(self) -> Scenario:
        return Scenario((self.chart(),), load_policy(self.rules), self.reachable)

    def person(self) -> SimulatedPerson:
        someone = SimulatedPerson(self.world())
        for event in self.events:
            someone.happen(event)
        someone.until(self.now)
        return someone

    def asked(self) -> tuple[Obstacle, ...]:
        return why_not(self.person(), self.chart(), TEMPLATE, self.now)

    def make(self, change: SuggestedChange) -> None:
        """Exactly what is named, and nothing else."""
        self.now += timedelta(seconds=1)  # nobody acts in the instant in which they ask
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
    """Whether the simulator sends it, by its own telling."""
    told = simulate(case.world(), case.events, case.now)
    return any(moment.what == "sent" and moment.why.startswith(f"{TEMPLATE} by ") for moment in told)


def follow(case: Case) -> Case:
    """Ask, make the first change, ask again."""
    for _ in range(MOST_STEPS):
        found = case.asked()
        if not found:
            return case
        first = found[0]
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


# -- invented ----------------------------------------------------------------------------------------------------------


def _guarded(draw: st.DrawFn, thing: dict[str, Any], guards: tuple[str, ...], often: int = 2) -> dict[str, Any]:
    guard = draw(st.sampled_from((None,) * often + guards))
    return {**thing, **({"when": guard} if guard else {})}


@st.composite
def journeys(draw: st.DrawFn) -> dict[str, Any]:
    """The message is sent in b or c, on entering it, on a signal, after a time or at a date."""
    send: dict[str, Any] = {"send": TEMPLATE, "via": draw(st.sampled_from((["email"], ["in_app", "email"])))}
    if draw(st.booleans()):
        send["expires"] = "P2D"
    if draw(st.integers(0, 3)) == 0:
        send["priority"] = draw(st.sampled_from(("promotional", "transactional", "urgent_support")))
    way = draw(st.sampled_from(("do", "on", "after", "at")))
    guards = (*GUARDS, *OF_EVENT) if way == "on" else GUARDS
    send = _guarded(draw, send, guards)
    holder: dict[str, Any] = {}
    match way:
        case "do":
            holder["do"] = [send]
        case "on":
            holder["on"] = {"s2": [_guarded(draw, {"do": [send]}, guards)]}
        case "after":
            holder["after"] = {"P3D": [_guarded(draw, {"do": [send]}, GUARDS)]}
        case "at":
            holder["at"] = [{"date": "profile.date", "before": "P1D", "do": [send]}]
    states: dict[str, Any] = {"a": {}, "b": {}, "c": {}, "z": {"final": "over"}}
    where = draw(st.sampled_from(("a", "b", "c")))
    states["a"]["on"] = {"s1": [_guarded(draw, {"to": "b"}, (*GUARDS, *OF_EVENT))]}
    states["b"]["after"] = {"P5D": [_guarded(draw, {"to": "c"}, GUARDS)]}
    states["c"]["on"] = {"s1": [{"to": draw(st.sampled_from(("z", "a")))}]}
    for key, value in holder.items():
        states[where][key] = {**states[where].get(key, {}), **value} if isinstance(value, dict) else value
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
    some: dict[str, Any] = {
        "consent": [{"channel": "email", "topic": "t", "default": "required"}],
        "caps": [{"name": "few", "limit": draw(st.sampled_from((0, 1))), "window": "P3D"}],
        "cooldowns": [{"name": "calm", "between": "P4D"}],
        "quiet_hours": [{"name": "night", "start": "20:00", "end": "08:00"}],
        "send_windows": [{"name": "office", "days": ["mon", "tue"], "start": "09:00", "end": "17:00"}],
    }
    chosen = draw(st.sets(st.sampled_from(sorted(some)), max_size=2))
    return {name: some[name] for name in sorted(chosen)}


@cache
def _happenings() -> st.SearchStrategy[tuple[str, str, dict[str, Any]]]:
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
        places.map(lambda it: ("consent", "consent", {"channel": it[0], "topic": it[1], "granted": it[2]})),
        st.just(("signal", "ticket_opened", ticket)),
        st.sampled_from(operator).map(lambda it: ("operator", it[0], it[1])),
        st.just(("signal", "message_replied", {"template": TEMPLATE})),
    )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    events = []
    at = day(0)
    for kind, name, data in draw(st.lists(_happenings(), max_size=8)):
        at += timedelta(hours=draw(st.sampled_from((1, 7, 26, 100))))
        events.append(RecordedEvent(at, "p", kind, name, data))  # type: ignore[arg-type]
    reachable = draw(st.sampled_from((frozenset({"in_app", "email"}), frozenset({"in_app"}), frozenset[str]())))
    return Case(draw(journeys()), draw(policies()), reachable, events, at + timedelta(hours=draw(st.integers(1, 200))))


# -- the property ------------------------------------------------------------------------------------------------------


# Known gap: where the signal that should let a timer come due also leaves its state, the named changes can go round in a
# circle; random examples meet such a journey rarely.
@settings(max_examples=30, suppress_health_check=list(HealthCheck))
@given(cases())
def test_making_the_named_change_again_and_again_makes_the_simulator_send(case: Case) -> None:
    follow(case)
    target(float(len(case.seen)))
    assert sent(case), [(each.code, each.what, each.change) for each in case.seen]


# -- one by one --------------------------------------------------------------------------------------------------------

PLAIN: dict[str, Any] = {
    "journey": "j",
    "entry": {"on": "begin", "again": "always"},
    "topic": "t",
    "start": "a",
    "states": {"a": {"do": [{"send": TEMPLATE, "via": ["email"]}]}},
}


def happened(name: str, /, **data: Any) -> RecordedEvent:
    kind = "signal" if name.startswith(("ticket", "message")) else "consent" if name == "consent" else "operator"
    return RecordedEvent(day(1), "p", kind, name, data)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("event", "kind", "params"),
    [
        (happened("consent", channel="email", topic="t", granted=False), "consent", {"granted": True}),
        (happened("consent", channel="*", topic="t", granted=False), "consent", {"channel": "*", "granted": None}),
        (happened("consent", channel="*", topic="*", granted=False), "consent", {"topic": "*", "granted": None}),
        (happened("suppress", channel="email"), "lift_suppression", {"channel": "email"}),
        (happened("stop", scope="all", name=""), "release_stop", {"scope": "all", "name": ""}),
        (happened("stop", scope="channel", name="email"), "release_stop", {"scope": "channel", "name": "email"}),
        (happened("stop", scope="journey", name="j"), "release_stop", {"scope": "journey", "name": "j"}),
        (happened("stop", scope="template", name=TEMPLATE), "release_stop", {"scope": "template", "name": TEMPLATE}),
        (happened("hold", until="2024-06-01", by="dana"), "release_hold", {"by": "dana"}),
        (happened("ticket_opened", ticket_id="7", priority="urgent"), "resolve_ticket", {"ticket_id": "7"}),
        (happened("retire_content", template=TEMPLATE), "mend_content", {"template": TEMPLATE}),
    ],
)
def test_each_thing_at_the_gate_is_named_with_its_change_and_since_when(event, kind, params):
    case = Case(PLAIN, {}, frozenset({"email", "in_app"}), [event], day(2))
    first = case.asked()[0]
    assert (first.code, first.change.kind, first.since) == ("gate", kind, day(1))
    assert params.items() <= first.change.params.items()
    follow(case)
    assert sent(case)


def test_an_answer_is_in_the_way_of_what_its_run_has_yet_to_say():
    journey = {
        **PLAIN,
        "states": {"a": {"do": [{"send": "n", "via": ["email"]}], "on": {"s1": {"do": [{"send": "m"}]}}}},
    }
    events = [RecordedEvent(day(0), "p", "signal", "begin"), happened("message_replied", template="n")]
    case = Case(journey, {}, frozenset({"email"}), events, day(2))
    first = case.asked()[0]
    assert (first.change.kind, first.since) == ("close_conversation", day(1))
    follow(case)
    assert sent(case)


def test_what_another_account_of_theirs_has_said_is_waited_for():
    ask = SendRequest(("email",), None, "lifecycle", day(1), template=TEMPLATE, account="a_2")
    before = SentMessage(day(1), "email", None, "lifecycle", template=TEMPLATE, account="a_1")
    standing, policy = RecipientContext(addresses={"email": True}, sent=(before,)), Policy()
    (found,) = gate_obstacles(policy, ask, standing, GateFacts(), day(1.2))
    assert (found.change.kind, found.since) == ("wait", day(1))
    until = found.change.params["until"]
    assert gate_obstacles(policy, ask, standing, GateFacts(), until) == ()
    assert isinstance(judge(policy, replace(ask, at=until), standing, until), SendNow)


def test_what_is_not_known_is_asked_for_by_name_and_an_address_by_its_field():
    send = {"send": TEMPLATE, "via": ["email"], "data": {"x": "profile.n"}}
    case = Case({**PLAIN, "states": {"a": {"do": [send]}}}, {}, frozenset({"in_app"}), [], day(2))
    follow(case)
    assert sent(case)
    kinds = Counter(each.change.kind for each in case.seen)
    assert kinds["address"] == 1
    assert kinds["track"] == 1
    needed = [each.change.params["fields"] for each in case.seen if each.change.kind == "tell"]
    assert needed in ([], [["profile.n"]])


def test_nothing_is_in_the_way_of_what_has_gone_out_and_what_waits_says_for_what():
    begun = [RecordedEvent(day(0.5), "p", "signal", "begin")]
    assert Case(PLAIN, {}, frozenset({"email"}), begun, day(1)).asked() == ()
    night = {"quiet_hours": [{"name": "night", "start": "10:00", "end": "18:00"}]}
    (found,) = Case(PLAIN, night, frozenset({"email"}), begun, day(0.6)).asked()
    assert (found.code, found.change.kind, found.change.params["until"]) == ("queued", "wait", day(0.75))
    assert found.since == day(0.5)


def test_what_waits_for_one_thing_after_another_has_waited_since_the_first():
    night = {"quiet_hours": [{"name": "night", "start": "10:00", "end": "18:00"}]}
    stop = RecordedEvent(day(0.6), "p", "operator", "stop", {"scope": "all", "name": "", "why": "a broken link"})
    begun = [RecordedEvent(day(0.5), "p", "signal", "begin"), stop]
    (found,) = [
        each for each in Case(PLAIN, night, frozenset({"email"}), begun, day(0.8)).asked() if each.code == "queued"
    ]
    assert found.what.startswith("the message is queued: a kill switch stops all messages")
    assert found.since == day(0.5)


def test_what_was_refused_when_it_was_asked_for_last_is_told_with_what_is_waited_for():
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
    (found,) = Case(journey, {}, frozenset({"email", "in_app"}), events, day(4)).asked()
    assert found.what == (
        "the run is in a, and the message is sent on s1; it was not sent when it was last requested: the person opted out of t by email"
    )


def test_a_journey_that_nothing_leads_through_says_so():
    never = {**PLAIN["states"]["a"]["do"][0], "when": "1 > 2"}
    case = Case({**PLAIN, "states": {"a": {"do": [never]}}}, {}, frozenset({"email"}), [], day(1))
    assert case.asked()[0].change.kind == "change_journey"
