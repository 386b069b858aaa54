"""Why a person never got a message, also when nothing was ever planned: what stands in the way, in the order in which to remove it.

First what the gate would refuse, because a message that is asked for before that is lost; then the next step in the journey,
found by `ways.py` through `decide` itself. Each obstacle names the change that would take it away. Whoever makes the first
one and asks again comes in the end to nothing, and then the simulator sends: `tests/core/whynot/test_whynot.py` is that property.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from journeys.calendar.durations import is_iso, parse_duration
from journeys.decision.chart import Chart
from journeys.decision.decide import decide
from journeys.decision.entry import EntryRefused, PastRun, may_enter
from journeys.decision.occurrences import Facts, FieldsChanged
from journeys.decision.state import RunState
from journeys.gate.policy import Policy
from journeys.gate.status import LastDecisionStatus
from journeys.gate.verdicts import RecipientContext, SendRequest
from journeys.language.actions import Send, action_name
from journeys.language.traversal import ActionSite, actions_of
from journeys.whynot.changes import SuggestedChange
from journeys.whynot.gate_obstacles import GateFacts, Opening, gate_obstacles, next_opening
from journeys.whynot.next_steps import Situation
from journeys.whynot.path_search import GATE, next_step

ObstacleKind = Literal["not_entered", "ended", "elsewhere", "not_yet", "guard", "gate", "queued"]


@dataclass(frozen=True, slots=True)
class PastRunView:
    """A run in a journey, as its row has it. `memory` is its whole state, where it is open, in terms of its own `definition`."""

    run: str
    epoch: int
    state: str | None
    since: datetime | None
    is_open: bool
    outcome: str | None = None
    ended_at: datetime | None = None
    memory: RunState | None = None
    case: str = ""
    definition: str = ""


@dataclass(frozen=True, slots=True)
class LastEvent:
    """The last event of a name that was accepted for this person."""

    at: datetime
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LastDecision:
    """What became of an action's last message in a run: gone, waiting until `due`, or not sent. `since` is when that began."""

    run: str
    action: str
    status: LastDecisionStatus
    why: str = ""
    due: datetime | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class PersonView:
    """All that is known of a person where one journey is concerned. `runs` and `decided` have the newest first.

    `account` is the one that the journey is about, of an account's journey; `missing` by action what nobody has told that its
    message is sent on or its content says, where more is known of that than the chart.
    """

    runs: Sequence[PastRunView]
    facts: Facts
    standing: RecipientContext
    around: GateFacts = field(default_factory=GateFacts)
    heard: Mapping[str, LastEvent] = field(default_factory=dict)
    decided: Sequence[LastDecision] = ()
    account: str | None = None
    missing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def run(self) -> PastRunView | None:
        """The open run, else the newest."""
        return next((each for each in self.runs if each.is_open), next(iter(self.runs), None))


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What stands in the way in one journey: `code` for a machine, `what` for a person, `since` when; and what to change."""

    journey: str
    action: str
    code: ObstacleKind
    what: str
    change: SuggestedChange
    since: datetime | None = None


def obstacles(chart: Chart, policy: Policy, template: str, known: PersonView, now: datetime) -> tuple[Obstacle, ...]:
    """For each action of this journey that sends the template all that stands in its way; nothing for one that has gone out.

    The chart is that of the open run, which keeps its version whatever is published; the live one is for who may enter.
    """
    found: list[Obstacle] = []
    known = _beside(chart, known)
    for send in sends_of(chart, template):
        found += _of_action(chart, policy, send, known, now)
    return tuple(found)


def sends_of(chart: Chart, template: str) -> tuple[Send, ...]:
    """Each action that sends it, once by its name."""
    found: dict[str, Send] = {}
    for doing in actions_of(chart.spec):
        if isinstance(doing.action, Send) and doing.action.send == template:
            found.setdefault(action_name(doing.action), doing.action)
    return tuple(found.values())


def request_for(
    chart: Chart, send: Send, facts: Facts, now: datetime, run: str = "", account: str | None = None
) -> SendRequest:
    """What the gate would be asked if this message were asked for now."""
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


def _asked(chart: Chart, send: Send, known: PersonView, at: datetime, run: str = "") -> SendRequest:
    ask = request_for(chart, send, known.facts, at, run, known.account)
    return replace(ask, missing=known.missing.get(action_name(send), ask.missing))


def _of_action(chart: Chart, policy: Policy, send: Send, known: PersonView, now: datetime) -> Iterator[Obstacle]:
    name, run = action_name(send), known.run
    last = _last(known, name)
    if last is not None and last.status == "sent":
        return
    role = known.facts.get("profile", {}).get("role")
    if chart.spec.subject == "account" and role not in send.for_:
        what = f"it is for {' or '.join(send.for_) or 'nobody'}, and they are {role or 'in no role that is known'}"
        traits = {"role": next(iter(send.for_), None)}
        change = SuggestedChange("identify", f"tell that profile.role is {traits['role']!r}", {"traits": traits})
        yield Obstacle(chart.key, name, "guard", what, change)
    asks = run.run if run is not None and run.is_open else ""
    ask = _asked(chart, send, known, now, asks)
    gate = gate_obstacles(policy, ask, known.standing, known.around, now)
    for each in gate:
        yield Obstacle(chart.key, name, "gate", each.what, each.change, each.since)
    if last is not None and last.status == "queued":
        if last.due is not None:
            wait = SuggestedChange("wait", f"wait until {last.due:%Y-%m-%d %H:%M} UTC", {"until": last.due})
            yield Obstacle(chart.key, name, "queued", f"it waits: {last.why}", wait, last.since)
        return
    yield _in_journey(chart, policy, send, known, now)


def _last(known: PersonView, action: str) -> LastDecision | None:
    """What was decided last about this action in the run that is looked at."""
    run = known.run
    return next((each for each in known.decided if run and (each.run, each.action) == (run.run, action)), None)


def _beside(chart: Chart, known: PersonView) -> PersonView:
    """Where each case has a run of its own, one of another version stands in nobody's way."""
    if chart.spec.case is None:
        return known
    return replace(known, runs=[each for each in known.runs if not (each.is_open and _is_of_another(chart, each))])


