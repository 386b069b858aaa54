"""A group in memory for tests: people, an account and their events, day by day."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from journeys.gate.policy import load_policy
from journeys.simulation.recording import RecordedEvent
from journeys.simulation.timeline import MessageOutcome, Scenario, TaskChange
from journeys.simulation.world import World
from journeys.tasks.assignment import Roster
from journeys.tasks.team import read_team
from tests.support.run_script import chart, day

BOTH = frozenset({"email", "in_app"})
TYPES = {
    "profile.plan": "string",
    "account.plan": "string",
    "account.renewal_date": "timestamp",
    "event.call.closed.outcome": "string",
    "event.call.overdue.owner": "string",
}


def world(*texts: str, rules: dict[str, Any] | None = None, team: str = "zone: UTC", **assumed: Any) -> World:
    """A simulation of these journeys."""
    parsed, source = read_team(team)
    assert parsed is not None, source.problems
    charts = tuple(chart(text, TYPES) for text in texts)
    scenario = Scenario(charts, load_policy(rules), assumed.pop("reachable", BOTH), roster=Roster(parsed), **assumed)
    return World(scenario)


def signal(at: float, who: str, name: str, account: str = "", **data: Any) -> RecordedEvent:
    return RecordedEvent(day(at), who, "signal", name, data, account=account)


def of_account(at: float, account: str, name: str, **data: Any) -> RecordedEvent:
    return RecordedEvent(day(at), account, "signal", name, data, subject="account")


def identify(at: float, who: str, visitor: str = "", **traits: Any) -> RecordedEvent:
    return RecordedEvent(day(at), who, "profile", "identify", traits, visitor=visitor)


def group(at: float, who: str, account: str, **traits: Any) -> RecordedEvent:
    return RecordedEvent(day(at), who, "account", "group", traits, account=account)


def operator(at: float, who: str, do: str, **data: Any) -> RecordedEvent:
    return RecordedEvent(day(at), who, "operator", do, data)


def consent(at: float, who: str, *, granted: bool | None, **place: Any) -> RecordedEvent:
    return RecordedEvent(day(at), who, "consent", "consent", {"granted": granted, **place})


def happen(simulated: World, *events: RecordedEvent, until: float | None = None) -> World:
    for event in events:
        simulated.accept(event)
    if until is not None:
        simulated.until(day(until))
    return simulated


def days(at: datetime) -> float:
    """Days since the first."""
    return round((at - day(0)).total_seconds() / 86400, 4)


def messages(simulated: World) -> list[tuple[float, str, str, str]]:
    """Day, recipient, verdict and template of every verdict, in order."""
    return [
        (days(item.at), item.to, item.kind.value, item.message.template)
        for _, item in simulated.timeline
        if isinstance(item, MessageOutcome) and not item.again
    ]


def tasks(simulated: World) -> list[tuple[float, str, str, float | None]]:
    """Day, change, owner and day of the deadline of every change of a task, in order."""
    return [
        (days(item.at), item.kind, item.owner, None if item.due_at is None else days(item.due_at))
        for _, item in simulated.timeline
        if isinstance(item, TaskChange)
    ]


def states(simulated: World) -> dict[str, str]:
    """The state of every open run."""
    return {run.identity: run.state.state for run in simulated.open_runs}
