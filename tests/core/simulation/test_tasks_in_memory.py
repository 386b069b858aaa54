"""Tasks in memory: owners, working time, escalation, sharing, closing, replies and their conversations."""

from __future__ import annotations

import pytest

from journeys.gate.policy import load_policy
from journeys.simulation.responder import Responder
from journeys.simulation.simulator import play_group
from journeys.simulation.timeline import Scenario
from tests.core.simulation.worlds import (
    BOTH,
    days,
    group,
    happen,
    identify,
    messages,
    operator,
    signal,
    states,
    tasks,
    world,
)
from tests.support.run_script import chart, day

TEAM = """
zone: UTC
hours: {mon-fri: "09:00-17:00"}
owner: csm
people:
  dana: {team: success, capacity: 2, away: [{from: 2024-01-08, to: 2024-01-10}]}
  erin: {team: success, capacity: 2, zone: America/New_York}
  lead: {}
teams:
  success: {by: [owner, load]}
tasks:
  call: {outcomes: [booked, no_answer]}
"""
CALL = (
    "journey: j\nentry: {on: begin}\ntopic: t\nstart: a\n"
    "states: {a: {do: [{task: call, owner: success, within: PT4H, escalate: [lead]}],"
    " on: {call.closed: {to: booked, when: 'event.outcome == \"booked\"'}, call.overdue: {do: {send: late, via: [email]}},"
    " drop: gone}}, booked: {}, gone: {}}"
)
"""2024-01-01 is a Monday."""


def test_C10_a_task_is_due_after_its_owners_working_time_and_then_passes_to_the_next():
    simulated = happen(world(CALL, team=TEAM), signal(0, "ada", "begin"), until=3)
    # Four hours from nine on Monday, and four of the lead's from one o'clock.
    opened, escalated = tasks(simulated)
    assert opened == (0, "opened", "dana", round(13 / 24, 4))
    assert escalated == (round(13 / 24, 4), "escalated", "lead", round(17 / 24, 4))
    assert messages(simulated) == [(round(13 / 24, 4), "ada", "sent", "late")]


def test_C10_absences_time_zones_and_the_accounts_manager_decide_who_gets_a_task_and_when_it_is_due():
    away = happen(world(CALL, team=TEAM), signal(7, "ada", "begin"))  # a Monday on which dana is away
    assert tasks(away) == [(7, "opened", "erin", round(7 + 18 / 24, 4))]  # from 9 to 13 in New York
    managed = happen(world(CALL, team=TEAM), group(0, "ada", "acme", csm="erin"), signal(0, "ada", "begin"))
    assert tasks(managed)[0][2] == "erin"


def test_C10_the_load_of_an_accounts_open_tasks_decides_and_a_closed_task_counts_no_more():
    cases = CALL.replace("journey: j", "journey: j\ncase: deal")
    begun = [signal(0, "ada", "begin", deal=str(number)) for number in range(3)]
    simulated = happen(world(cases, team=TEAM), *begun, signal(0, "bob", "begin", deal="0"))
    assert [owner for _, _, owner, _ in tasks(simulated)] == ["dana", "erin", "dana", "dana"]
    done = operator(0.1, "ada", "close_task", task="call", outcome="booked", by="dana")
    happen(simulated, done, signal(0.2, "ada", "begin", deal="9"))
    assert tasks(simulated)[-1][2] == "dana"


def test_a_closed_task_is_signalled_to_its_runs_and_an_undeclared_outcome_is_refused():
    begun = (signal(0, "ada", "begin"), operator(0.1, "ada", "close_task", task="call", outcome="whatever"))
    assert states(happen(world(CALL, team=TEAM), *begun)) == {"j/ada/-/1": "a"}
    booked = operator(0.1, "ada", "close_task", task="call", outcome="booked")
    simulated = happen(world(CALL, team=TEAM), signal(0, "ada", "begin"), booked, until=9)
    assert states(simulated) == {"j/ada/-/1": "booked"}
    assert [change for _, change, _, _ in tasks(simulated)] == ["opened", "closed"]
    assert simulated.board.tasks == ()


def test_runs_of_an_account_share_a_task_until_the_last_of_them_needs_it_no_more():
    members = (group(0, "ada", "acme"), group(0, "bob", "acme"))
    simulated = happen(
        world(CALL, team=TEAM), *members, signal(0.1, "ada", "begin"), signal(0.2, "bob", "begin"),
        signal(0.3, "ada", "drop"), signal(0.35, "bob", "drop"),
    )  # fmt: skip
    assert [change for _, change, _, _ in tasks(simulated)] == ["opened", "joined", "withdrawn"]
    both = happen(
        world(CALL, team=TEAM), *members, signal(0.1, "ada", "begin"), signal(0.2, "bob", "begin"),
        operator(0.3, "bob", "close_task", task="call", outcome="booked"),
    )  # fmt: skip
    assert states(both) == {"j/ada/-/1": "booked", "j/bob/-/1": "booked"}


