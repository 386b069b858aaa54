"""Effects of actions: messages, tasks, variables, signals, audiences, and their stable keys."""

from __future__ import annotations

import pytest

from journeys.decision.effects import effects_from_json, effects_to_json, log_from_json, log_to_json, message_key
from tests.support.run_script import Play, day


def test_a_message_carries_the_fields_that_the_gate_reads() -> None:
    text = (
        "priority: promotional\nstates: {a: {do: [{send: shop/offer, name: offer, via: [in_app, email], for: [champion],"
        " expires: P2D, data: {plan: profile.plan, missing: profile.fit}}]}}"
    )
    run = Play(text, facts={"profile": {"plan": "pro"}})
    (message,) = (effect for effect in run.did if effect.kind == "send")
    assert (message.action, message.template, message.via, message.roles) == (
        "offer",
        "shop/offer",
        ("in_app", "email"),
        ("champion",),
    )
    assert (message.priority, message.topic, message.expires_at) == ("promotional", "t", day(2))
    assert message.data == {"plan": "pro"}
    assert run.says("no missing, as profile.fit is not known")


def test_a_messages_own_topic_and_priority_override_the_journeys() -> None:
    run = Play(
        "priority: urgent_support\nstates: {a: {do: [{send: x/y}, {send: x/z, topic: news, priority: promotional}]}}"
    )
    assert [(e.topic, e.priority) for e in run.did] == [("t", "urgent_support"), ("news", "promotional")]


def test_an_action_without_a_name_is_named_after_its_template() -> None:
    run = Play("states: {a: {do: [{send: x/y}, {send: x/y, name: named}]}}")
    assert [e.action for e in run.did] == ["send:x/y", "named"]


def test_the_key_of_a_message_contains_run_state_visit_action_firing_and_recipient() -> None:
    run = (
        Play("states: {a: {on: {go: a, ping: {do: {send: pong}}}}}").signal(1, "go").signal(2, "ping").signal(3, "ping")
    )
    assert message_key("journey/j/s/-/1", run.did[0], "p") == "journey/j/s/-/1#a.2/send:pong.2>p"


def test_an_action_with_a_false_guard_has_no_effect_and_logs_the_reason() -> None:
    run = Play("states: {a: {do: [{send: no, when: profile.fit > 0.5}, {send: yes}]}}", facts={"profile": {"fit": 0.1}})
    assert run.sent == [("yes", 0)]
    assert run.says("send:no: not done, as profile.fit > 0.5 is false")


def test_entry_actions_may_read_the_event_that_caused_the_transition() -> None:
    text = "states: {a: {on: {step_done: b}}, b: {do: {send: next, data: {step: event.step}}}}"
    run = Play(text).signal(1, "step_done", step="invite")
    assert run.did[0].data == {"step": "invite"}


# -- tasks -------------------------------------------------------------------------------------------------------------

CALL = "states: {a: {do: {task: call, owner: csm, sla: P1D, escalate: [lead, director]}, on: {call.overdue: {do: {send: sorry}}}}}"


def test_C10_a_task_has_an_owner_and_a_deadline_and_escalates_along_its_chain() -> None:
    run = Play(CALL)
    assert (run.did[0].owner, run.did[0].due_at) == ("csm", day(1))
    run.wait(10)
    escalated = [(e.owner, e.level, e.at, e.due_at) for e in run.effects if e.kind == "escalate_task"]
    assert escalated == [("lead", 1, day(1), day(2)), ("director", 2, day(2), day(3))]
    assert run.sent == [("sorry", 1), ("sorry", 2)]


def test_a_task_without_owner_belongs_to_the_owner_of_its_state() -> None:
    run = Play("states: {a: {milestone: m, owner: onboarding, do: {task: call}}}")
    assert run.did[0].owner == "onboarding"


def test_a_task_without_an_escalation_chain_becomes_overdue_once() -> None:
    run = Play("states: {a: {do: {task: call, sla: P1D}, on: {call.overdue: b}}, b: {}}").wait(1)
    assert run.state.state == "b"
    assert run.kinds() == ["close_task"]


def test_P4_closing_a_task_sends_a_signal_and_stops_its_deadline() -> None:
    text = "states: {a: {do: {task: call, sla: P1D, escalate: [lead]}, on: {call.closed: {to: b, when: event.outcome == 'won'}}}, b: {}}"
    assert Play(text).signal(0.5, "call.closed", outcome="won").state.state == "b"
    lost = Play(text).signal(0.5, "call.closed", outcome="lost")
    assert (lost.state.state, lost.state.tasks, lost.state.timers) == ("a", {}, {})
    assert lost.wait(9).did == ()


def test_a_closed_task_stops_its_timers_even_if_no_state_reacts() -> None:
    run = Play("states: {a: {do: {task: call, sla: P1D, escalate: [lead]}}}")
    assert "call.closed" in run.chart.signals
    assert run.signal(0.5, "call.closed").wait(5).state.timers == {}


def test_leaving_a_state_closes_its_task() -> None:
    run = Play("states: {a: {do: {task: call, sla: P1D}, on: {go: b}}, b: {}}").signal(0.5, "go")
    assert run.kinds() == ["close_task"]
    assert (run.state.tasks, run.state.timers) == ({}, {})


