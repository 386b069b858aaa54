"""Transitions: targets, guards, levels, goal, exit, final states and lookback."""

from __future__ import annotations

from datetime import timedelta

import pytest

from journeys.decision.decide import decide
from journeys.decision.occurrences import Cancelled, Entered, Erased, FieldsChanged, OptedOut, Paused, Signal, TimerDue
from journeys.decision.state import RunState
from tests.support.run_script import START, Play, chart, day


def test_entry_performs_the_start_states_actions_and_starts_its_timers() -> None:
    run = Play("states: {a: {do: {send: hello}, after: {P1D: a}}}")
    assert run.sent == [("hello", 0)]
    assert run.state.timers == {"s:after.P1D": day(1)}
    assert (run.state.state, run.state.visit, run.state.started_at, run.state.entered_at) == ("a", 1, day(0), day(0))


def test_a_transition_to_its_own_state_enters_it_again() -> None:
    run = Play("states: {a: {do: {send: hello}, on: {again: a}, after: {P5D: {do: {send: late}}}}}").signal(2, "again")
    assert run.sent == [("hello", 0), ("hello", 2)]
    assert run.state.visit == 2
    assert run.state.timers == {"s:after.P5D": day(7)}
    assert run.state.entered_at == day(2)


def test_an_internal_transition_acts_within_the_same_visit() -> None:
    run = Play("states: {a: {on: {ping: {do: {send: pong}}}, after: {P5D: a}}}").signal(2, "ping").signal(3, "ping")
    assert run.sent == [("pong", 2), ("pong", 3)]
    assert run.state.visit == 1
    assert run.state.timers == {"s:after.P5D": day(5)}
    assert run.state.firings == {"send:pong": 2}


def test_firings_are_counted_from_one_in_each_visit() -> None:
    run = (
        Play("states: {a: {on: {go: a, ping: {do: {send: pong}}}}}").signal(1, "ping").signal(2, "go").signal(3, "ping")
    )
    assert [(effect.visit, effect.firing) for effect in run.effects if effect.kind == "send"] == [(1, 1), (2, 1)]


def test_a_transitions_actions_belong_to_the_visit_of_its_target() -> None:
    run = Play("states: {a: {on: {go: {to: b, do: {send: on-the-way}}}}, b: {do: {send: there}}}").signal(1, "go")
    assert [(e.template, e.state, e.visit) for e in run.did] == [("on-the-way", "b", 1), ("there", "b", 1)]


@pytest.mark.parametrize(("count", "state"), [(1, "c"), (5, "b"), (50, "b"), (-1, "a")])
def test_the_first_transition_whose_guard_is_true_is_taken(count: int, state: str) -> None:
    moves = "[{to: b, when: event.count > 3}, {to: c, when: event.count > 0}]"
    run = Play(f"states: {{a: {{on: {{step_done: {moves}}}}}, b: {{}}, c: {{}}}}").signal(1, "step_done", count=count)
    assert run.state.state == state


def test_a_guard_that_is_false_is_logged() -> None:
    run = Play("states: {a: {on: {step_done: {to: b, when: event.count > 3}}}, b: {}}").signal(1, "step_done", count=2)
    assert run.state.state == "a"
    assert run.says("event.count > 3 is false")


def test_H8_a_guard_over_an_unknown_field_is_neither_true_nor_false() -> None:
    text = "states: {a: {on: {go: [{to: b, when: profile.fit < 0.5}, {to: c, when: '!(profile.fit < 0.5)'}]}}, b: {}, c: {}}"
    run = Play(text).signal(1, "go")
    assert run.state.state == "a"
    assert run.says("profile.fit is not known")


def test_known_tests_whether_a_field_has_a_value() -> None:
    text = "states: {a: {on: {go: {to: b, when: known.profile.fit && profile.fit > 0.5}}}, b: {}}"
    assert Play(text).signal(1, "go").state.state == "a"
    assert Play(text, facts={"profile": {"fit": 0.9}}).signal(1, "go").state.state == "b"


def test_a_states_transition_takes_precedence_over_the_journeys() -> None:
    text = "on: {go: c}\nstates: {a: {on: {go: {to: b, when: event.count == 1}}}, b: {}, c: {}}"
    types = {"event.go.count": "int"}
    for count, state in ((1, "b"), (2, "c")):
        entered = decide(chart(text, types), RunState(), Entered(day(0), "begin")).state
        assert decide(chart(text, types), entered, Signal(day(1), "go", {"count": count})).state.state == state


def test_the_journeys_transitions_apply_in_every_state() -> None:
    text = "on: {help: {do: {send: help}}}\nafter: {P10D: c}\nstates: {a: {on: {go: b}}, b: {}, c: {}}"
    run = Play(text).signal(1, "help").signal(2, "go").signal(3, "help").wait(10)
    assert run.sent == [("help", 1), ("help", 3)]
    assert run.state.state == "c"


