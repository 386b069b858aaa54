"""A paused run reacts to signals, goal and exit; its timers stop and its effects are held until it resumes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from journeys.decision import draft
from journeys.decision.effects import EmittedSignal, OpenedTask, SendMessage
from journeys.decision.occurrences import ResumeMode, TimerDue
from journeys.decision.state import state_from_json, state_to_json
from tests.support.run_script import Play, day

TEXT = """
goal: {on: won, within: P60D}
at: [{date: account.renewal_date, before: P90D, do: {send: renew}}]
states:
  a: {on: {go: b}, after: {P5D: {do: {send: five}}}, every: {P2D: {do: {send: tip}}}}
  b: {do: [{send: welcome}, {task: call, sla: P1D, escalate: [lead]}], on: {go: c}, after: {P4D: {do: {send: four}}}}
  c: {}
"""


def test_a_signal_moves_a_paused_run_and_its_effects_are_held_in_the_stored_state() -> None:
    run = Play(TEXT).pause(1).signal(2, "go")
    assert (run.state.state, run.sent, len(run.state.held)) == ("b", [], 2)
    run.state = state_from_json(state_to_json(run.state))
    assert run.resume(3).sent == [("welcome", 2)]
    assert run.state.held == ()


NEWS = "states: {a: {on: {news: {do: [{send: news}, {task: call}, {emit: heard}]}, go: b}}, b: {}}"


def test_A4_a_paused_run_holds_the_newest_of_each_action_and_withholds_the_others_with_the_reason() -> None:
    run = Play(NEWS).pause(1)
    sizes = set()
    for n in range(200):
        run.signal(2 + n / 1000, "news")
        sizes.add(len(str(state_to_json(run.state)["held"])))
    assert len(run.state.held) == 3
    assert max(sizes) < min(sizes) + 20
    withheld = [effect for effect in run.effects if isinstance(effect, SendMessage) and effect.withheld]
    assert len(withheld) == 199
    assert len({effect.firing for effect in withheld}) == 199
    before = len(run.effects)
    run.resume(3)
    resumed = run.effects[before:]
    assert {type(effect) for effect in resumed} == {SendMessage, OpenedTask, EmittedSignal}
    assert [effect.firing for effect in resumed if isinstance(effect, SendMessage)] == [200]


def test_A4_items_of_one_emission_are_all_held() -> None:
    text = 'states: {a: {on: {news: {do: [{emit: heard, for_each: "[1, 2, 3]", data: {n: item}}]}}}}'
    run = Play(text).pause(1).signal(2, "news").signal(3, "news")
    assert len(run.state.held) == 3


TWINS = """
on: {call: {do: {emit: heard, data: {n: "4"}}}}
states: {a: {on: {news: {do: [{emit: heard, data: {n: "1"}}, {emit: heard, data: {n: "2"}}]}, order: {do: {emit: heard, data: {n: "3"}}}}}}
"""


def test_A4_emissions_of_one_signal_in_one_list_are_different_actions() -> None:
    run = Play(TWINS).pause(1).signal(2, "news").signal(3, "call").signal(4, "news").signal(5, "order")
    signals = [effect for effect in run.resume(6).did if isinstance(effect, EmittedSignal)]
    assert [(signal.at, signal.data) for signal in signals] == [
        (day(3), {"n": 4}), (day(4), {"n": 1}), (day(4), {"n": 2}), (day(5), {"n": 3}),
    ]  # fmt: skip


def test_A4_a_paused_run_that_enters_a_state_again_holds_its_newest_emission_only() -> None:
    run = Play("states: {a: {do: [{emit: seen}, {emit: order}], on: {go: b}}, b: {on: {go: a}}}").pause(1)
    for n in range(200):
        run.signal(2 + n / 1000, "go")
    assert [effect["key"] for effect in run.state.held] == ["a.101/emit:seen.1", "a.101/emit:order.1"]


def test_A4_an_emission_whose_signal_ends_in_a_number_is_held_once() -> None:
    text = "states: {a: {on: {news: {do: {emit: order.2}}}}}"
    run = Play(text).pause(1).signal(2, "news").signal(3, "news")
    assert len(run.state.held) == 1


def test_A4_an_emission_that_an_older_version_held_is_emitted_on_resuming() -> None:
    run = Play("states: {a: {on: {news: {do: {emit: heard}}}}}").pause(1).signal(2, "news")
    (held,) = run.state.held
    run.state = replace(run.state, held=({name: held[name] for name in ("kind", "name", "key", "at")},))
    (signal,) = run.resume(3).effects
    assert isinstance(signal, EmittedSignal)
    assert signal.key == "a.1/emit:heard.1"


def test_A4_thousands_that_an_older_version_held_are_resumed_as_the_newest_of_each_action() -> None:
    run = Play(NEWS).pause(1).signal(2, "news")
    (send, *others) = run.state.held
    older = tuple({**send, "firing": firing} for firing in range(1000))
    run.state = replace(run.state, held=(*older, send, *others))
    before = len(run.effects)
    run.resume(3)
    assert len(run.effects) - before == 3
    assert run.says("1000 older effects withheld")


MANY = """
states:
  a:
    on:
      news: {do: [{emit: heard, for_each: "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]"}, {send: news}, {task: call, sla: P1D}]}
      go: b
      won: end
  b: {}
  end: {do: [{send: thanks}, {task: ask-why}], final: won}
