"""Timers: waits, computed waits, repeats, moving anchors, and lag that changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from journeys.decision.decide import decide
from journeys.decision.occurrences import Entered, FieldsChanged, Signal, TimerDue
from journeys.decision.state import RunState
from tests.support.run_script import Play, chart, day

RENEWAL = "at: [{name: w, date: account.renewal_date, before: P90D, past: %s, do: {send: renew}}]\nstates: {a: {}}"


def test_timers_due_at_or_before_a_signal_fire_before_it() -> None:
    text = "states: {a: {on: {go: c}, after: {P1D: b}}, b: {on: {go: d}}, c: {}, d: {}}"
    assert Play(text).signal(0.99, "go").state.state == "c"
    assert Play(text).signal(1, "go").state.state == "d"


def test_timers_fire_at_their_own_instants_in_order_of_instant_then_of_document() -> None:
    text = "states: {a: {after: {P3D: {do: {send: three}}, PT72H: {do: {send: also-three}}, P1D: {do: {send: one}}}}}"
    run = Play(text).signal(9, "nothing")
    assert run.sent == [("one", 1), ("three", 3), ("also-three", 3)]


def test_the_goals_window_ends_before_other_timers_of_the_same_instant_fire() -> None:
    run = Play("goal: {on: won, within: P3D}\nstates: {a: {after: {P3D: {do: {send: late}}}}}").wait(3)
    assert (run.state.outcome, run.sent) == ("missed", [])


def test_a_timer_whose_guard_is_false_does_not_fire_again() -> None:
    run = Play("states: {a: {after: {P7D: {to: b, when: profile.fit >= 0.5}}}, b: {}}").wait(7).facts(8, fit=0.9)
    assert run.wait(400).state.state == "a"
    assert run.state.timers == {}
    assert run.says("after P7D: nothing, as profile.fit >= 0.5: profile.fit is not known")


def test_leaving_a_state_stops_its_timers_but_not_those_of_the_journey() -> None:
    text = "after: {P5D: {do: {send: journey}}}\nstates: {a: {on: {go: b}, after: {P2D: {do: {send: state}}}}, b: {}}"
    run = Play(text).signal(1, "go").wait(30)
    assert run.sent == [("journey", 5)]


def test_a_month_is_a_calendar_month() -> None:
    run = Play("states: {a: {on: {go: b}}, b: {after: {P1M: {do: {send: month}}}}}").signal(30, "go").wait(99)
    assert run.sent == [("month", 59)]  # 31 January to 29 February


FOLLOWING = "states: {a: {on: {go: a}, after: {days(profile.rhythm): {do: {send: again}}}}}"


def test_a_computed_wait_follows_its_field_until_it_fires() -> None:
    run = Play(FOLLOWING, facts={"profile": {"rhythm": 10.0}}).facts(1, rhythm=30.0).wait(12)
    assert run.sent == []
    assert run.facts(13, rhythm=20.0).wait(25).sent == [("again", 20)]
    assert run.facts(26, rhythm=40.0).facts(27).facts(28, rhythm=50.0).wait(90).sent == [("again", 20)]
    assert run.signal(100, "go").wait(160).sent == [("again", 20), ("again", 150)]


def test_a_computed_wait_begins_when_the_state_was_entered_although_its_field_is_known_later() -> None:
    run = Play(FOLLOWING).facts(0.001, rhythm=7.0)
    assert run.says("after days(profile.rhythm): waits for its length, as days(profile.rhythm)")
    assert run.wait(30).sent == [("again", 7)]


def test_a_computed_wait_that_is_over_when_its_field_is_known_fires_at_once() -> None:
    assert Play(FOLLOWING).facts(10, rhythm=7.0).sent == [("again", 10)]
    assert Play(FOLLOWING, facts={"profile": {"rhythm": 30.0}}).facts(10, rhythm=7.0).sent == [("again", 10)]


def test_a_computed_wait_whose_field_is_forgotten_waits_until_it_is_known_again() -> None:
    run = Play(FOLLOWING, facts={"profile": {"rhythm": 10.0}}).facts(5).wait(20)
    assert (run.sent, run.state.timers) == ([], {})
    assert run.facts(21, rhythm=30.0).wait(60).sent == [("again", 30)]


def test_a_computed_repeat_follows_its_field_from_its_last_firing() -> None:
    text = "states: {a: {every: {days(profile.rhythm): {do: {send: again}}}}}"
    run = Play(text, facts={"profile": {"rhythm": 10.0}}).wait(11).facts(12, rhythm=3.0).wait(17)
    assert run.sent == [("again", 10), ("again", 13), ("again", 16)]


def test_a_computed_repeat_whose_field_is_forgotten_goes_on_when_it_is_known_again() -> None:
    text = "states: {a: {every: {days(profile.rhythm): {times: 2, do: {send: again}}}}}"
    run = Play(text, facts={"profile": {"rhythm": 10.0}}).wait(11).facts(12).wait(40).facts(41, rhythm=3.0).wait(90)
    assert run.sent == [("again", 10), ("again", 44)]
    assert run.facts(91, rhythm=5.0).facts(92).facts(93, rhythm=6.0).wait(200).sent == [("again", 10), ("again", 44)]


def test_a_pause_lengthens_a_computed_wait_that_follows_its_field() -> None:
    run = (
        Play(FOLLOWING, facts={"profile": {"rhythm": 10.0}}).pause(2).resume(6, "shift").facts(7, rhythm=12.0).wait(40)
    )
    assert run.sent == [("again", 16)]


@pytest.mark.parametrize(
    ("rhythm", "why"),
    [(None, "is not known"), (-1.0, "is negative"), (1e300, "too large"), (3.2e6, "past the calendar")],
)
def test_an_impossible_computed_wait_sets_no_timer_and_logs_the_reason(rhythm: float | None, why: str) -> None:
    text = "states: {a: {after: {days(profile.rhythm): {do: {send: again}}}}}"
    run = Play(text, facts={"profile": {"rhythm": rhythm}}).wait(9999)
    assert run.sent == []
    assert run.says("after days(profile.rhythm): waits for its length, as days(profile.rhythm)")
    assert run.says(why)


def test_a_computed_wait_reads_variables_set_by_earlier_actions() -> None:
    text = (
        "variables: {gap: int}\n"
        "states: {a: {on: {step_done: {to: b, do: {set: {gap: event.count}}}}}, b: {after: {days(journey.gap): a}}}"
    )
    run = Play(text).signal(1, "step_done", count=5)
    assert run.state.timers == {"s:after.days(journey.gap)": day(6)}


def test_every_repeats_from_its_due_instants_and_stops_after_its_count() -> None:
    run = Play("states: {a: {every: {P2D: {times: 3, do: {send: tip}}}}}").signal(5, "nothing").wait(40)
    assert run.sent == [("tip", 2), ("tip", 4), ("tip", 6)]
    assert run.state.timers == {}


def test_every_continues_after_a_false_guard_and_restarts_with_each_visit() -> None:
    text = "states: {a: {on: {go: a}, every: {P2D: {times: 2, when: known.profile.plan, do: {send: tip}}}}}"
    run = Play(text).facts(3, plan="x").wait(9)
    assert run.sent == [("tip", 4)]
    assert run.signal(10, "go").wait(30).sent == [("tip", 4), ("tip", 12), ("tip", 14)]


def test_a_lag_of_thousands_of_repeats_neither_hangs_nor_stops_this_or_other_timers() -> None:
    text = "states: {a: {every: {PT1M: {do: {send: tip}}}, after: {P30D: b}}, b: {after: {P1D: c}}, c: {}}"
    run = Play(text).signal(29, "nothing")
    assert len(run.sent) < 3_000
    assert run.state.timers["s:every.PT1M"] > day(29)
    assert run.state.timers["s:every.PT1M"] <= day(29 + 1 / 1440)
    assert run.says("rang too often at once")
    assert run.signal(40, "nothing").state.state == "c"


@pytest.mark.parametrize(
    "text", ["{a: {after: {PT0S: b}}, b: {after: {PT0S: a}}}", "{a: {every: {PT0S: {do: {send: x}}}}}"]
)
def test_a_chart_that_loops_at_one_instant_is_stopped(text: str) -> None:
    run = Play(f"states: {text}")
    assert run.state.next_due() is None
    assert len(run.log) < 10_000


def test_a_repeat_of_zero_length_fires_once() -> None:
    assert Play("states: {a: {every: {PT0S: {do: {send: x}}}}}").sent == [("x", 0)]


def test_a_wait_of_zero_length_ends_in_the_same_decision() -> None:
    run = Play("states: {a: {on: {go: b}}, b: {after: {PT0S: c}}, c: {}}").signal(1, "go")
    assert run.state.state == "c"


@pytest.mark.parametrize("delay", ["P100Y", "P99Y11M"])
def test_a_wait_past_the_last_calendar_year_ends_with_the_calendar(delay: str) -> None:
    run = Play(f"at: [{{date: profile.trial_ends, after: {delay}, to: a}}]\nstates: {{a: {{}}}}")
    run.facts(1, trial_ends="9999-06-01T00:00:00Z")
    assert run.state.next_due() is not None


# -- anchors -----------------------------------------------------------------------------------------------------------


def test_J9_an_anchor_moves_with_its_date_earlier_and_later() -> None:
    run = Play(RENEWAL % "skip").renewal(1, 300)
    assert run.state.timers == {"j:at.w": day(210)}
    assert run.renewal(2, 200).state.timers == {"j:at.w": day(110)}
    assert run.renewal(3, 400).state.timers == {"j:at.w": day(310)}
    assert run.wait(500).sent == [("renew", 310)]


def test_an_anchor_without_a_date_has_no_timer() -> None:
    run = Play(RENEWAL % "skip").renewal(1, 300).renewal(2, None)
    assert run.state.timers == {}
    assert run.says("waits for no date now")
    assert run.renewal(3, 300).wait(300).sent == [("renew", 210)]


@pytest.mark.parametrize(("past", "sent"), [("skip", []), ("act", [("renew", 1)]), ("next", [])])
def test_an_anchor_in_the_past_follows_its_past_rule(past: str, sent: list[tuple[str, float]]) -> None:
    run = Play(RENEWAL % past).renewal(1, 50).wait(500)
    assert run.sent == sent
    assert run.renewal(501, 50).wait(900).sent == sent


def test_an_anchor_that_has_acted_does_not_act_again_for_a_date_in_the_past() -> None:
    run = Play(RENEWAL % "act").renewal(1, 300).wait(215)
    assert run.sent == [("renew", 210)]
    run.renewal(220, 290).wait(290)
    assert run.sent == [("renew", 210)]
    assert run.says("it has acted before")
    assert run.renewal(300, 665).wait(700).sent == [("renew", 210), ("renew", 575)]


@pytest.mark.parametrize("past", ["skip", "next", "act"])
def test_a_repeating_anchor_waits_for_its_next_instant(past: str) -> None:
    text = f"at: [{{date: profile.trial_ends, every: P1Y, past: {past}, do: {{send: happy}}}}]\nstates: {{a: {{}}}}"
    run = Play(text).facts(1, trial_ends="1990-03-01T00:00:00Z").wait(800)
    assert [at for _, at in run.sent] == ([1] if past == "act" else []) + [60, 425, 790]


def test_a_monthly_anchor_on_the_31st_fires_on_the_last_day_of_shorter_months() -> None:
    text = "at: [{date: profile.trial_ends, every: P1M, do: {send: bill}}]\nstates: {a: {}}"
    run = Play(text).facts(1, trial_ends="2024-01-31T00:00:00Z").wait(122)
    assert [at for _, at in run.sent] == [30, 59, 90, 120]


def test_the_same_date_reported_again_changes_nothing() -> None:
    run = Play(RENEWAL % "act").renewal(1, 300).wait(215)
    assert run.renewal(220, 300).wait(700).sent == [("renew", 210)]


def test_an_anchor_follows_a_date_that_the_run_has_set() -> None:
    text = (
        "variables: {starts: timestamp}\n"
        "at: [{date: journey.starts, before: P1D, do: {send: reminder}}]\n"
        "states: {a: {on: {booked: {do: {set: {starts: event.starts}}}}}}"
    )
    run = Play(text).signal(1, "booked", starts="2024-01-11T00:00:00Z").wait(3)
    run.signal(4, "booked", starts="2024-01-06T00:00:00Z").wait(30)
    assert run.sent == [("reminder", 4)]


def test_an_anchor_at_the_current_instant_is_not_in_the_past() -> None:
    assert Play(RENEWAL % "skip").renewal(10, 100).sent == [("renew", 10)]


def test_an_anchor_acts_once_for_a_date_across_all_visits() -> None:
    text = "states: {a: {on: {go: a}, at: [{date: account.renewal_date, before: P10D, past: act, to: a, do: {send: soon}}]}}"
    run = Play(text).renewal(1, 20).wait(10).signal(10, "go").signal(12, "go").wait(30)
    assert run.sent == [("soon", 10)]
    assert Play(text).renewal(15, 20).signal(16, "go").wait(30).sent == [("soon", 15)]


def test_anchors_at_the_same_position_in_two_states_keep_their_own_dates() -> None:
    def anchored(days: int, message: str) -> str:
        return f"at: [{{date: account.renewal_date, before: P{days}D, past: act, do: {{send: {message}}}}}]"

    text = f"states: {{a: {{on: {{go: b}}, {anchored(20, 'a')}}}, b: {{{anchored(10, 'b')}}}}}"
    assert Play(text).renewal(1, 30).wait(12).signal(12, "go").wait(40).sent == [("a", 10), ("b", 20)]


def test_an_anchor_of_a_state_is_set_on_entry_and_removed_on_exit() -> None:
    text = "states: {a: {on: {go: b}}, b: {on: {go: a}, at: [{date: account.renewal_date, before: P10D, do: {send: soon}}]}}"
    run = Play(text).renewal(0.5, 50).signal(1, "go").signal(2, "go").wait(45)
    assert run.sent == []
    assert run.renewal(46, 100).signal(47, "go").wait(100).sent == [("soon", 90)]


def test_an_invalid_date_sets_no_timer() -> None:
    text = RENEWAL % "act"
    run = Play(text).do(FieldsChanged(day(1), {"account": {"renewal_date": "soon"}}))
    assert run.state.timers == {}


# -- lag ---------------------------------------------------------------------------------------------------------------

LAGGING = """
after: {P20D: {do: {send: journey}}}
at: [{date: profile.trial_ends, before: P2D, past: act, do: {send: ending}}]
goal: {on: won, within: P30D}
states:
  a: {do: {send: hello}, on: {go: b}, every: {P2D: {do: {send: tip}}}, after: {P6D: {to: b, when: profile.fit > 0.5}}}
  b: {do: {task: call, sla: P1D, escalate: [lead]}, on: {go: a, call.overdue: {do: {send: sorry}}}}
