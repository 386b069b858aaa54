"""The macrostep of a run: timers, signals, transitions, states, the end.

The semantics of docs/journey-language.md as functions over a RunDraft; terms follow SCXML.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from journeys.decision.chart import ChartTransition, CompiledAction, EndRule, StateNode
from journeys.decision.draft import RunDraft
from journeys.decision.effects import Finished, WithdrawnMessages
from journeys.decision.operator import drop_undone_effects, emit_last_effects
from journeys.decision.perform import close_tasks, escalate_task, perform_all, settle_closed_task
from journeys.decision.state import UnconsumedSignal
from journeys.decision.timers import (
    arm_timers,
    drop_spinning_timers,
    drop_visit_timers,
    first_due,
    skip_repeats,
    spend_timer,
    timer_of,
)

MAX_FIRINGS = 1_000
"""Timers fired in one macrostep before repeats are moved past it; as many again, and a spinning chart is stopped."""
MAX_UNCONSUMED = 16
"""Signals that a run keeps for `lookback`; the oldest are dropped first."""

# -- time --------------------------------------------------------------------------------------------------------------


def fire_due_timers(draft: RunDraft, until: datetime) -> None:
    """Fire every timer due at or before `until`, each at its own due instant, ties in document order."""
    if not draft.timers or min(draft.timers.values()) > until:
        return
    for count in range(2 * MAX_FIRINGS):
        timer_id = None if draft.paused_at is not None else first_due(draft, until)
        if timer_id is None:
            return
        due = draft.timers[timer_id]
        draft.last_at = due if draft.last_at is None else max(due, draft.last_at)
        _fire(draft, timer_id, due)
        if count == MAX_FIRINGS:
            skip_repeats(draft, until)
    drop_spinning_timers(draft, until)


def _fire(draft: RunDraft, timer_id: str, due: datetime) -> None:
    if timer_id == "goal":
        del draft.timers[timer_id]
        finish(draft, "missed", "the goal's time has passed")
    elif timer_id.startswith("t:"):
        name = timer_id[2:]
        task = escalate_task(draft, name)
        react(draft, f"{name}.overdue", {"owner": task.owner, "level": task.level})
    else:
        timer = timer_of(draft, timer_id)
        spend_timer(draft, timer, due)
        taken, refusal = _take_first(draft, timer.transitions, timer.label)
        if not taken:
            draft.note("spent", timer.label, f"{timer.label}: nothing, as {refusal}")


# -- signals -----------------------------------------------------------------------------------------------------------


def begin(draft: RunDraft, name: str, data: Mapping[str, Any]) -> None:
    """Begin the run: arm the goal's window, enter the first state, arm the journey's own timers."""
    if draft.state:
        draft.note("ignored", name, f"{name}: the run has begun already")
        return
    draft.started_at = draft.at
    draft.event = data
    draft.note("entered", draft.chart.key, f"entered on {name}")
    if draft.chart.within is not None:
        draft.timers["goal"] = draft.chart.within.after(draft.at)
    _enter(draft, draft.chart.spec.start, f"on {name}", ())
    if draft.is_open:
        arm_timers(draft, draft.chart.root)
    draft.event = {}


def react(draft: RunDraft, name: str, data: Mapping[str, Any]) -> None:
    """Decide a signal: the goal, then exits, the state's transitions, the journey's; else keep it for `lookback`."""
    if not draft.state:
        draft.note("ignored", name, f"{name}: came before the run began")
        return
    draft.event = data
    settle_closed_task(draft, name)
    if _ends(draft, draft.chart.goal, name):
        finish(draft, "reached", f"goal reached: {name}")
    elif _ends(draft, draft.chart.exits, name):
        finish(draft, "exited", f"left on {name}")
    elif not _take_any(draft, name) and name in draft.chart.lookbacks:
        _remember(draft, name, data)
    draft.event = {}


def _ends(draft: RunDraft, rules: tuple[EndRule, ...], name: str) -> bool:
    for rule in rules:
        if rule.on == name:
            allowed, refusal = draft.allows(rule.guard)
            if allowed:
                return True
            draft.note("guard", name, f"{name} does not end the run, as {refusal}")
    return False


def _take_any(draft: RunDraft, name: str) -> bool:
    """Take the first transition on this signal that its guard allows; whether there was one."""
    refusals = []
    for node in (draft.node, draft.chart.root):
        transitions = node.on.get(name)
        if transitions is None:
            continue
        taken, refusal = _take_first(draft, transitions, f"on {name}")
        if taken:
            return True
        refusals.append(refusal)
    if refusals:
        draft.note("guard", name, f"on {name}: nothing, as {'; '.join(refusals)}")
    return False


def _take_first(draft: RunDraft, transitions: tuple[ChartTransition, ...], cause: str) -> tuple[bool, str]:
    """Take the first transition whose guard is true; whether there was one, else the reasons."""
    refusals = []
    for transition in transitions:
        allowed, refusal = draft.allows(transition.guard)
        if allowed:
            _take(draft, transition, cause)
            return True, ""
        refusals.append(refusal)
    return False, "; ".join(refusals)


def _take(draft: RunDraft, transition: ChartTransition, cause: str) -> None:
    if transition.to is None:
        draft.note("fired", draft.state, f"{cause}, in {draft.state}")
        perform_all(draft, transition.do)
    else:
        _enter(draft, transition.to, cause, transition.do)


# -- lookback ----------------------------------------------------------------------------------------------------------


def _remember(draft: RunDraft, name: str, data: Mapping[str, Any]) -> None:
    """Keep a signal that no transition consumed, for as long as a `lookback` may read it."""
    longest = draft.chart.lookbacks
    useful = [signal for signal in draft.missed if signal.at + longest.get(signal.name, timedelta(0)) >= draft.at]
    draft.missed = (*useful, UnconsumedSignal(name, draft.at, draft.chart.kept(name, data)))[-MAX_UNCONSUMED:]


def _look_back(draft: RunDraft, node: StateNode) -> None:
    """Let a state just entered consume earlier signals, oldest first, until one of them leads out of the visit."""
    visit = (draft.state, draft.visit)
    for signal in draft.missed:
        for transitions in (node.on.get(signal.name, ()), draft.chart.root.on.get(signal.name, ())):
            recent = [
                transition
                for transition in transitions
                if transition.lookback and transition.lookback.after(signal.at) >= draft.at
            ]
            if recent and _consume(draft, signal, tuple(recent)):
                break
        if not draft.is_open or (draft.state, draft.visit) != visit:
            return


def _consume(draft: RunDraft, signal: UnconsumedSignal, transitions: tuple[ChartTransition, ...]) -> bool:
    event, missed = draft.event, draft.missed
    draft.event = signal.data
    draft.missed = tuple(other for other in missed if other is not signal)
    taken, refusal = _take_first(draft, transitions, f"looking back at {signal.name}")
    if not taken:
        draft.missed = missed
        draft.note("guard", signal.name, f"looking back at {signal.name}: nothing, as {refusal}")
    draft.event = event
    return taken


# -- states ------------------------------------------------------------------------------------------------------------


def _enter(draft: RunDraft, to: str, cause: str, actions: tuple[CompiledAction, ...]) -> None:
    """Leave the current state and enter `to`, even the same one; the transition's actions belong to the new visit."""
    came_from = draft.state
    if came_from:
        _leave(draft, f"{came_from} was left for {to} {cause}")
    draft.state, draft.entered_at = to, draft.at
    draft.visits = {**draft.visits, to: draft.visits.get(to, 0) + 1}
    draft.visit = draft.visits[to]
    draft.note("moved", to, f"{cause}: now in {to}" + (f", from {came_from}" if came_from else ""))
    node = draft.node
    perform_all(draft, actions)
    perform_all(draft, node.do)
    if node.final is not None:
        finish(draft, node.final, f"{to} is final: {node.final}", keep_tasks=True)
    else:
        arm_timers(draft, node)
        _look_back(draft, node)