"""


def many(monkeypatch: pytest.MonkeyPatch, *, most: int) -> Play:
    """A paused run that holds twelve effects, of which one step takes `most`."""
    monkeypatch.setattr(draft, "MOST_EFFECTS", most)
    return Play(MANY).pause(1).signal(2, "news")


def test_A4_a_run_resumes_in_slices_that_follow_one_another_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    run = many(monkeypatch, most=5).resume(3)
    slices = [run.kinds()]
    while (due := run.state.next_due()) is not None and run.state.waiting:
        assert due == day(3)
        run.state = state_from_json(state_to_json(run.state))
        slices.append(run.do(TimerDue(due)).kinds())
    assert slices == [["emit"] * 5, ["emit"] * 5, ["send", "task"]]
    assert run.state.next_due() == day(4), "the held task has its whole time"


def test_A4_what_is_decided_between_two_slices_comes_behind_them(monkeypatch: pytest.MonkeyPatch) -> None:
    run = many(monkeypatch, most=5).resume(3).signal(3.1, "news")
    assert run.kinds() == ["emit"] * 5
    run.wait(3.2)
    assert [effect.at for effect in run.effects] == sorted(effect.at for effect in run.effects)
    assert run.sent == [("news", 2), ("news", 3.1)]
    assert len({effect.key for effect in run.effects if effect.kind == "emit"}) == 20


def test_A4_a_state_that_is_left_between_two_slices_drops_its_messages_and_tasks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = many(monkeypatch, most=5).resume(3).signal(3.1, "go").wait(4)
    assert (run.state.state, run.sent, run.state.waiting) == ("b", [], ())
    assert [effect.kind for effect in run.effects].count("emit") == 10
    assert run.says("news: waiting for its step, and dropped")


def test_A4_a_run_that_ends_between_two_slices_still_emits_its_signals_and_its_last_message(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = many(monkeypatch, most=5).resume(3).signal(3.1, "won")
    assert (run.state.outcome, run.state.waiting, run.sent) == ("won", (), [("thanks", 3.1)])
    assert [effect.kind for effect in run.effects].count("emit") == 10
    assert [effect.action for effect in run.effects if isinstance(effect, OpenedTask)] == ["ask-why"], (
        "a last task stays"
    )
    assert run.kinds()[-1] == "finish"


def test_A4_a_step_of_many_timers_is_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draft, "MOST_EFFECTS", 5)
    run = Play("states: {a: {every: {P1D: {do: {send: tip}}}}}").pause(1).resume(21.5, "catch_up")
    assert len(run.did) == 5
    sizes = []
    while run.state.waiting:
        due = run.state.next_due()
        assert due is not None
        sizes.append(len(run.do(TimerDue(due)).did))
    assert sizes == [5, 5, 5]
    assert [at for _, at in run.sent] == [1] + [21.5] * 20


TIPS = "states: {a: {every: {P1D: {do: {send: tip}}}, on: {news: {do: {send: news}}}}}"


def sent_all(run: Play) -> list[str]:
    """The templates of all messages, after the steps that take what waits."""
    while run.state.waiting:
        due = run.state.next_due()
        assert due is not None
        run.do(TimerDue(due))
    return [template for template, _ in run.sent]


def test_A4_a_pause_between_two_slices_withholds_nothing_that_was_decided_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(draft, "MOST_EFFECTS", 5)
    run = Play(TIPS).pause(1).resume(21.5, "catch_up").pause(21.6)
    assert (len(run.state.waiting), run.state.next_due()) == (10, None)
    for at in (21.7, 21.8):
        run.signal(at, "news")
    assert len(run.state.held) == 1
    sent_all(run.resume(21.9, "expire"))
    messages = [(effect.template, bool(effect.withheld)) for effect in run.effects if isinstance(effect, SendMessage)]
    assert sorted(messages) == [("news", False), ("news", True), *[("tip", False)] * 21]


def test_A4_what_waits_keeps_its_order_before_what_a_later_pause_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    run = many(monkeypatch, most=5).resume(3).pause(3.1).signal(3.2, "news").resume(3.3)
    assert sent_all(run) == ["news", "news"]
    assert [effect.at for effect in run.effects] == sorted(effect.at for effect in run.effects)


def test_C10_a_task_that_waits_over_a_pause_is_due_later_by_its_length_after_a_shift(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = many(monkeypatch, most=5).resume(3).pause(3.5).resume(10, "shift")
    sent_all(run)
    (task,) = (effect for effect in run.effects if isinstance(effect, OpenedTask))
    assert task.due_at == run.state.timers["t:call"] == day(10.5)


def test_a_state_that_is_left_in_a_pause_drops_what_waited_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    run = many(monkeypatch, most=5).resume(3).pause(3.1).signal(3.2, "go").resume(4)
    assert (sent_all(run), run.state.held) == ([], ())
    assert run.says("news: waiting for its step, and dropped")
    assert [effect.kind for effect in run.effects].count("emit") == 10


def test_a_task_that_waits_for_its_step_and_is_closed_is_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draft, "MOST_EFFECTS", 1)
    text = "states: {a: {on: {go: {do: [{send: news}, {send: tip}, {task: call}]}, stop: {do: {close: call}}}}}"
    run = Play(text).signal(2, "go").signal(3, "stop")
    assert [effect.kind for effect in run.effects] == ["send", "send"]


def test_what_an_older_version_stored_for_the_next_steps_waits_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    run = many(monkeypatch, most=5).resume(3)
    stored = state_to_json(run.state)
    stored["held"] = stored.pop("waiting")
    assert state_from_json(stored) == run.state


def test_no_timer_is_due_while_paused() -> None:
    run = Play(TEXT).pause(1)
    assert run.state.next_due() is None
    assert run.signal(30, "nothing").sent == []


def test_shift_moves_timers_by_the_length_of_the_pause() -> None:
    run = Play(TEXT).wait(2).pause(3).resume(13, "shift").wait(20)
    assert run.sent == [("tip", 2), ("tip", 14), ("five", 15), ("tip", 16), ("tip", 18), ("tip", 20)]


def test_shift_counts_from_entry_for_a_state_entered_while_paused() -> None:
    run = Play(TEXT).pause(1).signal(6, "go").resume(11, "shift")
    assert run.state.timers["s:after.P4D"] == day(15)


def test_catch_up_fires_the_timers_of_the_pause_in_order() -> None:
    run = Play(TEXT).pause(1).resume(6.5, "catch_up")
    assert [template for template, _ in run.sent] == ["tip", "tip", "five", "tip"]
    assert {at for _, at in run.sent} == {6.5}
    assert run.wait(8).sent[-1] == ("tip", 8)


def test_expire_drops_the_timers_of_the_pause_and_repeats_continue() -> None:
    run = Play(TEXT).pause(1).resume(6.5, "expire").wait(10)
    assert run.sent == [("tip", 8), ("tip", 10)]
    assert run.says("after P5D: came due while paused, let go")


@pytest.mark.parametrize("mode", ["shift", "catch_up", "expire"])
def test_the_goals_window_and_anchors_do_not_shift(mode: ResumeMode) -> None:
    run = Play(TEXT).renewal(0.5, 120).pause(1).resume(20, mode)
    assert run.state.timers["goal"] == day(60)
    assert run.state.timers["j:at.0"] == day(30)


@pytest.mark.parametrize("mode", ["shift", "catch_up", "expire"])
def test_a_goal_whose_window_ended_during_the_pause_is_missed_on_resuming(mode: ResumeMode) -> None:
    assert Play(TEXT).pause(1).resume(61, mode).state.outcome == "missed"


def test_an_anchor_moves_with_its_date_while_paused() -> None:
    run = Play(TEXT).renewal(0.5, 120).pause(1).renewal(2, 200).resume(3)
    assert run.state.timers["j:at.0"] == day(110)


def test_a_goal_ends_a_paused_run_at_once_and_drops_the_held_effects() -> None:
    run = Play(TEXT).pause(1).signal(2, "go").signal(3, "won")
    assert (run.state.outcome, run.sent, run.state.held) == ("reached", [], ())
    assert run.says("held while paused, and dropped")


def test_H7_held_effects_of_a_state_that_was_left_are_dropped() -> None:
    run = Play(TEXT).pause(1).signal(2, "go").signal(3, "go").resume(4)
    assert (run.state.state, run.sent) == ("c", [])
    assert "task" not in [effect.kind for effect in run.effects]


def test_a_held_task_that_is_closed_during_the_pause_is_not_opened() -> None:
    text = "states: {a: {on: {go: {do: {task: call}}, stop: {do: {close: call}}}}}"
    run = Play(text).pause(1).signal(2, "go").signal(3, "stop").resume(4)
    assert run.effects == []


def test_C10_a_held_task_has_its_full_time_after_a_shift() -> None:
    run = Play(TEXT).pause(1).signal(2, "go").resume(10, "shift")
    (task,) = (effect for effect in run.effects if effect.kind == "task")
    assert task.due_at == run.state.timers["t:call"] == day(11)


def test_a_task_opened_before_the_pause_is_escalated_on_resuming() -> None:
    run = Play(TEXT).signal(0.5, "go").pause(1).resume(5, "expire")
    assert [e.owner for e in run.effects if e.kind == "escalate_task"] == ["lead"]


def test_a_second_pause_and_a_second_resume_have_no_effect() -> None:
    run = Play(TEXT).pause(1).pause(2).resume(4).resume(7)
    assert run.state.timers["s:after.P5D"] == day(8)