"""
EVENTS = (
    FieldsChanged(day(1.5), {"profile": {"fit": 0.9, "trial_ends": "2024-01-08T00:00:00Z"}}, lane="user", seq=2),
    Signal(day(4), "go", lane="user", seq=3),
    FieldsChanged(day(6), {"profile": {"fit": 0.9, "trial_ends": "2024-01-20T00:00:00Z"}}, lane="user", seq=4),
    Signal(day(12), "go", lane="user", seq=5),
    Signal(day(29), "won", lane="user", seq=6),
)


def test_lag_redelivery_and_stale_timers_change_nothing() -> None:
    spec = chart(LAGGING)
    entered = decide(spec, RunState(), Entered(day(0), "begin", lane="user", seq=1))

    def decide_all(in_time: bool) -> tuple[RunState, list[Any]]:
        state = entered.state
        decided: list[Any] = []
        for event in EVENTS:
            while in_time and (due := state.next_due()) is not None and due <= event.at:
                decision = decide(spec, state, TimerDue(due))
                state, decided = decision.state, [*decided, *decision.log, *decision.effects]
                state = decide(spec, state, TimerDue(due)).state  # fires twice
            for _ in range(2):  # is delivered twice
                decision = decide(spec, state, event)
                state, decided = decision.state, [*decided, *decision.log, *decision.effects]
        return state, sorted(decided, key=lambda item: (item.at, type(item).__name__))

    assert decide_all(in_time=True) == decide_all(in_time=False)
    assert decide_all(in_time=True)[0].outcome == "reached"
