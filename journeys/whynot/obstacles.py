"""Obstacles between a person and a message, in the order of removal.

The gate's obstacles come first, because a message that is requested before they are gone is lost. Then comes the next
step in the journey, found by `path_search.py` with `decide`. Each obstacle names the change that removes it. After the
first change the obstacles are computed again; when none is left, the simulator sends
(`tests/core/whynot/test_whynot.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from journeys.calendar.durations import is_iso, parse_duration
from journeys.decision.chart import Chart
from journeys.decision.decide import decide
from journeys.decision.entry import EarlierSignal, EntryRefused, PastRun, may_enter
from journeys.decision.occurrences import Facts, FieldsChanged
from journeys.gate.policy import Policy
from journeys.gate.verdicts import SendRequest
from journeys.language.actions import Send, action_name
from journeys.language.conditions import Condition
from journeys.language.traversal import ActionSite, actions_of
from journeys.whynot.changes import SuggestedChange, wait_until
from journeys.whynot.gate_obstacles import Opening, gate_obstacles, next_opening
from journeys.whynot.path_search import next_step
from journeys.whynot.person_view import PastRunView, PersonView
from journeys.whynot.situation import FalseCondition, GateClosed, Situation

ObstacleKind = Literal["not_entered", "ended", "elsewhere", "not_yet", "guard", "gate", "queued"]


@dataclass(frozen=True, slots=True)
class Obstacle:
    """One obstacle in one journey: `code` for programs, `what` for people, `since` when, and the change that removes it."""

    journey: str
    action: str
    code: ObstacleKind
    what: str
    change: SuggestedChange
    since: datetime | None = None


def obstacles(chart: Chart, policy: Policy, template: str, person: PersonView, now: datetime) -> tuple[Obstacle, ...]:
    """The obstacles of each action of this journey that sends the template; none for one that has been sent.

    `chart` is that of the open run, which keeps its version whatever is published; for entry it is the live one.
    """
    person = _without_other_versions(chart, person)
    return tuple(
        obstacle for send in sends_of(chart, template) for obstacle in _of_action(chart, policy, send, person, now)
    )


def sends_of(chart: Chart, template: str) -> tuple[Send, ...]:
    """The actions that send a template, one for each name."""
    sends: dict[str, Send] = {}
    for site in actions_of(chart.spec):
        if isinstance(site.action, Send) and site.action.send == template:
            sends.setdefault(action_name(site.action), site.action)
    return tuple(sends.values())


def request_for(
    chart: Chart, send: Send, facts: Facts, now: datetime, run: str = "", account: str | None = None
) -> SendRequest:
    """The request that the gate would get if this message were requested now."""
    expires = parse_duration(send.expires).after(now) if send.expires is not None and is_iso(send.expires) else None
    known = facts.get("profile", {}), facts.get("account", {})
    return SendRequest(
        channels=send.via,
        topic=chart.spec.topic_of(send),
        priority=chart.spec.priority_of(send),
        at=now,
        expires_at=expires,
        missing=chart.missing(action_name(send), *known),
        journey=chart.key,
        template=send.send,
        account=account,
        run=run,
    )


def _request(chart: Chart, send: Send, person: PersonView, at: datetime, run: str = "") -> SendRequest:
    request = request_for(chart, send, person.facts, at, run, person.account)
    return replace(request, missing=person.missing.get(action_name(send), request.missing))


def _of_action(chart: Chart, policy: Policy, send: Send, person: PersonView, now: datetime) -> Iterator[Obstacle]:
    name, run = action_name(send), person.run
    last = person.last_decision(name)
    if last is not None and last.status == "sent":
        return
    role = person.facts.get("profile", {}).get("role")
    if chart.spec.subject == "account" and role not in send.for_:
        what = f"the message is for {' or '.join(send.for_) or 'no role'}, and the person's role is {role or 'unknown'}"
        traits = {"role": next(iter(send.for_), None)}
        change = SuggestedChange("identify", f"set profile.role to {traits['role']!r}", {"traits": traits})
        yield Obstacle(chart.key, name, "guard", what, change)
    request = _request(chart, send, person, now, run.run if run is not None and run.is_open else "")
    for obstacle in gate_obstacles(policy, request, person.context, person.gate_facts, now):
        yield Obstacle(chart.key, name, "gate", obstacle.what, obstacle.change, obstacle.since)
    if last is None or last.status != "queued":
        yield _in_journey(chart, policy, send, person, now)
    elif last.due is not None:
        yield Obstacle(
            chart.key, name, "queued", f"the message is queued: {last.why}", wait_until(last.due), last.since
        )


def _without_other_versions(chart: Chart, person: PersonView) -> PersonView:
    """The person without open runs of other versions, if the journey has cases: those do not prevent entry."""
    if chart.spec.case is None:
        return person
    return replace(person, runs=[run for run in person.runs if not (run.is_open and _of_other_version(chart, run))])


def _of_other_version(chart: Chart, run: PastRunView) -> bool:
    return run.definition not in ("", chart.hash)


# -- in the journey ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Position:
    """The person's position in the journey, in words; `conditions` are sources of the false ones that `what` names."""

    code: ObstacleKind
    what: str
    since: datetime | None
    conditions: tuple[str, ...] = ()