def test_a_goal_ends_the_run_and_withdraws_queued_messages() -> None:
    text = "goal: {on: won}\nstates: {a: {do: {send: hello}, on: {won: b}}, b: {do: {send: never}}}"
    run = Play(text).signal(1, "won")
    assert run.state.outcome == "reached"
    assert run.kinds() == ["withdraw", "finish"]
    assert run.state.timers == {}


def test_a_goal_takes_precedence_over_an_exit_and_an_exit_over_transitions() -> None:
    both = "goal: {on: x, when: event.count == 1}\nexit: {on: x}\nstates: {a: {on: {x: b}}, b: {}}"
    types = {"event.x.count": "int"}
    entered = decide(chart(both, types), RunState(), Entered(day(0), "begin")).state
    assert decide(chart(both, types), entered, Signal(day(1), "x", {"count": 1})).state.outcome == "reached"
    ended = decide(chart(both, types), entered, Signal(day(1), "x", {"count": 2})).state
    assert (ended.outcome, ended.state) == ("exited", "a")


def test_the_end_of_the_goals_window_ends_the_run_as_missed() -> None:
    run = Play("goal: {on: won, within: P30D}\nstates: {a: {after: {P30D: b}}, b: {do: {send: never}}}").wait(40)
    assert run.state.outcome == "missed"
    assert run.last.state.last_at == day(30)
    assert run.sent == []


def test_a_goal_signal_within_the_window_reaches_the_goal() -> None:
    run = Play("goal: {on: won, within: P30D}\nstates: {a: {}}").signal(29.9, "won")
    assert run.state.outcome == "reached"


def test_a_final_state_ends_the_run_and_its_messages_are_not_withdrawn() -> None:
    run = Play("states: {a: {do: {send: hello}, on: {bye: z}}, z: {final: lost, do: {send: goodbye}}}").signal(1, "bye")
    assert run.state.outcome == "lost"
    goodbye = next(effect for effect in run.did if effect.kind == "send")
    assert goodbye.stands
    assert run.kinds() == ["withdraw", "send", "withdraw", "finish"]
    assert [e.state for e in run.did if e.kind == "withdraw"] == ["a", None]


def test_leaving_a_state_withdraws_its_messages_only_if_it_has_requested_some() -> None:
    run = Play("states: {a: {on: {go: b}}, b: {do: {send: hello}, on: {go: a}}}").signal(1, "go")
    assert "withdraw" not in run.kinds()
    withdrawn = run.signal(2, "go").did[0]
    assert (withdrawn.kind, withdrawn.state, withdrawn.visit) == ("withdraw", "b", 1)


def test_a_goal_closes_an_open_task() -> None:
    run = Play("goal: {on: won}\nstates: {a: {do: {task: call}}}").signal(1, "won")
    assert run.kinds() == ["close_task", "withdraw", "finish"]


def test_C3_a_message_of_a_state_is_withdrawn_with_the_signal_as_reason() -> None:
    run = Play("states: {a: {do: {send: set-up}, on: {setup_completed: b}}, b: {}}").signal(2, "setup_completed")
    assert "setup_completed" in run.did[0].reason


def test_lookback_takes_a_recent_signal_that_no_transition_consumed() -> None:
    text = "states: {a: {on: {go: b}}, b: {on: {seen: {to: c, lookback: P7D}}}, c: {}}"
    assert Play(text).signal(1, "seen").signal(8, "go").state.state == "c"
    assert Play(text).signal(1, "seen").signal(8.01, "go").state.state == "b"


def test_a_state_left_at_once_by_lookback_leaves_no_timer() -> None:
    text = "states: {a: {on: {go: b}}, b: {on: {seen: {to: c, lookback: P7D}}, after: {P1D: a}}, c: {}}"
    run = Play(text).signal(1, "seen").signal(2, "go")
    assert (run.state.state, run.state.timers) == ("c", {})


def test_lookback_ignores_a_signal_that_a_transition_consumed() -> None:
    text = "states: {a: {on: {go: b, seen: {do: {send: thanks}}}}, b: {on: {seen: {to: c, lookback: P7D}}}, c: {}}"
    assert Play(text).signal(1, "seen").signal(2, "go").state.state == "b"


def test_lookback_takes_each_signal_once_and_evaluates_guards_on_the_old_event() -> None:
    text = (
        "states: {a: {on: {go: b}}, b: {on: {go: a, step_done: {to: c, lookback: P7D, when: event.count > 3}}},"
        " c: {on: {go: b}}}"
    )
    run = Play(text).signal(1, "step_done", count=1).signal(2, "step_done", count=9).signal(3, "go")
    assert run.state.state == "c"
    assert run.says("looking back at step_done: nothing, as event.count > 3 is false")
    assert run.signal(4, "go").state.state == "b"


def test_lookback_continues_after_an_internal_transition() -> None:
    text = "states: {a: {on: {go: b}}, b: {on: {seen: {do: {send: noted}, lookback: P7D}, paid: {to: c, lookback: P7D}}}, c: {}}"
    run = Play(text).signal(1, "seen").signal(2, "paid").signal(3, "go")
    assert (run.sent, run.state.state) == ([("noted", 3)], "c")


