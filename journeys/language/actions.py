"""Models of actions, and the constrained names and values of definitions.

An action has exactly one of the keys `send`, `task`, `close`, `set`, `emit`, `audience`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, StringConstraints, Tag

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
SignalName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_.:/-]{0,159}$")]
"""A signal of the tracking plan, or the outcome of an action: `checklist.sent`, `send:setup/checklist.sent`."""
TemplateName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]*(/[a-z][a-z0-9_-]*){0,3}$", max_length=128)]
Cel = Annotated[str, StringConstraints(min_length=1, max_length=2000)]
DurationText = Annotated[str, StringConstraints(min_length=1, max_length=500)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=500)]
ChannelName = Literal["email", "in_app", "sms", "push", "chat", "webhook", "support", "webinar", "apprise"]
Priority = Literal["urgent_support", "transactional", "lifecycle", "promotional"]
Scalar = str | int | float | bool
VariableType = Literal["string", "int", "double", "bool", "timestamp"]


class Model(BaseModel):
    """Frozen, and a key that is not declared is a problem."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def listed(value: Any) -> Any:
    """A single value as a list of one."""
    return value if isinstance(value, list | tuple) else [value]


class Send(Model):
    """Send a message by the first channel of `via` with consent and an address, to the account roles in `for`.

    `topic` and `priority` default to the journey's. A message not sent within `expires` is withheld.
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
    """Open a task for a person. Leaving the state closes it; a missed deadline escalates it (C10).

    The deadline is `sla`, in elapsed time, or `within`, in working time of its assignee (`PT4H`).
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
    """Set variables of the run; conditions read them as `journey.<name>`."""

    set: Annotated[dict[Name, Cel], Field(min_length=1)]
    when: Cel | None = None


class Emit(Model):
    """Emit a signal to the subject, or one for each value of the list `for_each`, read as `item` in `data`."""

    emit: SignalName
    for_each: Cel | None = None
    data: dict[Name, Cel] = {}
    when: Cel | None = None


class Audience(Model):
    """Add the subject to an audience of an advertising or messaging tool, or remove them."""

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
    """The kind by its key, so that pydantic reports the faults of this kind alone."""
    if isinstance(value, Model):
        return type(value).__name__
    kinds = [kind for key, kind in _KINDS.items() if isinstance(value, dict) and key in value]
    return kinds[0] if len(kinds) == 1 else None


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
    """The stable name in keys, metrics and outcomes: its `name`, else `send:<template>`, the task, `set:<names>`, …"""
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
"""Priorities that rules hold by default; urgent support and transactional only if a rule names them (C6)."""
PRESSING: tuple[Priority, ...] = ("urgent_support", "transactional")