def test_close_has_an_effect_only_while_the_task_is_open() -> None:
    run = Play("states: {a: {do: {task: call, sla: P1D}, on: {go: {do: {close: call}}}}}").signal(0.5, "go")
    assert run.kinds() == ["close_task"]
    assert run.signal(0.6, "go").kinds() == []


def test_an_open_task_is_not_opened_again() -> None:
    run = Play("states: {a: {every: {P1D: {do: {task: call, sla: P9D}}}}}").wait(3)
    assert [e.kind for e in run.effects] == ["task"]
    assert run.says("task call is open already")


def test_tasks_with_one_name_in_two_states_keep_their_own_chains() -> None:
    text = (
        "states: {a: {do: {task: call, sla: P1D, escalate: [lead-a]}, on: {go: b}},"
        " b: {do: {task: call, sla: P2D, escalate: [lead-b]}}}"
    )
    assert [e.owner for e in Play(text).wait(5).effects if e.kind == "escalate_task"] == ["lead-a"]
    later = Play(text).signal(0.5, "go").wait(9)
    assert [(e.owner, e.at) for e in later.effects if e.kind == "escalate_task"] == [("lead-b", day(2.5))]


def test_a_transitions_task_escalates_by_its_own_chain() -> None:
    text = "states: {a: {on: {go: {to: b, do: {task: call, sla: P1D, escalate: [lead]}}}}, b: {}}"
    run = Play(text).signal(1, "go").wait(9)
    assert [e.owner for e in run.effects if e.kind == "escalate_task"] == ["lead"]


def test_a_final_states_task_stays_open() -> None:
    run = Play("states: {a: {on: {go: z}}, z: {final: handed_over, do: {task: call}}}").signal(1, "go")
    assert run.kinds() == ["task", "withdraw", "finish"]


# -- variables, signals, audiences -------------------------------------------------------------------------------------


def test_set_assigns_variables_that_conditions_can_read() -> None:
    text = (
        "variables: {n: int}\nstates: {a: {on: {go: [{to: b, when: known.journey.n && journey.n >= 2},"
        " {do: {set: {n: 'known.journey.n ? journey.n + 1 : 1'}}}]}}, b: {}}"
    )
    run = Play(text).signal(1, "go").signal(2, "go")
    assert (run.state.variables, run.state.state) == ({"n": 2}, "a")
    assert run.signal(3, "go").state.state == "b"


def test_a_value_of_the_wrong_type_does_not_change_the_variable() -> None:
    text = "variables: {n: int}\nstates: {a: {on: {step_done: {do: {set: {n: event.step}}}}}}"
    run = Play(text).signal(1, "step_done", step="three")
    assert run.state.variables == {}
    assert run.says("not of type int")


@pytest.mark.parametrize("expression", ["1.0 / 0.0", "0.0 / 0.0"])
def test_infinity_and_nan_are_stored_as_null(expression: str) -> None:
    run = Play(f"variables: {{x: double}}\nstates: {{a: {{do: {{set: {{x: '{expression}'}}}}}}}}")
    assert run.state.variables == {"x": None}


def test_emit_with_for_each_sends_a_signal_with_its_own_key_for_each_item() -> None:
    text = (
        "states: {a: {on: {order: {do: {emit: line, for_each: event.items, data: {sku: item, plan: profile.plan}}}}}}"
    )
    run = Play(text, facts={"profile": {"plan": "pro"}}).signal(1, "order", items=["x", "y"])
    assert [(e.name, e.data) for e in run.did] == [
        ("line", {"sku": "x", "plan": "pro"}),
        ("line", {"sku": "y", "plan": "pro"}),
    ]
    effects = run.did + run.signal(2, "order", items=["x"]).did
    assert len({effect.key for effect in effects}) == 3


def test_emit_for_each_of_an_unknown_field_sends_nothing_and_logs_it() -> None:
    run = Play("states: {a: {on: {order: {do: {emit: line, for_each: event.items}}}}}").signal(1, "order")
    assert run.did == ()
    assert run.says("event.items is not known")


def test_emit_sends_at_most_one_hundred_signals() -> None:
    run = Play("states: {a: {on: {order: {do: {emit: line, for_each: event.items}}}}}")
    assert len(run.signal(1, "order", items=["x"] * 5_000).did) == 100


def test_an_audience_action_adds_or_removes_the_subject() -> None:
    run = Play("states: {a: {do: {audience: vip}, on: {go: {do: {audience: vip, change: remove}}}}}").signal(1, "go")
    assert [e.change for e in run.effects] == ["add", "remove"]


def test_effects_and_log_are_unchanged_after_a_round_trip_through_json() -> None:
    text = (
        "goal: {on: won}\nstates: {a: {do: [{send: x, data: {p: profile.plan}}, {task: call, sla: P1D, escalate: [l]},"
        " {emit: e}, {audience: v}], on: {go: b}}, b: {}}"
    )
    run = Play(text, facts={"profile": {"plan": "pro"}}).wait(1).signal(2, "go").signal(3, "won")
    assert {e.kind for e in run.effects} == {
        "send",
        "task",
        "emit",
        "audience",
        "escalate_task",
        "withdraw",
        "close_task",
        "finish",
    }
    effects, log = tuple(run.effects), tuple(run.log)
    assert effects_from_json(effects_to_json(effects)) == effects
    assert log_from_json(log_to_json(log)) == log