def _is_of_another(chart: Chart, run: PastRunView) -> bool:
    return run.definition not in ("", chart.hash)


# -- how far they are from it ------------------------------------------------------------------------------------------


def _in_journey(chart: Chart, policy: Policy, send: Send, known: PersonView, now: datetime) -> Obstacle:
    name, run = action_name(send), known.run
    if run is not None and run.is_open and _is_of_another(chart, run):
        what = "their run is of another version of the journey, which does not send it"
        change = SuggestedChange(
            "cancel_run", "end the run, so that they may enter the version that sends it", {"journey": chart.key}
        )
        return Obstacle(chart.key, name, "elsewhere", what, change, run.since)

    def opening(at: datetime) -> Opening:
        return next_opening(policy, _asked(chart, send, known, at), known.standing, at)

    step = next_step(chart, name, send.send, _spot(chart, known, now), opening)
    code, what, since = _place(chart, name, known, now)
    if step is None:
        change = SuggestedChange("change_journey", "nothing that was tried leads there", {"journey": chart.key})
        return Obstacle(chart.key, name, code, what, change, since)
    match step.change.kind:
        case "identify" | "group":
            code, what = "guard", f"{what}; {step.why}" if step.why not in what else what
        case "wait" if step.why.startswith(GATE):
            code, what = "gate", f"{what}; {step.why}"
        case "wait" if run is not None and run.is_open:
            code = "not_yet" if code == "elsewhere" else code
        case _:
            pass
    return Obstacle(chart.key, name, code, what, step.change, since)


def _spot(chart: Chart, known: PersonView, now: datetime) -> Situation:
    run = known.run
    case = run.case if run is not None else ""
    past = tuple(PastRun(each.epoch, each.is_open, each.ended_at) for each in known.runs if each.case == case)
    state = run.memory if run is not None and run.is_open else None
    if state is not None:
        # Fields that no timer of it hangs on are told to a run with whatever comes next.
        at = now if state.last_at is None else max(now, state.last_at)
        state = decide(chart, state, FieldsChanged(at, known.facts)).state
        state = state if state.is_open else None
    return Situation(state, past, known.facts, now, case)


def _place(chart: Chart, name: str, known: PersonView, now: datetime) -> tuple[ObstacleKind, str, datetime | None]:
    """Where they are, in words, and since when."""
    run = known.run
    if run is None or not run.is_open:
        return _outside(chart, known, now)
    doings = [each for each in actions_of(chart.spec) if action_name(each.action) == name]
    if not run.state:
        return "not_yet", "their run has just begun", run.since
    here = next((each for each in doings if each.state in (None, run.state)), None)
    if here is None:
        wanted = " or ".join(dict.fromkeys(each.state or "" for each in doings))
        return "elsewhere", f"they are in {run.state}, and it is sent in {wanted}", run.since
    last = _last(known, name)
    why = last.why if last is not None else ""
    if here.reaction is not None:
        waits = (
            f"on {here.reaction.by}" if here.reaction.trigger == "on" else f"{here.reaction.trigger} {here.reaction.by}"
        )
        where = f"they are in {run.state}" if here.state is not None else "they are in the journey"
        before = f"; when it was asked for last it was not sent: {why}" if why else ""
        return "not_yet", f"{where}, and it is sent {waits}{before}", run.since
    refused = _guard(chart, here, known)
    if refused:
        return "guard", f"it is sent on entering {run.state}, where {refused}", run.since
    told = f": {why}" if why else ""
    return "gate", f"it was asked for when they entered {run.state}, and was not sent{told}", run.since


def _outside(chart: Chart, known: PersonView, now: datetime) -> tuple[ObstacleKind, str, datetime | None]:
    """No run is open: why none began, or how the last one ended."""
    run = known.run
    told = [(name, known.heard[name]) for name in chart.spec.entry.on if name in known.heard]
    if run is not None:
        return "ended", f"their run ended as {run.outcome}", run.ended_at
    if not told:
        return "not_entered", f"they never entered: no {' or '.join(chart.spec.entry.on)} was accepted", None
    name, last = max(told, key=lambda item: item[1].at)
    verdict = may_enter(chart, name, last.data, known.facts, (), now)
    if isinstance(verdict, EntryRefused):
        return "not_entered", f"{name} did not let them in: {verdict.reason}", last.at
    return "not_entered", f"{name} came before the journey was published or knew this of them", last.at


def _guard(chart: Chart, doing: ActionSite, known: PersonView) -> str:
    """Why the message's own condition does not hold now, if it does not."""
    look = _spot(chart, known, known.run.since).look(chart, {}) if known.run and known.run.since else None
    acts = chart.places[doing.state].do if doing.state is not None else ()
    for act in acts:
        if look is not None and act.name == action_name(doing.action) and act.guard is not None:
            holds, why = act.guard.holds(look)
            return "" if holds else why
    return ""
