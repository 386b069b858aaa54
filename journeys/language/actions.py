"""What a state or a transition does, as its author writes it; and the names and values that definitions are made of."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, StringConstraints, Tag

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
SignalName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_.:/-]{0,159}$")]
"""Of the tracking plan, or the outcome of an action: `checklist.sent`, `send:setup/checklist.sent`."""
TemplateName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]*(/[a-z][a-z0-9_-]*){0,3}$", max_length=128)]
Cel = Annotated[str, StringConstraints(min_length=1, max_length=2000)]
DurationText = Annotated[str, StringConstraints(min_length=1, max_length=500)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=500)]
ChannelName = Literal["email", "in_app", "sms", "push", "chat", "webhook", "support", "webinar", "apprise"]
Priority = Literal["urgent_support", "transactional", "lifecycle", "promotional"]
Scalar = str | int | float | bool
VariableType = Literal["string", "int", "double", "bool", "timestamp"]


class Model(BaseModel):
    """Frozen and strict about keys: a misspelt key is a problem, never a silent nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def listed(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


class Send(Model):
    """A message. `via` is a preference: the first channel with consent and an address carries it.

    `topic` and `priority` are the journey's where they are left out.
    """

    send: TemplateName
    name: Name | None = None
    via: Annotated[
        tuple[ChannelName, ...],
        BeforeValidator(listed, json_schema_input_type=ChannelName | list[ChannelName]),
        Field(min_length=1),
    ] = ("email",)
    for_: Annotated[
        tuple[Name, ...], BeforeValidator(listed, json_schema_input_type=Name | list[Name]), Field(alias="for")
    ] = ()
    topic: Name | None = None
    priority: Priority | None = None
    data: dict[Name, Cel] = {}
    when: Cel | None = None
    expires: DurationText | None = None


class Task(Model):
    """Work for a person. Leaving the state withdraws it; its deadline passing escalates it (C10).

    `sla` is time as it passes, `within` is working time of whoever has it (`PT4H`); one of the two.
    """

    task: Name
    name: Name | None = None
    owner: Name | None = None
    sla: DurationText | None = None
    within: DurationText | None = None
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
Actions = Annotated[tuple[Action, ...], BeforeValidator(listed, json_schema_input_type=Action | list[Action])]


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


PRIORITIES: tuple[Priority, ...] = ("urgent_support", "transactional", "lifecycle", "promotional")
CALM: tuple[Priority, ...] = ("lifecycle", "promotional")
"""What may wait. Urgent support and transactional messages go first, so no rule holds them unless it names them."""
PRESSING: tuple[Priority, ...] = ("urgent_support", "transactional")