def _in_journey(chart: Chart, policy: Policy, send: Send, person: PersonView, now: datetime) -> Obstacle:
    name, run = action_name(send), person.run
    if run is not None and run.is_open and _of_other_version(chart, run):
        what = "the person's run uses another version of the journey, which does not send this message"
        text = "end the run, so that the person can enter the version that sends it"
        change = SuggestedChange("cancel_run", text, {"journey": chart.key})
        return Obstacle(chart.key, name, "elsewhere", what, change, run.since)

    def opening_at(at: datetime) -> Opening:
        return next_opening(policy, _request(chart, send, person, at), person.context, at)

    step = next_step(chart, name, send.send, _situation(chart, person, now), opening_at)
    position = _position(chart, name, person, now)
    code, what = position.code, position.what
    if step is None:
        text = "change the journey: no sequence of events that was tried leads to this message"
        change = SuggestedChange("change_journey", text, {"journey": chart.key})
        return Obstacle(chart.key, name, code, what, change, position.since)
    match step.change.kind, step.cause:
        case "identify" | "group", FalseCondition(source) if source in position.conditions:
            code = "guard"
        case "identify" | "group", _:
            code, what = "guard", f"{what}; {step.why}"
        case "wait", GateClosed():
            code, what = "gate", f"{what}; {step.why}"
        case "wait", _ if run is not None and run.is_open and code == "elsewhere":
            code = "not_yet"
        case _:
            pass
    return Obstacle(chart.key, name, code, what, step.change, position.since)


def _situation(chart: Chart, person: PersonView, at: datetime) -> Situation:
    run = person.run
    case = run.case if run is not None else ""
    past = tuple(PastRun(old.epoch, old.is_open, old.ended_at) for old in person.runs if old.case == case)
    state = run.memory if run is not None and run.is_open else None
    if state is not None:
        # A run receives fields that move none of its timers with its next event.
        at_or_after = at if state.last_at is None else max(at, state.last_at)
        state = decide(chart, state, FieldsChanged(at_or_after, person.facts)).state
        state = state if state.is_open else None
    return Situation(state, past, person.facts, at, case)


def _position(chart: Chart, name: str, person: PersonView, now: datetime) -> _Position:
    run = person.run
    if run is None or not run.is_open:
        return _outside(chart, person, now)
    sites = [site for site in actions_of(chart.spec) if action_name(site.action) == name]
    if not run.state:
        return _Position("not_yet", "the run has just begun", run.since)
    site = next((site for site in sites if site.state in (None, run.state)), None)
    if site is None:
        states = " or ".join(dict.fromkeys(site.state or "" for site in sites))
        return _Position("elsewhere", f"the run is in {run.state}, and the message is sent in {states}", run.since)
    last = person.last_decision(name)
    why = last.why if last is not None else ""
    if site.reaction is not None:
        trigger = f"{site.reaction.trigger} {site.reaction.key}"
        where = f"the run is in {run.state}" if site.state is not None else "the run is open"
        before = f"; it was not sent when it was last requested: {why}" if why else ""
        return _Position("not_yet", f"{where}, and the message is sent {trigger}{before}", run.since)
    guard, reason = _false_guard(chart, site, person)
    if guard is not None:
        what = f"the message is sent on entering {run.state} if its condition holds: {reason}"
        return _Position("guard", what, run.since, (guard.source,))
    because = f": {why}" if why else ""
    what = f"the message was requested on entering {run.state} and was not sent{because}"
    return _Position("gate", what, run.since)


def _outside(chart: Chart, person: PersonView, now: datetime) -> _Position:
    """The position without an open run: why none began, or how the last one ended."""
    run = person.run
    received = [(name, person.last_events[name]) for name in chart.spec.entry.on if name in person.last_events]
    if run is not None:
        return _Position("ended", f"the run ended as {run.outcome}", run.ended_at)
    if not received:
        signals = " or ".join(chart.spec.entry.on)
        return _Position("not_entered", f"the person never entered: no {signals} was accepted", None)
    name, last = max(received, key=lambda item: item[1].at)
    earlier = [
        EarlierSignal(other, event.data, event.at, event.times.occurred_at)
        for other, event in person.last_events.items()
        if event.at <= last.at
    ]
    verdict = may_enter(chart, name, last.data, person.facts, (), now, times=last.times, earlier=earlier)
    if isinstance(verdict, EntryRefused):
        what = f"{name} did not start a run: {verdict.reason}"
        return _Position("not_entered", what, last.at, verdict.guards)
    what = f"{name} was accepted before the journey was published or before these fields of the person were known"
    return _Position("not_entered", what, last.at)


def _false_guard(chart: Chart, site: ActionSite, person: PersonView) -> tuple[Condition | None, str]:
    """The message's own condition and the reason, in words, if it does not hold now."""
    run = person.run
    if run is None or run.since is None or site.state is None:
        return None, ""
    lookup = _situation(chart, person, run.since).lookup(chart, {})
    for action in chart.states[site.state].do:
        if action.name == action_name(site.action) and action.guard is not None:
            holds, reason = action.guard.holds(lookup)
            return (None, "") if holds else (action.guard, reason)
    return None, ""
