"""The checker reports all problems at once with their places, and accepts no journey that cannot run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journeys.checks.checker import PublishableDefinition, check_journey, publishable, publishable_definition
from journeys.checks.policy import check_policy
from journeys.decision.compiler import load_chart
from journeys.gate.policy import Policy, load_policy
from journeys.language import definition as d
from journeys.language.conditions import fields_in
from journeys.language.parsing import read_journey, read_model
from journeys.language.traversal import durations_of, expressions_of
from tests.support import shipped_catalog
from tests.support.reached import must_reach, reached

BASE = """journey: example
entry: {{on: signed_up}}
goal: {{on: activated, within: P30D}}
exit: [{{on: account_closed}}]
topic: onboarding
{more}
start: here
states:
  here: {here}
  there: {there}
"""


def problems(here: str = "{}", there: str = "{final: done}", more: str = "on: {pricing_viewed: there}") -> list[str]:
    text = BASE.format(here=here, there=there, more=more)
    result = publishable(text, shipped_catalog.plan(), shipped_catalog.templates())
    return [] if isinstance(result, PublishableDefinition) else [problem.code for problem in result]


def test_the_base_journey_of_these_tests_has_no_problem():
    assert problems() == []


@pytest.mark.parametrize("name", sorted(shipped_catalog.TEXTS))
def test_every_shipped_journey_can_be_published_with_the_others(name):
    others = [shipped_catalog.journey(other) for other in shipped_catalog.TEXTS if other != name]
    result = publishable(
        shipped_catalog.TEXTS[name],
        shipped_catalog.plan(),
        shipped_catalog.templates(),
        others,
        shipped_catalog.policy(),
    )
    assert isinstance(result, PublishableDefinition), "\n".join(map(str, result))


PRESSING = {"transactional": {"templates": ["setup/checklist"]}, "urgent_support": {"topics": ["onboarding"]}}


@pytest.mark.parametrize(
    ("of_send", "of_journey", "place"),
    [
        ("transactional", None, None),
        (None, "transactional", None),
        ("urgent_support", None, None),
        ("lifecycle", "transactional", None),
        ("transactional", None, "states.here.do[0].priority"),
        (None, "transactional", "states.here.do[0].send"),
    ],
)
def test_C2_only_messages_that_the_policy_names_are_transactional_or_urgent(of_send, of_journey, place):
    template = "setup/first-steps" if place is not None else "setup/checklist"
    priority = f", priority: {of_send}" if of_send is not None else ""
    text = BASE.format(
        here=f"{{do: [{{send: {template}{priority}}}]}}", there="{final: done}", more="on: {pricing_viewed: there}"
    ) + (f"priority: {of_journey}\n" if of_journey is not None else "")
    policy = load_policy({"pressing": PRESSING})
    result = publishable(text, shipped_catalog.plan(), shipped_catalog.templates(), policy=policy)
    if place is None:
        assert isinstance(result, PublishableDefinition), "\n".join(map(str, result))
        return
    assert isinstance(result, list)
    (problem,) = result
    assert (problem.code, problem.place) == ("T533", place)
    assert problem.what == (
        "setup/first-steps is transactional, and the policy names neither it nor its topic onboarding as transactional"
    )


@pytest.mark.parametrize("field", ["topics", "templates"])
def test_a_pressing_message_that_does_not_exist_is_a_problem_of_the_policy(field):
    text = f"pressing: {{transactional: {{{field}: [no-such]}}}}"
    _, source = read_model(text, Policy)
    journeys = [shipped_catalog.journey(name) for name in shipped_catalog.TEXTS]
    (problem,) = check_policy(journeys, shipped_catalog.templates(), source)
    assert (problem.code, problem.what) == ("T801", f"no {field.removesuffix('s')} is named no-such")


def test_all_problems_are_reported_at_once():
    here = (
        "{milestone: setup_completed, do: [{send: no/such}, {task: call}], after: {P9Q: nowhere}, on: {nothing: there}}"
    )
    assert sorted(problems(here)) == ["T202", "T301", "T402", "T501", "T502", "T505", "T515"]


@pytest.mark.parametrize(
    ("send", "more", "codes"),
    [
        ("send: setup/checklist, topic: shop", "", ["T509"]),
        ("send: shop/win-back, topic: shop", "", []),
        ("send: setup/checklist, priority: promotional", "", ["T519"]),
        ("send: setup/checklist", "priority: promotional", ["T519"]),
        ("send: setup/checklist, priority: lifecycle", "priority: promotional", []),
    ],
)
def test_a_messages_own_topic_and_priority_are_checked_instead_of_the_journeys(send, more, codes):
    assert problems(f"{{do: {{{send}}}}}", more=f"on: {{pricing_viewed: there}}\n{more}") == codes


@pytest.mark.parametrize(
    ("own", "expected"), [("", ["T504"]), (", topic: onboarding", []), (", priority: transactional", [])]
)
def test_a_message_that_needs_consent_has_a_topic_if_its_journey_has_none(own, expected):
    text = BASE.format(here=f"{{do: {{send: setup/checklist{own}}}}}", there="{final: done}", more="")
    text = text.replace("topic: onboarding\n\n", "on: {pricing_viewed: there}\n", 1)
    result = publishable(text, shipped_catalog.plan(), shipped_catalog.templates())
    codes = [] if isinstance(result, PublishableDefinition) else [problem.code for problem in result]
    assert codes == expected


@pytest.mark.parametrize(("own", "expected"), [("", ["T603"]), (", priority: transactional", [])])
def test_a_transactional_message_cannot_contradict_another_journey(own, expected):
    first = BASE.format(
        here="{milestone: setup_completed, owner: us, do: {send: setup/first-steps}, on: {setup_completed: there}}",
        there="{final: done}",
        more="",
    )
    other, _ = read_journey(first.replace("journey: example", "journey: other"))
    assert other is not None
    second = BASE.format(here=f"{{do: {{send: setup/checklist{own}}}}}", there="{final: done}", more="")
    second = second.replace("on: signed_up", "on: setup_completed").replace("  there: {final: done}\n", "")
    result = publishable(second, shipped_catalog.plan(), shipped_catalog.templates(), [other])
    codes = [] if isinstance(result, PublishableDefinition) else [problem.code for problem in result]
    assert codes == expected


def test_a_problem_has_the_path_line_and_column_of_the_authors_text():
    text = BASE.format(here="{on: {feature_used: nowhere}}", there="{final: done}", more="on: {pricing_viewed: there}")
    [problem] = publishable(text, shipped_catalog.plan(), shipped_catalog.templates())
    assert (problem.code, problem.place) == ("T202", "states.here.on.feature_used")
    assert text.splitlines()[problem.line - 1][problem.column - 1 :].startswith("feature_used")


def test_a_journey_without_its_text_is_checked_and_problems_have_no_line():
    journey = shipped_catalog.journey("setup-and-activation").model_copy(update={"start": "nowhere"})
    problems_found = check_journey(journey, shipped_catalog.plan(), shipped_catalog.templates())
    assert [(problem.code, problem.place, problem.line) for problem in problems_found] == [("T201", "start", None)]


def test_equal_definitions_have_equal_hashes_and_different_ones_different_hashes():
    one, two = (
        publishable_definition(shipped_catalog.journey(name), shipped_catalog.plan())
        for name in ("setup-and-activation", "urgent-support")
    )
    assert (
        one.hash
        == publishable_definition(shipped_catalog.journey("setup-and-activation"), shipped_catalog.plan()).hash
        != two.hash
    )
    assert load_chart(one.artifact_text).hash == one.hash


def test_a_published_definition_contains_the_types_of_its_fields():
    text = publishable_definition(
        shipped_catalog.journey("win-back-and-replenishment"), shipped_catalog.plan()
    ).artifact_text
    assert json.loads(text)["types"] == {"profile.lifetime_value": "double", "profile.rhythm_days": "double"}


# -- valid and invalid states -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "here",
    [
        "{on: {feature_used: [{to: there, when: event.feature == 'x'}, here]}}",
        "{milestone: setup_completed, owner: me, on: {setup_completed: there}, do: [{send: setup/checklist}]}",
        "{milestone: activated, owner: me, do: [{send: setup/checklist}]}",
        "{milestone: pricing_viewed, owner: me, do: [{send: setup/checklist}]}",
        "{after: {P29D: there}, every: {PT1M: {times: 2, do: {audience: a}}}}",
        "{after: {'days(profile.rhythm_days)': there, 'duration(\"36h\")': there}}",
        "{at: [{date: account.renewal_date, before: P90D, past: next, every: P1Y, to: there}]}",
        "{at: [{date: 'now + days(3)', to: there}, {name: a, date: now, to: there}, {name: b, date: now, to: there}]}",
        "{on: {integration_failed: {do: [{emit: setup_step_completed, data: {step: event.code}}]}}}",
        "{on: {segment.power-users.entered: {to: there, when: event.segment != ''}}}",
        "{do: [{send: setup/checklist}], on: {'send:setup/checklist.sent': {when: 'event.channel == \"email\"', to: there}}}",
        "{do: [{task: call, owner: me, sla: PT4H}], on: {call.closed: {do: {close: call}}, call.overdue: there}}",
        "{on: {feature_used: {do: {emit: setup_step_completed, for_each: '[1, 2]', data: {step: string(item)}}}}}",
        "{on: {feature_used: {when: '[1, 2].exists(item, item > 1)', to: there}}}",
        "{do: [{send: setup/checklist}, {send: setup/checklist, name: again}]}",
    ],
)
def test_a_valid_state_has_no_problem(here):
    assert problems(here) == []


@pytest.mark.parametrize(
    ("here", "more", "code"),
    [
        ("{}", "variables: {visits: int}\non: {pricing_viewed: there}", "T209"),
        ("{on: {feature_used: {do: {emit: tenure.event}}}}", "on: {pricing_viewed: there}", "T209"),
        ("{on: {feature_used: {do: {emit: no_such}}}}", "on: {pricing_viewed: there}", "T402"),
        ("{on: {call.closed: there}}", "on: {pricing_viewed: there}", "T402"),
        ("{milestone: no_such, owner: me}", "on: {pricing_viewed: there}", "T402"),
        ("{on: {activated: there}}", "on: {pricing_viewed: there}", "T206"),
        ("{on: {account_closed: there}}", "on: {pricing_viewed: there}", "T206"),
        ("{on: {feature_used: {to: there, when: event.colour == 'x'}}}", "on: {pricing_viewed: there}", "T403"),
        ("{on: {feature_used: {to: there, when: item == 'x'}}}", "on: {pricing_viewed: there}", "T404"),
        ("{on: {feature_used: {to: there, when: journey.colour == 'x'}}}", "on: {pricing_viewed: there}", "T405"),
        ("{on: {feature_used: {to: there, when: '1 + 1'}}}", "on: {pricing_viewed: there}", "T401"),
        ("{on: {feature_used: {to: there, when: 'now >'}}}", "on: {pricing_viewed: there}", "T401"),
        ("{at: {date: profile.plan, to: there}}", "on: {pricing_viewed: there}", "T401"),
        ("{after: {p3d: there}}", "on: {pricing_viewed: there}", "T301"),
        ("{after: {P999Y: there}}", "on: {pricing_viewed: there}", "T301"),
        ("{after: {'days(profile.plan)': there}}", "on: {pricing_viewed: there}", "T401"),
        ("{at: {date: now, before: 'days(3)', to: there}}", "on: {pricing_viewed: there}", "T301"),
        ("{on: {feature_used: {to: there, lookback: 'a week'}}}", "on: {pricing_viewed: there}", "T301"),
        ("{on: {feature_used: there}, every: {P31D: {do: {audience: a}}}}", "on: {pricing_viewed: there}", "T302"),
        ("{after: {P20D: late}}\n  late: {after: {P15D: there}}", "on: {pricing_viewed: there}", "T302"),
        (
            "{on: {feature_used: {when: event.feature == 'x', to: there, do: [{send: setup/checklist, via: []}]}}}",
            "",
            "T110",
        ),
        (
            "{milestone: feature_used, owner: me, do: [{send: setup/checklist}], on: {feature_used: here}}",
            "on: {pricing_viewed: there}",
            "T502",
        ),
        ("{at: {date: now, every: PT3S, to: there}}", "on: {pricing_viewed: there}", "T305"),
    ],
)
def test_an_invalid_state_is_reported_with_its_code(here, more, code):
    assert set(problems(here, more=more)) == {code}


def test_an_entry_guard_cannot_read_variables_of_the_run():
    text = BASE.format(here="{}", there="{final: done}", more="on: {pricing_viewed: there}")
    problems_found = publishable(
        text.replace("signed_up}", "signed_up, when: journey.visits > 1}"), shipped_catalog.plan(), {}
    )
    assert [problem.code for problem in problems_found] == ["T404"]


def test_a_goals_guard_may_read_only_properties_that_all_its_signals_have():
    text = BASE.format(here="{}", there="{final: done}", more="on: {pricing_viewed: there}")
    goal = "goal: {on: [feature_used, activated], when: event.feature == 'x', within: P30D}"
    problems_found = publishable(text.replace("goal: {on: activated, within: P30D}", goal), shipped_catalog.plan(), {})
    assert [(problem.code, "activated" in problem.what) for problem in problems_found] == [("T403", True)]


def test_an_entry_action_may_read_a_property_that_any_incoming_signal_has():
    here = "{variables: 1}".replace("{variables: 1}", "{do: [{task: call, owner: me, data: {plan: event.plan}}]}")
    assert problems(here) == []
    assert problems(here.replace("event.plan", "event.plane")) == ["T403"]


def test_a_journey_of_an_account_cannot_read_the_profile():
    text = BASE.format(
        here="{on: {feature_used: {to: there, when: profile.plan == 'x'}}}",
        there="{final: done}",
        more="on: {pricing_viewed: there}",
    )
    problems_found = publishable("subject: account\n" + text, shipped_catalog.plan(), {})
    assert [problem.code for problem in problems_found] == ["T404"]


def test_a_journey_does_not_contradict_its_own_previous_version():
    journey = shipped_catalog.journey("setup-and-activation")
    assert check_journey(journey, shipped_catalog.plan(), shipped_catalog.templates(), [journey]) == []


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("profile.plan == 'profile.x'", ("profile.plan",)),
        ("// it's about profile.x\nprofile.plan == 'a'", ("profile.plan",)),
        ("'http://a' == profile.plan // account.b", ("profile.plan",)),
        (r"r'\' == profile.plan && b'\'' == b'account.x'", ("profile.plan",)),
        ("known.profile.plan && profile.plan.startsWith(event.code)", ("profile.plan", "event.code")),
        ("[1].exists(item, item > 0) && now > now", ("item", "now")),
        ("myprofile.plan == x.profile.plan", ()),
    ],
)
def test_fields_in_finds_fields_of_a_condition_but_not_in_strings_or_comments(source, names):
    assert fields_in(source) == names


def test_a_journey_with_cases_cannot_react_to_a_segment():
    text = """journey: example
