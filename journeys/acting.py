"""What each kind of action asks of the world when it runs."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from journeys import definition as d
from journeys.chart import Act
from journeys.effects import ChangedAudience, ClosedTask, EmittedSignal, OpenedTask, SendMessage
from journeys.state import OpenTask

if TYPE_CHECKING:
    from journeys.turn import Turn

MOST_EMITTED = 100


def perform(turn: Turn, act: Act) -> None:
    """Turn one action into effects, by its kind."""
    match act.spec:
        case d.Send():
            _send(turn, act, act.spec)
        case d.Task():
            _open(turn, act, act.spec)
        case d.CloseTask():
            _close(turn, act.spec.close)
        case d.Set():
            turn.variables = turn.variables | _values(turn, act)
        case d.Emit():
            _emit(turn, act, act.spec)
        case d.Audience():
            turn.emit(ChangedAudience(act.spec.audience, act.spec.change, turn.at))
            turn.note("acted", act.name, f"{act.spec.change} audience {act.spec.audience}")


def _send(turn: Turn, act: Act, spec: d.Send) -> None:
    journey = turn.chart.spec
    expires = act.expires.after(turn.at, turn.lookup)[0] if act.expires else None
    turn.emit(
        SendMessage(
            action=act.name,
            template=spec.send,
            via=spec.via,
            state=turn.state,
            visit=turn.visit,
            firing=turn.count(act),
            at=turn.at,
            priority=journey.priority,
            topic=journey.topic,
            roles=spec.for_,
            data=_values(turn, act),
            expires_at=expires,
            stands=turn.here.final is not None,
        )
    )
    turn.note("acted", act.name, f"send {spec.send}")


def _open(turn: Turn, act: Act, spec: d.Task) -> None:
    owner = spec.owner or turn.chart.spec.states[turn.state].owner or "unassigned"
    due = act.sla.after(turn.at, turn.lookup)[0] if act.sla else None
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
        )
    )
    turn.tasks = {**turn.tasks, act.name: OpenTask(owner)}
    if due is not None:
        turn.timers[f"t:{act.name}"] = due
    turn.note("acted", act.name, f"task {spec.task} for {owner}")


def _close(turn: Turn, name: str) -> None:
    if name in turn.tasks:
        turn.tasks = {key: value for key, value in turn.tasks.items() if key != name}
        turn.timers.pop(f"t:{name}", None)
        turn.emit(ClosedTask(name, "the journey no longer needs it", turn.at))


def _emit(turn: Turn, act: Act, spec: d.Emit) -> None:
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


def _values(turn: Turn, act: Act) -> dict[str, Any]:
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
    match value:
        case datetime():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case bytes():
            return value.decode(errors="replace")
        case list() | tuple():
            return [_plain(item) for item in value]
        case dict():
            return {str(key): _plain(item) for key, item in value.items()}
        case None | bool() | int() | float() | str():
            return value
        case _:
            return str(value)
