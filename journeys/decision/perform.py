"""What each kind of action asks of the world when it runs."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from journeys.decision.chart import CompiledAction, Delay
from journeys.decision.effects import ChangedAudience, ClosedTask, EmittedSignal, OpenedTask, SendMessage
from journeys.decision.state import OpenTask
from journeys.language.actions import Audience, CloseTask, Emit, Send, Set, Task
from journeys.language.conditions import coerce

if TYPE_CHECKING:
    from journeys.decision.interpreter import Interpreter

MOST_EMITTED = 100


def perform(turn: Interpreter, act: CompiledAction) -> None:
    """Turn one action into effects, by its kind."""
    match act.spec:
        case Send():
            _send(turn, act, act.spec)
        case Task():
            _open(turn, act, act.spec)
        case CloseTask():
            _close(turn, act.spec.close)
        case Set():
            _set(turn, act)
        case Emit():
            _emit(turn, act, act.spec)
        case Audience():
            turn.emit(ChangedAudience(act.spec.audience, act.spec.change, turn.at))
            turn.note("acted", act.name, f"{act.spec.change} audience {act.spec.audience}")


def _send(turn: Interpreter, act: CompiledAction, spec: Send) -> None:
    journey = turn.chart.spec
    expires = _due(turn, act, act.expires)
    turn.emit(
        SendMessage(
            action=act.name,
            template=spec.send,
            via=spec.via,
            state=turn.state,
            visit=turn.visit,
            firing=turn.count(act),
            at=turn.at,
            priority=journey.priority_of(spec),
            topic=journey.topic_of(spec),
            roles=spec.for_,
            data=_values(turn, act),
            expires_at=expires,
            stands=turn.here.final is not None,
        )
    )
    turn.note("acted", act.name, f"send {spec.send}")


def _open(turn: Interpreter, act: CompiledAction, spec: Task) -> None:
    if act.name in turn.tasks:
        turn.note("acted", act.name, f"task {spec.task} is open already")
        return
    owner = spec.owner or turn.chart.spec.states[turn.state].owner or "unassigned"
    due = _due(turn, act, act.sla)
    turn.emit(
        OpenedTask(
            action=act.name,
            task=spec.task,
            owner=owner,
            state=turn.state,
            visit=turn.visit,
            firing=turn.count(act),
            at=turn.at,
            due_at=due,
            escalate=spec.escalate,
            data=_values(turn, act),
            within=spec.within,
        )
    )
    turn.tasks = {**turn.tasks, act.name: OpenTask(owner)}
    if due is not None:
        turn.timers[f"t:{act.name}"] = due
    turn.note("acted", act.name, f"task {spec.task} for {owner}")


def _close(turn: Interpreter, name: str) -> None:
    if name not in turn.tasks:
        return
    reason = "the journey no longer needs it"
    turn.tasks = {key: value for key, value in turn.tasks.items() if key != name}
    turn.timers.pop(f"t:{name}", None)
    turn.note("acted", name, f"close task {name}")
    waiting = tuple(item for item in turn.held if (item["kind"], item.get("action")) != ("task", name))
    if len(waiting) < len(turn.held):
        turn.held = waiting  # nobody has seen it yet
    else:
        turn.emit(ClosedTask(name, reason, turn.at))


def _set(turn: Interpreter, act: CompiledAction) -> None:
    """New values of variables, each of its declared type; dates among them move their anchors."""
    values = {}
    for name, value in _values(turn, act).items():
        kind = turn.chart.types.get(f"journey.{name}", "any")
        if value is not None and coerce(value, kind) is None:
            turn.note("guard", act.name, f"{act.name}: {name} stays as it is, as the new value is not of type {kind}")
        else:
            values[name] = value
    turn.variables = turn.variables | values
    turn.follow_dates(("journey.",))


def _due(turn: Interpreter, act: CompiledAction, delay: Delay | None) -> datetime | None:
    if delay is None:
        return None
    due, refusal = delay.after(turn.at, turn.lookup)
    if due is None:
        turn.note("guard", act.name, f"{act.name}: no deadline, as {refusal}")
    return due


def _emit(turn: Interpreter, act: CompiledAction, spec: Emit) -> None:
    items: list[Any] = [None]
    if act.for_each is not None:
        value = act.for_each.evaluate(turn.lookup)
        if not value.ok:
            turn.note("guard", act.name, f"{act.name}: nothing, as {value.reason}")
            return
        items = value.value[:MOST_EMITTED]
    for index, item in enumerate(items):
        turn.item = _plain(item)
        n = turn.count(act)
        key = f"{turn.state}.{turn.visit}/{act.name}.{n}" + (f".{index}" if act.for_each else "")
        turn.emit(EmittedSignal(spec.emit, key, turn.at, _values(turn, act)))
    turn.item = None
    turn.note("acted", act.name, f"emit {spec.emit}" + (f" ×{len(items)}" if act.for_each else ""))


def _values(turn: Interpreter, act: CompiledAction) -> dict[str, Any]:
    """The action's data, as JSON values; what cannot be evaluated is left out, with the reason in the log."""
    values = {}
    for name, condition in act.values:
        value = condition.evaluate(turn.lookup)
        if value.ok:
            values[name] = _plain(value.value)
        else:
            turn.note("guard", act.name, f"{act.name}: no {name}, as {value.reason}")
    return values


def _plain(value: Any) -> Any:
    """As JSON has it; numbers that JSON does not have are null."""
    match value:
        case datetime() | timedelta():
            return value.isoformat() if isinstance(value, datetime) else value.total_seconds()
        case bytes():
            return value.decode(errors="replace")
        case list() | tuple():
            return [_plain(item) for item in value]
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case float():
            return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