case: ticket_id
entry: {on: ticket_opened}
priority: urgent_support
start: here
states:
  here: {on: {segment.vip.entered: done, ticket_resolved: done}}
  done: {final: done}
"""
    problems_found = publishable(text, shipped_catalog.plan(), {})
    assert [problem.code for problem in problems_found] == ["T407"]


# -- every expression is checked ----------------------------------------------------------------------------------------

FULL: dict[str, Any] = {
    "journey": "full",
    "handoff": {"from": "a", "to": "b", "intent": "cel()", "promise": "cel()"},
    "entry": {
        "on": "a",
        "when": "cel()",
        "again": {"after": "dur()"},
        "lookback": {"goal": "dur()", "exit": "dur()"},
        "max_age": "dur()",
    },
    "goal": {"on": "b", "when": "cel()", "within": "dur()"},
    "exit": [{"on": "c", "when": "cel()"}],
    "start": "s",
    "on": {"x": {"when": "cel()", "lookback": "dur()", "do": [{"set": {"v": "cel()"}, "when": "cel()"}]}},
    "states": {
        "s": {
            "do": [
                {"send": "t", "data": {"k": "cel()"}, "when": "cel()", "expires": "dur()"},
                {"task": "t", "data": {"k": "cel()"}, "when": "cel()", "sla": "dur()"},
                {"close": "t", "when": "cel()"},
                {"emit": "t", "for_each": "cel()", "data": {"k": "cel()"}, "when": "cel()"},
                {"audience": "t", "when": "cel()"},
            ],
            "after": {"dur()": {"when": "cel()"}},
            "every": {"dur()": {"when": "cel()", "times": 3}},
            "at": [
                {
                    "date": "cel()",
                    "before": "dur()",
                    "after": "dur()",
                    "every": "dur()",
                    "tolerance": "dur()",
                    "when": "cel()",
                }
            ],
        }
    },
}


def number_placeholders(value: Any, count: Iterator[int]) -> Any:
    """Number each `cel()` and `dur()` so that all differ."""
    if isinstance(value, dict):
        return {
            (f"dur{next(count)}()" if key == "dur()" else key): number_placeholders(item, count)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [number_placeholders(item, count) for item in value]
    return value.replace("()", f"{next(count)}()") if value in {"cel()", "dur()"} else value


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from (key, *texts(item))
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    else:
        yield str(value)


def test_the_traversal_finds_every_expression_and_duration():
    raw = number_placeholders(FULL, iter(range(1000)))
    journey = d.Journey.model_validate(raw)
    expressions = {expression.source for expression in expressions_of(journey)}
    durations = {duration.text for duration in durations_of(journey)}
    assert expressions == {text for text in texts(raw) if text.startswith("cel")}
    assert durations == {text for text in texts(raw) if text.startswith("dur")}


def test_the_full_example_uses_every_key_that_takes_an_expression_or_duration():
    schema = d.Journey.model_json_schema()
    models = {"Journey": schema, **schema["$defs"]}
    unused = {
        f"{name}.{key}"
        for name, model in models.items()
        for key, item in model.get("properties", {}).items()
        if any(limit in json.dumps(item) for limit in ('"maxLength": 2000', '"maxLength": 500'))
        and key not in json.dumps(FULL)
    }
    assert unused == {"Journey.title"}


TARGETS = st.sampled_from(["here", "there", "end", "nowhere"])
CEL = st.sampled_from(
    [
        "true",
        "now > now",
        "profile.plan == 'x'",
        "event.feature == 'x'",
        "known.account.plan",
        "1",
        "profile.x",
        "((",
        "'a'",
    ]
)
SIGNALS = st.sampled_from(
    ["feature_used", "setup_completed", "call.closed", "send:setup/checklist.sent", "what", "activated"]
)
DELAYS = st.sampled_from(["P1D", "PT0S", "P60D", "PT30S", "days(profile.rhythm_days)", "soon", "P1M", "duration('x')"])


def optional_fields(**fields: st.SearchStrategy) -> st.SearchStrategy:
    return st.fixed_dictionaries({}, optional=fields)


ACTION = st.one_of(
    st.fixed_dictionaries(
        {"send": st.sampled_from(["setup/checklist", "setup/troubleshoot", "no/such"])},
        optional={"when": CEL, "data": st.dictionaries(st.sampled_from(["error", "x"]), CEL, max_size=1)},
    ),
    st.fixed_dictionaries(
        {"task": st.just("call")}, optional={"owner": st.just("me"), "sla": DELAYS, "escalate": st.just(["you"])}
    ),
    st.fixed_dictionaries({"close": st.just("call")}),
    st.fixed_dictionaries({"set": st.dictionaries(st.sampled_from(["v", "w"]), CEL, min_size=1)}),
    st.fixed_dictionaries(
        {"emit": SIGNALS}, optional={"data": st.dictionaries(st.just("feature"), CEL), "for_each": CEL}
    ),
)
TRANSITION = optional_fields(to=TARGETS, when=CEL, do=st.lists(ACTION, max_size=2))
STATE = optional_fields(
    on=st.dictionaries(SIGNALS, st.one_of(TARGETS, st.lists(TRANSITION, min_size=1, max_size=3)), max_size=2),
    after=st.dictionaries(DELAYS, st.lists(TRANSITION, min_size=1, max_size=2), max_size=2),
    every=st.dictionaries(DELAYS, TRANSITION, max_size=1),
    at=st.lists(
        st.fixed_dictionaries(
            {"date": CEL}, optional={"to": TARGETS, "before": DELAYS, "past": st.sampled_from(["next", "act"])}
        ),
        max_size=2,
    ),
    do=st.lists(ACTION, max_size=2),
    milestone=SIGNALS,
    owner=st.just("me"),
    final=st.sampled_from(["done", "missed"]),
)
JOURNEY = st.fixed_dictionaries(
    {
        "journey": st.just("any"),
        "entry": st.fixed_dictionaries({"on": SIGNALS}, optional={"when": CEL}),
        "start": TARGETS,
        "states": st.fixed_dictionaries({"here": STATE, "there": STATE, "end": STATE}),
    },
    optional={
        "goal": st.fixed_dictionaries({"on": SIGNALS}, optional={"within": DELAYS, "when": CEL}),
        "exit": st.lists(st.fixed_dictionaries({"on": SIGNALS}), max_size=1),
        "topic": st.just("onboarding"),
        "variables": st.just({"v": "int"}),
        "subject": st.sampled_from(["user", "account"]),
        "case": st.just("ticket_id"),
        "priority": st.sampled_from(["promotional", "transactional"]),
    },
)


# Almost no definition generated above can be published; almost every one below can.
VALID_GUARD = st.sampled_from(["true", "profile.plan == 'x'", "known.profile.plan", "journey.visits < 3"])
VALID_TRANSITION = st.fixed_dictionaries(
    {"to": st.sampled_from(["here", "there"])},
    optional={"when": VALID_GUARD, "do": st.lists(st.just({"set": {"v": "journey.v + 1"}}), max_size=1)},
)
VALID_STATE = st.fixed_dictionaries(
    {"on": st.fixed_dictionaries({"pricing_viewed": st.just("end")}, optional={"feature_used": VALID_TRANSITION})},
    optional={
        "after": st.dictionaries(st.sampled_from(["P1D", "P60D", "P1M"]), VALID_TRANSITION, max_size=2),
        "do": st.just([{"send": "setup/checklist"}]),
        "owner": st.just("me"),
    },
)
VALID_JOURNEY = st.fixed_dictionaries(
    {
        "journey": st.just("sound"),
        "entry": st.just({"on": "signed_up"}),
        "goal": st.just({"on": "activated", "within": "P30D"}),
        "exit": st.just([{"on": "account_closed"}]),
        "topic": st.just("onboarding"),
        "variables": st.just({"v": "int"}),
        "on": st.just({"pricing_viewed": "there"}),
        "start": st.just("here"),
        "states": st.fixed_dictionaries({"here": VALID_STATE, "there": VALID_STATE, "end": st.just({"final": "done"})}),
    }
)


@must_reach(compiled=5, refused=5)
@given(JOURNEY | VALID_JOURNEY)
@settings(max_examples=400)
def test_every_definition_either_compiles_or_has_problems_with_reasons(raw):
    result = publishable(json.dumps(raw), shipped_catalog.plan(), shipped_catalog.templates())
    reached("compiled" if isinstance(result, PublishableDefinition) else "refused")
    if isinstance(result, PublishableDefinition):
        assert load_chart(result.artifact_text).spec == result.journey
    else:
        assert result
        assert all(problem.what and problem.harm and problem.mend and problem.line for problem in result)


def test_a_definition_of_two_hundred_states_is_checked_quickly():
    states = {f"s{n}": {"on": {"feature_used": f"s{(n + 1) % 200}"}, "after": {"P1D": f"s{n}"}} for n in range(200)}
    raw = {
        "journey": "long",
        "entry": {"on": "signed_up"},
        "exit": {"on": "account_closed"},
        "start": "s0",
        "states": states,
    }
    journey, source = read_journey(json.dumps(raw))
    assert journey is not None, source.problems
    assert check_journey(journey, shipped_catalog.plan(), {}) == []
