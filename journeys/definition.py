"""A journey as its author writes it: a statechart in data. Nothing here runs; `chart.py` makes it runnable."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, StringConstraints, Tag

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
SignalName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_.:/-]{0,159}$")]
"""Of the tracking plan, or the outcome of an action: `checklist.sent`, `send:setup/checklist.sent`."""
TemplateName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]*(/[a-z][a-z0-9_-]*){0,3}$", max_length=128)]
Cel = Annotated[str, StringConstraints(min_length=1, max_length=2000)]
DurationText = Annotated[str, StringConstraints(min_length=1, max_length=500)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=500)]
ChannelName = Literal["email", "in_app"]
Priority = Literal["urgent_support", "transactional", "lifecycle", "promotional"]
Scalar = str | int | float | bool
VariableType = Literal["string", "int", "double", "bool", "timestamp"]


class Model(BaseModel):
    """Frozen and strict about keys: a misspelt key is a problem, never a silent nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def _listed(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


# -- actions ---------------------------------------------------------------------------------------------------------


class Send(Model):
    """A message. `via` is a preference: the first channel with consent and an address carries it."""

    send: TemplateName
    name: Name | None = None
    via: Annotated[
        tuple[ChannelName, ...],
        BeforeValidator(_listed, json_schema_input_type=ChannelName | list[ChannelName]),
        Field(min_length=1),
    ] = ("email",)
    for_: Annotated[
        tuple[Name, ...], BeforeValidator(_listed, json_schema_input_type=Name | list[Name]), Field(alias="for")
    ] = ()
    data: dict[Name, Cel] = {}
    when: Cel | None = None
    expires: DurationText | None = None


class Task(Model):
    """Work for a person. Leaving the state withdraws it; `sla` passing escalates it (C10)."""

    task: Name
    name: Name | None = None
    owner: Name | None = None
    sla: DurationText | None = None
    escalate: tuple[Name, ...] = ()
    data: dict[Name, Cel] = {}
    when: Cel | None = None


class CloseTask(Model):
    """Close an open task of this run by its action's name."""

    close: Name
    when: Cel | None = None


class Set(Model):
    """Give variables of the run new values; later conditions read them as `journey.<name>`."""

    set: Annotated[dict[Name, Cel], Field(min_length=1)]
    when: Cel | None = None


class Emit(Model):
    """Send a signal to the subject, or one for each value of a list (`for_each`, read as `item` in `data`)."""

    emit: SignalName
    for_each: Cel | None = None
    data: dict[Name, Cel] = {}
    when: Cel | None = None


class Audience(Model):
    """Put the subject into an audience of an advertising or messaging tool, or take them out."""

    audience: Name
    change: Literal["add", "remove"] = "add"
    when: Cel | None = None


_KINDS: dict[str, str] = {
    "send": "Send",
    "task": "Task",
    "close": "CloseTask",
    "set": "Set",
    "emit": "Emit",
    "audience": "Audience",
}


def _kind(value: Any) -> str | None:
    """Which action this is, by the one key that names it, so that a fault is told of that kind and no other."""
    if isinstance(value, Model):
        return type(value).__name__
    named = [kind for key, kind in _KINDS.items() if isinstance(value, dict) and key in value]
    return named[0] if len(named) == 1 else None


Action = Annotated[
    Annotated[Send, Tag("Send")]
    | Annotated[Task, Tag("Task")]
    | Annotated[CloseTask, Tag("CloseTask")]
    | Annotated[Set, Tag("Set")]
    | Annotated[Emit, Tag("Emit")]
    | Annotated[Audience, Tag("Audience")],
    Discriminator(
        _kind,
        custom_error_type="not_an_action",
        custom_error_message="an action has exactly one of send, task, close, set, emit, audience",
    ),
]
Actions = Annotated[tuple[Action, ...], BeforeValidator(_listed, json_schema_input_type=Action | list[Action])]


def action_name(action: Action) -> str:
    """The stable name that keys, metrics and outcomes use: its `name`, else `send:<template>`, `task`, …"""
    match action:
        case Send():
            return action.name or f"send:{action.send}"
        case Task():
            return action.name or action.task
        case CloseTask():
            return f"close:{action.close}"
        case Set():
            return "set:" + ",".join(action.set)
        case Emit():
            return f"emit:{action.emit}"
        case Audience():
            return f"audience:{action.audience}"


# -- transitions -----------------------------------------------------------------------------------------------------


class Transition(Model):
    """`to` re-enters its target, even the same state; without `to` it is internal and the visit goes on."""

    to: Name | None = None
    when: Cel | None = None
    do: Actions = ()


class OnSignal(Transition):
    """`lookback` also takes a signal that came within that time before the state was entered and moved nothing."""

    lookback: DurationText | None = None


class Repeat(Transition):
    """A timer that fires again and again within the visit, at most `times` times."""

    times: Annotated[int, Field(ge=1, le=10_000)] | None = None


class Anchor(Transition):
    """A timer at a date of the subject, which moves when the date moves."""

    date: Cel
    before: DurationText | None = None
    after: DurationText | None = None
    past: Literal["act", "skip", "next"] = "skip"
    every: DurationText | None = None
    name: Name | None = None


def _transitions(value: Any) -> Any:
    """A bare string is a target; a list takes the first true guard."""
    return [{"to": item} if isinstance(item, str) else item for item in _listed(value)]


SignalTransitions = Annotated[
    tuple[OnSignal, ...],
    BeforeValidator(_transitions, json_schema_input_type=Name | OnSignal | list[Name | OnSignal]),
    Field(min_length=1),
]
TimerTransitions = Annotated[
    tuple[Transition, ...],
    BeforeValidator(_transitions, json_schema_input_type=Name | Transition | list[Name | Transition]),
    Field(min_length=1),
]
RepeatTransition = Annotated[
    tuple[Repeat, ...],
    BeforeValidator(_transitions, json_schema_input_type=Name | Repeat | list[Name | Repeat]),
    Field(min_length=1),
]
Anchors = Annotated[tuple[Anchor, ...], BeforeValidator(_listed, json_schema_input_type=Anchor | list[Anchor])]
Signals = Annotated[
    tuple[SignalName, ...],
    BeforeValidator(_listed, json_schema_input_type=SignalName | list[SignalName]),
    Field(min_length=1),
]


class Reacting(Model):
    """What a state and the whole journey share: reactions to signals, time and dates."""

    on: dict[SignalName, SignalTransitions] = {}
    after: dict[DurationText, TimerTransitions] = {}
    every: dict[DurationText, RepeatTransition] = {}
    at: Anchors = ()


class State(Reacting):
    """A place to be. `final` ends the run with that outcome, after `do`."""

    milestone: Name | None = None
    owner: Name | None = None
    do: Actions = ()
    final: Name | None = None


# -- the journey -----------------------------------------------------------------------------------------------------


class Handoff(Model):
    """The five parts of H1 that are known at design time; state and milestone come from the run."""

    from_: Annotated[Name, Field(alias="from")]
    to: Name
    intent: Cel | None = None
    promise: Cel | None = None
    owner: Name | None = None


class Again(Model):
    """Re-entry allowed once this much time has passed since the last run ended."""

    after: DurationText


class Entry(Model):
    """Which signal opens a run, and whether a person may come back."""

    on: Signals
    when: Cel | None = None
    again: Literal["never", "always"] | Again = "never"


class Goal(Model):
    """Reaching it ends the run as `reached`; `within` passing first ends it as `missed`."""

    on: Signals
    when: Cel | None = None
    within: DurationText | None = None


class Exit(Model):
    """A signal that ends the run as `exited`, at once."""

    on: SignalName
    when: Cel | None = None


class Journey(Reacting):
    """One journey: what opens it, its states, what stops it. Design §2 has the semantics."""

    journey: Name
    title: Text | None = None
    subject: Literal["user", "account"] = "user"
    case: Name | None = None
    moment: Name | None = None
    handoff: Handoff | None = None
    entry: Entry
    goal: Goal | None = None
    exit: Annotated[tuple[Exit, ...], BeforeValidator(_listed, json_schema_input_type=Exit | list[Exit])] = ()
    priority: Priority = "lifecycle"
    topic: Name | None = None
    in_flight: Literal["pin"] = "pin"
    variables: dict[Name, VariableType] = {}
    start: Name
    states: Annotated[dict[Name, State], Field(min_length=1, max_length=200)]


def canonical(journey: Journey) -> str:
    """The one JSON text of a definition: authored order kept (it decides ties), defaults left out."""
    return json.dumps(
        journey.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        separators=(",", ":"),
        ensure_ascii=False,
    )


def content_hash(text: str) -> str:
    """The address of a definition, `key@hash`: 16 hex digits of the SHA-256 of its canonical text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