def test_unconsumed_signals_keep_only_the_properties_read_and_only_for_the_lookback() -> None:
    text = "states: {a: {on: {go: b}}, b: {on: {step_done: {to: a, lookback: P7D, when: event.count > 3}}}}"
    run = Play(text).signal(1, "step_done", count=1, step="secret")
    assert [missed.data for missed in run.state.missed] == [{"count": 1}]
    run.signal(20, "step_done", count=2)
    assert [missed.at for missed in run.state.missed] == [day(20)]


def test_a_finished_run_ignores_every_occurrence() -> None:
    run = Play("goal: {on: won}\nstates: {a: {on: {ping: {do: {send: pong}}}}}").signal(1, "won")
    ended = run.state
    for occurrence in (Signal(day(2), "ping"), TimerDue(day(9)), FieldsChanged(day(3), {"profile": {"plan": "x"}})):
        assert run.do(occurrence).last == decide(run.chart, ended, occurrence)
        assert run.last.state == ended
        assert run.did == run.last.log == ()


def test_C5_an_opt_out_ends_the_run_and_withdraws_its_messages() -> None:
    run = Play("states: {a: {do: {send: hello}, after: {P9D: a}}}").do(OptedOut(day(1)))
    assert (run.state.outcome, run.kinds(), run.state.timers) == ("opted_out", ["withdraw", "finish"], {})


def test_erasure_ends_the_run_and_deletes_personal_data() -> None:
    text = "variables: {plan: string}\nstates: {a: {on: {go: {do: {set: {plan: profile.plan}}}}}}"
    run = Play(text, facts={"profile": {"plan": "secret"}}).signal(1, "go").do(Erased(day(2)))
    assert run.state.outcome == "erased"
    assert "secret" not in repr(run.state)


def test_a_cancelled_run_ends_with_the_operators_reason() -> None:
    run = Play("states: {a: {}}").do(Cancelled(day(1), "dana", "entered by mistake"))
    assert run.state.outcome == "cancelled"
    assert run.says("cancelled by dana: entered by mistake")


def test_a_run_keeps_only_the_fields_that_its_definition_reads() -> None:
    text = "states: {a: {on: {go: {to: a, when: profile.fit > 0.5}}}}"
    run = Play(text, facts={"profile": {"fit": 0.1, "plan": "x", "email": "a@b"}, "elsewhere": {"x": 1}})
    assert run.state.facts == {"profile.fit": 0.1}


def test_new_profile_fields_replace_all_old_ones_and_leave_the_account_unchanged() -> None:
    text = (
        "states: {a: {on: {go: {to: a, when: profile.fit > 0.5 && profile.plan == 'x' && account.renewal_date > now}}}}"
    )
    run = Play(text, facts={"profile": {"fit": 0.1, "plan": "x"}, "account": {"renewal_date": "2025-01-01"}})
    run.facts(1, fit=0.2)
    assert run.state.facts == {"profile.fit": 0.2, "account.renewal_date": "2025-01-01"}


@pytest.mark.parametrize("name", ["go", "unheard"])
def test_a_signal_with_a_known_sequence_number_of_its_lane_changes_nothing(name: str) -> None:
    run = Play("states: {a: {do: {send: hello}, on: {go: a}}}").do(Signal(day(1), name, lane="user", seq=3))
    before = run.state
    assert run.do(Signal(day(9), "go", lane="user", seq=3)).state == before
    assert run.do(Signal(day(9), "go", lane="user", seq=2)).state == before
    assert run.do(Signal(day(9), "go", lane="account", seq=2)).state != before


def test_the_time_of_a_run_never_goes_back() -> None:
    run = Play("states: {a: {on: {go: a}}}").signal(5, "go").signal(3, "go")
    assert run.state.entered_at == run.state.last_at == day(5)


def test_a_signal_before_entry_and_a_second_entry_are_logged_and_ignored() -> None:
    run = Play("states: {a: {on: {go: a}}}", enter=False).signal(1, "go")
    assert run.state.state == ""
    assert run.says("came before the run began")
    run.do(Entered(day(2), "begin")).do(Entered(day(3), "begin"))
    assert run.state.started_at == day(2)
    assert run.says("the run has begun already")


def test_a_guard_may_read_fields_of_the_run_and_now() -> None:
    text = "states: {a: {on: {go: [{to: b, when: 'journey.visits > 2 && now - journey.entered_at < duration(\"25h\")'}, {to: a}]}}, b: {}}"
    run = Play(text).signal(1, "go").signal(2, "go").signal(4, "go").signal(4.5, "go")
    assert run.state.state == "b"


def test_a_pause_before_entry_holds_the_effects_of_the_entry() -> None:
    run = (
        Play("states: {a: {do: {send: hello}}}", enter=False)
        .do(Paused(START - timedelta(1)))
        .do(Entered(day(0), "begin"))
    )
    assert run.sent == []
    assert run.resume(1).sent == [("hello", 0)]
