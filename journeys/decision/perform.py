"""Perform actions and change open tasks: effects, log lines and variables in a RunDraft.

An action whose guard is false is left out, with the reason in the log; a value that cannot be evaluated likewise.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from journeys.decision.anchors import follow_dates
from journeys.decision.chart import CompiledAction, Delay
from journeys.decision.draft import RunDraft
from journeys.decision.effects import (
    ChangedAudience,
    ClosedTask,
    EmittedSignal,
    EscalatedTask,
    OpenedTask,
    SendMessage,
    task_request,
)
from journeys.decision.held import without_opening
from journeys.decision.state import OpenTask
from journeys.language.actions import Audience, CloseTask, Emit, Send, Set, Task
from journeys.language.values import coerce, json_value

MAX_EMITTED = 100
"""Signals that one `for_each` emits at most."""


def perform_all(draft: RunDraft, actions: tuple[CompiledAction, ...]) -> None:
    """Perform, in order, the actions whose guards are true."""
    for action in actions:
        allowed, refusal = draft.allows(action.guard)
        if allowed:
            _perform(draft, action)
        else:
            draft.note("guard", action.name, f"{action.name}: not done, as {refusal}")


def _perform(draft: RunDraft, action: CompiledAction) -> None:
    match action.spec:
        case Send():
            _send(draft, action, action.spec)
        case Task():
            _open_task(draft, action, action.spec)
        case CloseTask():
            _close_task(draft, action.spec.close)
        case Set():
            _set_variables(draft, action)
        case Emit():
            _emit_signals(draft, action, action.spec)
        case Audience():
            draft.emit(ChangedAudience(action.spec.audience, action.spec.change, draft.at))
            draft.note("acted", action.name, f"{action.spec.change} audience {action.spec.audience}")


def _send(draft: RunDraft, action: CompiledAction, spec: Send) -> None:
    journey = draft.chart.spec
    expires = _deadline(draft, action, action.expires)
    draft.emit(
        SendMessage(
            action=action.name,
            template=spec.send,
            via=spec.via,
            state=draft.state,
            visit=draft.visit,
            firing=draft.count(action),
            at=draft.at,
            priority=journey.priority_of(spec),
            topic=journey.topic_of(spec),
            roles=spec.for_,
            data=_values(draft, action),
            expires_at=expires,
            stands=draft.node.final is not None,
        )
    )
    draft.note("acted", action.name, f"send {spec.send}")


def _set_variables(draft: RunDraft, action: CompiledAction) -> None:
    """A value of another than the declared type is left out; dates among the variables move their anchors."""
    values = {}
    for name, value in _values(draft, action).items():
        kind = draft.chart.types.get(f"journey.{name}", "any")
        if value is not None and coerce(value, kind) is None:
            draft.note(
                "guard", action.name, f"{action.name}: {name} stays as it is, as the new value is not of type {kind}"
            )
        else:
            values[name] = value
    draft.variables = draft.variables | values
    follow_dates(draft, ("journey.",))


def _emit_signals(draft: RunDraft, action: CompiledAction, spec: Emit) -> None:
    items: list[Any] = [None]
    if action.for_each is not None:
        evaluation = action.for_each.evaluate(draft.lookup)
        if not evaluation.ok:
            draft.note("guard", action.name, f"{action.name}: nothing, as {evaluation.reason}")
            return
        items = evaluation.value[:MAX_EMITTED]
    for index, item in enumerate(items):
        draft.item = json_value(item)
        firing = draft.count(action)
        key = f"{draft.state}.{draft.visit}/{action.name}.{firing}" + (f".{index}" if action.for_each else "")
        place = index if action.for_each is not None else None
        draft.emit(
            EmittedSignal(
                spec.emit,
                key,
                draft.at,
                _values(draft, action),
                draft.state,
                draft.visit,
                action.name,
                place,
                action.nth,
            )
        )
    draft.item = None
    draft.note("acted", action.name, f"emit {spec.emit}" + (f" ×{len(items)}" if action.for_each else ""))


def _values(draft: RunDraft, action: CompiledAction) -> dict[str, Any]:
    values = {}
    for name, condition in action.values:
        evaluation = condition.evaluate(draft.lookup)
        if evaluation.ok:
            values[name] = json_value(evaluation.value)
        else:
            draft.note("guard", action.name, f"{action.name}: no {name}, as {evaluation.reason}")
    return values


def _deadline(draft: RunDraft, action: CompiledAction, delay: Delay | None) -> datetime | None:
    if delay is None:
        return None
    due, refusal = delay.after(draft.at, draft.lookup)
    if due is None:
        draft.note("guard", action.name, f"{action.name}: no deadline, as {refusal}")
    return due


# -- tasks -------------------------------------------------------------------------------------------------------------


def _open_task(draft: RunDraft, action: CompiledAction, spec: Task) -> None:
    if action.name in draft.tasks:
        draft.note("acted", action.name, f"task {spec.task} is open already")
        return
    owner = spec.owner or draft.chart.spec.states[draft.state].owner or "unassigned"
    due = _deadline(draft, action, action.sla)
    draft.emit(
        OpenedTask(
            action=action.name,
            task=spec.task,
            owner=owner,
            state=draft.state,
            visit=draft.visit,
            firing=draft.count(action),
            at=draft.at,
            due_at=due,
            escalate=spec.escalate,
            data=_values(draft, action),
            within=spec.within,
        )
    )
    draft.tasks = {**draft.tasks, action.name: OpenTask(owner)}
    if due is not None:
        draft.timers[f"t:{action.name}"] = due
    draft.note("acted", action.name, f"task {spec.task} for {owner}")


def _close_task(draft: RunDraft, name: str) -> None:
    if name not in draft.tasks:
        return
    _remove_task(draft, name)
    draft.note("acted", name, f"close task {name}")
    held, waiting = without_opening(draft.held, name), without_opening(draft.waiting, name)
    if (held, waiting) != (draft.held, draft.waiting):
        draft.held, draft.waiting = held, waiting  # no step has its opening, so there is no task to close
    else:
        draft.emit(ClosedTask(name, "the journey no longer needs it", draft.at))


def _remove_task(draft: RunDraft, name: str) -> None:
    draft.tasks = {other: task for other, task in draft.tasks.items() if other != name}
    draft.timers.pop(f"t:{name}", None)


def settle_closed_task(draft: RunDraft, signal: str) -> None:
    """Remove an open task when its `<task>.closed` arrives."""
    name, _, outcome = signal.rpartition(".")
    if outcome == "closed" and name in draft.tasks:
        _remove_task(draft, name)
        draft.note("acted", name, f"task {name} was closed")


def close_tasks(draft: RunDraft, reason: str) -> None:
    """Close every open task, with this reason for its owner."""
    for name in draft.tasks:
        draft.emit(ClosedTask(name, reason, draft.at))
        draft.timers.pop(f"t:{name}", None)
    draft.tasks = {}


def escalate_task(draft: RunDraft, name: str) -> OpenTask:
    """Give a task whose deadline passed to the next of its `escalate`, if any (C10); the task as it was before."""
    del draft.timers[f"t:{name}"]
    task, action = draft.tasks[name], _opened_by(draft, name)
    chain = _escalation_chain(action)
    level = task.level + 1
    if level <= len(chain):
        due, _ = action.sla.after(draft.at, draft.lookup) if action and action.sla else (None, "")
        draft.tasks = {**draft.tasks, name: OpenTask(chain[level - 1], level)}
        if due is not None and level < len(chain):
            draft.timers[f"t:{name}"] = due
        draft.emit(EscalatedTask(name, chain[level - 1], level, draft.at, due))
        draft.note("acted", name, f"task {name} is overdue: escalated to {chain[level - 1]}")
    else:
        draft.note("acted", name, f"task {name} is overdue")
    return task


def set_deadline(draft: RunDraft, name: str, request: str, due: datetime) -> None:
    """Arm a task's deadline as its assignment computed it; none for a task that is over or cannot escalate further."""
    task = draft.tasks.get(name)
    if task is None or request != task_request(draft.state, draft.visit, name, draft.firings.get(name, 0)):
        return
    if task.level == 0 or task.level < len(_escalation_chain(_opened_by(draft, name))):
        draft.timers[f"t:{name}"] = due
        draft.note("armed", name, f"task {name} is due on {due:%Y-%m-%d %H:%M} UTC")


def _opened_by(draft: RunDraft, name: str) -> CompiledAction | None:
    """The action that opened a task of this visit, the state's own before the journey's."""
    return draft.chart.tasks.get((draft.state, name)) or draft.chart.tasks.get(("", name))


def _escalation_chain(action: CompiledAction | None) -> tuple[str, ...]:
    return action.spec.escalate if action and isinstance(action.spec, Task) else ()
