"""Simulator and backtest decide entry as the live system does: with a lookback, and without history."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from journeys.gate.policy import Policy
from journeys.simulation.backtest import backtest, streams_of
from journeys.simulation.recording import RecordedEvent, read_recorded
from journeys.simulation.simulator import simulate
from journeys.simulation.timeline import Scenario
from tests.support.run_script import START, chart

SETUP = """
journey: setup
topic: onboarding
entry: {on: signed_up, again: always}
goal: {on: activated}
start: here
states: {here: {do: [{send: setup/first-steps}], on: {moved: there}}, there: {}}
"""
ACCOUNTS = """
journey: contract
subject: account
entry: {on: contract_started, again: always}
goal: {on: contract_signed}
start: here
states: {here: {}}
"""


def record(seconds: float, name: str, kind: str = "track", **more: Any) -> RecordedEvent:
    call: Mapping[str, Any] = {"type": kind, "timestamp": (START + timedelta(seconds=seconds)).isoformat(), **more}
    return read_recorded({"userId": "ada", **call, **({"event": name} if kind == "track" else {})})


def kinds(*events: RecordedEvent, text: str = SETUP) -> list[tuple[str, str]]:
    moments = simulate(Scenario((chart(text),), Policy()), events)
    return [(moment.what, moment.why) for moment in moments if moment.run]


def entered(*events: RecordedEvent, text: str = SETUP) -> int:
    tally = backtest(Scenario((chart(text),), Policy()), streams_of(events), None)
    return sum(tally.entered.values())


def test_a_goal_just_before_the_entry_keeps_the_run_from_beginning_and_the_timeline_says_so() -> None:
    goal, entry = record(0, "activated"), record(1, "signed_up")
    why = "on signed_up: its goal activated came before it, within the time of `lookback`"
    assert kinds(goal, entry) == [("not entered", why)]
    assert entered(goal, record(600, "signed_up")) == 0
    assert entered(goal, record(601, "signed_up")) == 1


def test_a_goal_that_ended_the_last_run_does_not_prevent_the_next() -> None:
    assert entered(record(0, "signed_up"), record(1, "activated"), record(2, "signed_up")) == 2


def test_a_goal_of_the_visitor_counts_for_the_user() -> None:
    visitor = record(0, "activated", userId=None, anonymousId="v-1")
    known = record(-9, "seen")
    assert entered(known, visitor, record(1, "signed_up", anonymousId="v-1")) == 0


def test_a_members_goal_counts_for_their_account() -> None:
    joined = record(0, "", "group", groupId="acme", traits={})
    started = record(2, "contract_started", userId=None, groupId="acme")
    assert entered(joined, record(1, "contract_signed"), started, text=ACCOUNTS) == 0
    assert entered(joined, started, text=ACCOUNTS) == 1


def test_history_opens_no_run_and_moves_none() -> None:
    history: dict[str, Any] = {"context": {"historical": True}}
    assert kinds(record(0, "signed_up", **history)) == [
        ("not entered", "on signed_up: the event is history: its sender says so")
    ]
    moved = kinds(record(0, "signed_up"), record(1, "moved", **history), record(2, "activated", **history))
    assert not [why for what, why in moved if what in {"moved", "finished"} and "there" in why]
    assert ("open", "in here; no timer is set") in moved


def test_an_accounts_history_reaches_no_member() -> None:
    told = record(2, "moved", userId=None, groupId="acme", context={"historical": True})
    moved = kinds(record(0, "", "group", groupId="acme", traits={}), record(1, "signed_up"), told)
    assert ("open", "in here; no timer is set") in moved


def test_fields_of_history_are_fields() -> None:
    guarded = SETUP.replace("again: always", "again: always, when: \"profile.plan == 'pro'\"")
    told = record(0, "", "identify", traits={"plan": "pro"}, context={"historical": True})
    assert entered(told, record(1, "signed_up"), text=guarded) == 1
