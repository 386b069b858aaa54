"""Hypothesis strategies for charts that the language allows and for sequences of occurrences."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from journeys.decision.chart import Chart
from journeys.decision.compiler import compile_chart
from journeys.decision.occurrences import (
    Cancelled,
    Entered,
    Erased,
    FieldsChanged,
    Occurrence,
    OptedOut,
    Paused,
    Resumed,
    Signal,
    TimerDue,
)
from journeys.language import definition as d
from tests.support.run_script import START, day

STATES = ("a", "b", "c", "z")
SIGNALS = ("s1", "s2", "s3", "call.closed")
TYPES = {
    "profile.n": "double",
    "profile.when": "timestamp",
    **{f"event.{name}.n": "int" for name in SIGNALS},
    **{f"event.{name}.list": "strings" for name in SIGNALS},
}
GUARDS = ("profile.n > 0.5", "known.profile.n", "journey.visits < 3", "known.journey.v && journey.v > 1", "1 / 0 > 0")
OF_EVENT = ("event.n > 1", "!known.event.n")


# Each strategy is built once: building one at every draw costs more than the examples.


def _some(keys: st.SearchStrategy[Any], values: st.SearchStrategy[Any], most: int) -> st.SearchStrategy[dict[Any, Any]]:
    return st.dictionaries(keys, values, max_size=most)


@cache
def _action(*, event: bool, messages: bool = True) -> st.SearchStrategy[dict[str, Any]]:
    guards = st.sampled_from(GUARDS + (OF_EVENT if event else ()))
    number = st.sampled_from(("1", "2 + 3", "event.n", "journey.v + 1") if event else ("1", "journey.v + 1"))
    kinds: list[st.SearchStrategy[dict[str, Any]]] = [
        st.fixed_dictionaries(
            {"task": st.just("call"), "sla": st.sampled_from(("P1D", "P3D")), "escalate": st.just(["lead"])}
        ),
        st.just({"close": "call"}),
        st.builds(lambda value: {"set": {"v": value}}, number),
        st.just({"emit": "s9", "data": {"x": "journey.state"}}),
        st.just({"audience": "vip"}),
    ]
    if messages:
        kinds.append(
            st.builds(lambda name, via: {"send": name, "via": via}, st.sampled_from(("m1", "m2")), _channels())
        )
    if event:
        kinds.append(st.just({"emit": "s9", "for_each": "event.list", "data": {"x": "item"}}))
    guard = st.none() | guards
    return st.builds(lambda action, when: {**action, **({"when": when} if when else {})}, st.one_of(kinds), guard)


@cache
def _channels() -> st.SearchStrategy[list[str]]:
    return st.sampled_from((["email"], ["in_app"], ["in_app", "email"]))


@cache
def _move(*, event: bool) -> st.SearchStrategy[dict[str, Any]]:
    guards = st.none() | st.sampled_from(GUARDS + (OF_EVENT if event else ()))
    optional: dict[str, st.SearchStrategy[Any]] = {
        "to": st.sampled_from(STATES),
        "do": st.lists(_action(event=event), max_size=2),
    }
    if event:
        optional["lookback"] = st.sampled_from(("P1D", "P9D"))
    return st.builds(
        lambda move, when: {**move, **({"when": when} if when else {})},
        st.fixed_dictionaries({}, optional=optional),
        guards,
    )


@cache
def _repeat() -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(
        lambda move, times: {**move, **({"times": times} if times else {})}, _move(event=False), st.none() | st.just(2)
    )


@cache
def _anchor() -> st.SearchStrategy[dict[str, Any]]:
    shift = st.sampled_from(({}, {"before": "P5D"}, {"after": "P2D"}, {"every": "P7D"}, {"tolerance": "P3D"}))
    past = st.sampled_from(("act", "skip", "next"))
    return st.builds(
        lambda move, shift, past: {**move, **shift, "date": "profile.when", "past": past},
        _move(event=False),
        shift,
        past,
    )


@cache
def _reacting(delays: tuple[str, ...]) -> Mapping[str, st.SearchStrategy[Any]]:
    waits = st.sampled_from(delays)
    return {
        "on": _some(st.sampled_from(SIGNALS), st.lists(_move(event=True), min_size=1, max_size=2), 3),
        "after": _some(waits, _move(event=False), 2),
        "every": _some(waits.filter(lambda text: text.startswith("P")), _repeat(), 1),
        "at": st.lists(_anchor(), max_size=1),
    }


CALM = ("P1D", "P2D", "P10D", "P1M", "days(profile.n)")
WILD = (*CALM, "PT0S", "PT1S", "P100Y", "days(journey.v)")


@cache
def _state(delays: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    actions = st.lists(_action(event=False), max_size=2)
    return st.fixed_dictionaries({}, optional={**_reacting(delays), "do": actions})


@cache
def _whole_journey(delays: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional={**_reacting(delays)})


_WITHIN = st.sampled_from(({}, {"within": "P30D"}))


@st.composite
def charts(draw: st.DrawFn, delays: tuple[str, ...] = CALM, *, busy: bool = False) -> Chart:
    """A journey with a goal, an exit, four states (one of them final) and random transitions and actions.

    A busy one sends two messages in each state and moves on at `s1`, so that there is always something to withdraw.
    """
    states = {name: draw(_state(delays)) for name in STATES[:3]}
    for name, following in pairwise(STATES) if busy else ():
        both = [{"send": "m1", "via": draw(_channels())}, {"send": "m2", "via": draw(_channels())}]
        states[name] = {**states[name], "do": both, "on": {**states[name].get("on", {}), "s1": {"to": following}}}
    journey = {
        "journey": "invented",
        "entry": {"on": "begin"},
        "goal": {"on": "won", **draw(_WITHIN)},
        "exit": {"on": "left"},
        "topic": "t",
        "variables": {"v": "int"},
        "start": "a",
        **draw(_whole_journey(delays)),
        "states": {**states, "z": {"final": "lost", "do": [{"send": "bye"}]}},
    }
    return compile_chart(d.Journey.model_validate(journey), TYPES)


@cache
def names() -> st.SearchStrategy[str]:
    """Names of signals; those that end a run are rarer."""
    return st.sampled_from(SIGNALS * 4 + ("won", "left", "call.overdue", "elsewhere"))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)  # JSON has neither, and no event with one is accepted
    | st.text(max_size=5)
    | st.sampled_from(("2024-01-09", "9999-12-31", "0001-01-01")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@cache
def lives() -> st.SearchStrategy[list[Occurrence]]:
    """Occurrences of one lane in order: `seq` grows with each, the day not always."""
    data = st.fixed_dictionaries(
        {}, optional={"n": st.integers(0, 3), "list": st.lists(st.sampled_from("xy"), max_size=2)}
    )
    facts = st.fixed_dictionaries({}, optional={"n": st.sampled_from((0.0, 1.0, 3.0)), "when": _dates()})
    happening = st.tuples(st.integers(0, 40), st.none() | names(), data, facts)
    return st.lists(happening, max_size=12).map(_occurrences)


@cache
def _dates() -> st.SearchStrategy[str]:
    return st.integers(-10, 50).map(lambda offset: day(offset).isoformat())


def _occurrences(happenings: list[tuple[int, str | None, dict[str, Any], dict[str, Any]]]) -> list[Occurrence]:
    occurrences: list[Occurrence] = [Entered(day(0), "begin", {}, {"profile": {}}, lane="user", seq=1)]
    for seq, (at, name, data, facts) in enumerate(sorted(happenings, key=lambda happening: happening[0]), 2):
        if name is None:
            occurrences.append(FieldsChanged(day(at), {"profile": facts}, lane="user", seq=seq))
        else:
            occurrences.append(Signal(day(at), name, data, {"profile": facts} if facts else None, lane="user", seq=seq))
    return occurrences


@cache
def anything() -> st.SearchStrategy[Occurrence]:
    """Any occurrence with any data, in any order."""
    at = st.timedeltas(-timedelta(days=40), timedelta(days=400)).map(lambda offset: START + offset)
    data = st.dictionaries(st.sampled_from(("n", "list", "x")), JSON, max_size=3)
    scopes = st.dictionaries(
        st.sampled_from(("profile", "account", "x")), st.dictionaries(st.sampled_from(("n", "when")), JSON), max_size=2
    )
    lane, seq = st.sampled_from(("", "user")), st.integers(0, 20)
    return st.one_of(
        st.builds(Entered, at, st.just("begin"), data, st.none() | scopes, lane=lane, seq=seq),
        st.builds(Signal, at, names(), data, st.none() | scopes, lane=lane, seq=seq),
        st.builds(Signal, at, names(), data, st.none() | scopes, lane=lane, seq=seq),
        st.builds(FieldsChanged, at, scopes, lane=lane, seq=seq),
        st.builds(TimerDue, at),
        st.builds(Paused, at),
        st.builds(Resumed, at, st.sampled_from(("shift", "catch_up", "expire"))),
        st.builds(Cancelled, at),
        st.builds(OptedOut, at),
        st.builds(Erased, at),
    )