def _leave(draft: RunDraft, reason: str) -> None:
    """End the visit: withdraw its messages, close its tasks, drop its undone effects and its timers."""
    if not draft.chart.sends.isdisjoint(draft.firings):
        draft.emit(WithdrawnMessages(reason, draft.at, draft.state, draft.visit))
    close_tasks(draft, reason)
    drop_undone_effects(draft, reason, draft.state, draft.visit)
    draft.firings = {}
    drop_visit_timers(draft)


def finish(draft: RunDraft, outcome: str, reason: str, *, keep_tasks: bool = False) -> None:
    """End the run at once and withdraw its queued messages, except those that stand; `keep_tasks` keeps its tasks."""
    draft.outcome = outcome
    if not keep_tasks:
        close_tasks(draft, reason)
    if draft.paused_at is None:
        emit_last_effects(draft, "the run ended", keep_tasks=keep_tasks)
    else:
        drop_undone_effects(draft, "the run ended while paused")
    draft.emit(WithdrawnMessages(reason, draft.at))
    draft.emit(Finished(outcome, draft.at))
    draft.timers, draft.missed = {}, ()
    draft.note("finished", outcome, reason)


def erase_fields(draft: RunDraft) -> None:
    """Remove the person's fields and variables from the state of an erased run."""
    draft.facts, draft.variables = {}, {}