def test_C10_of_two_runs_that_share_a_task_the_first_escalates_it_and_the_other_receives_the_new_deadline():
    simulated = happen(
        world(CALL, team=TEAM), group(0, "ada", "acme"), group(0, "bob", "acme"),
        signal(0.1, "ada", "begin"), signal(0.2, "bob", "begin"), until=0.7,
    )  # fmt: skip
    assert [change for _, change, _, _ in tasks(simulated)] == ["opened", "joined", "escalated"]
    late = [line.subject for line in simulated.lines() if "overdue" in line.text and line.kind == "acted"]
    assert late == ["ada", "bob"]


# -- replies -----------------------------------------------------------------------------------------------------------

TWO = "journey: j\nentry: {on: begin}\ntopic: t\nstart: a\nstates: {a: {do: {send: one, via: [email]}, after: {P2D: {do: {send: two, via: [email]}}}, on: {conversation_closed: b}}, b: {}}"
ANSWERED = {"answered": {"task": "call", "owner": "success", "within": "PT2H", "escalate": ["lead"], "quiet": "P9D"}}


def test_a_reply_opens_a_task_in_working_time_that_escalates_without_its_run():
    simulated = happen(
        world(TWO, rules=ANSWERED, team=TEAM), signal(0, "ada", "begin"), signal(0.5, "ada", "message_replied", text="Hm?"),
        until=1,
    )  # fmt: skip
    assert tasks(simulated) == [
        (0.5, "opened", "dana", round(14 / 24, 4)),
        (round(14 / 24, 4), "escalated", "lead", round(16 / 24, 4)),
    ]


def test_closing_the_task_of_a_reply_ends_the_conversation_and_signals_it_to_the_run():
    replied = signal(0.5, "ada", "message_replied", text="Call me")
    quiet = happen(world(TWO, rules=ANSWERED, team=TEAM), signal(0, "ada", "begin"), replied, until=3)
    assert messages(quiet)[-1] == (2, "ada", "withheld", "two")
    closed = operator(0.6, "ada", "close_task", task="call", outcome="booked")
    simulated = happen(world(TWO, rules=ANSWERED, team=TEAM), signal(0, "ada", "begin"), replied, closed, until=3)
    assert states(simulated) == {"j/ada/-/1": "b"}


# -- the responder -----------------------------------------------------------------------------------------------------

CHATTY = Responder("7", clicked=0.9, replied=0.5, opted_out=0.3, closed=1.0)


def _scenario() -> Scenario:
    return world(CALL, TWO.replace("journey: j", "journey: k"), rules=ANSWERED, team=TEAM).scenario


def test_the_responders_answers_come_at_full_hours_after_what_they_answer():
    events = [signal(n / 7, f"p{n}", "begin") for n in range(40)]
    simulated = play_group(_scenario(), events, day(30), CHATTY)
    closed = [at for at, change, _, _ in tasks(simulated) if change == "closed"]
    assert len(closed) > 40
    assert all(round(at * 24, 2) == round(at * 24) for at in closed)
    outcomes = {line.text for line in simulated.lines() if "call was closed" in line.text}
    assert outcomes
    assert "booked" in states(simulated).values()


@pytest.mark.parametrize("seed", ["1", "2"])
def test_equal_seeds_give_equal_answers_in_whatever_order_people_are_played(seed: str):
    events = [signal(n / 7, f"p{n}", "begin") for n in range(12)]
    responder = Responder(seed, clicked=0.9, replied=0.5, opted_out=0.3, closed=0.0)
    # The team's loads connect people who share it, so this journey has no task.
    alone = Scenario((chart(TWO),), load_policy(None), BOTH)
    together = play_group(alone, events, day(30), responder)
    for event in events:
        one = play_group(alone, [event], day(30), responder)
        assert [line for line in together.lines() if line.subject == event.who] == one.lines()
    different = play_group(alone, events, day(30), Responder(seed + "x", clicked=0.9, replied=0.5, opted_out=0.3))
    assert different.lines() != together.lines()


def test_an_answer_at_the_instant_of_an_event_comes_after_it_and_after_what_is_due():
    everything = Responder("1", delivered=0, clicked=0, replied=0, opted_out=1, slowest=1)
    text = "states: {a: {do: {send: one, via: [email]}, after: {PT1H: {do: {send: two, via: [email]}}}, on: {go: {do: {send: three, via: [email]}}}}}"
    scenario = Scenario((chart(text),), load_policy(None), BOTH)
    simulated = play_group(scenario, [signal(0, "p", "begin"), signal(1 / 24, "p", "go")], day(1), everything)
    assert [(days(line.at) * 24, line.about) for line in simulated.lines() if line.kind == "sent"] == [
        (0, "send:one"),
        (pytest.approx(1, abs=1e-2), "send:two"),
        (pytest.approx(1, abs=1e-2), "send:three"),
    ]
    assert simulated.lines()[-1].about == "opted_out"


def test_fields_of_a_person_are_those_at_the_instant_of_the_decision():
    text = "states: {a: {after: {P2D: {to: b, when: 'profile.plan == \"pro\"'}}}, b: {}}"
    simulated = happen(world(text), signal(0, "p", "begin"), identify(1, "p", plan="pro"), until=3)
    assert states(simulated) == {"j/p/-/1": "b"}
