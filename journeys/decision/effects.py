"""Effects, log lines and decisions: the frozen results of `decide`.

The step's activity applies each effect exactly once; every instant is aware UTC.
"""

from __future__ import annotations

from dataclasses import field
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from journeys.decision.state import RunState
from journeys.frozen import frozen


@frozen
class SendMessage:
    """A message for the gate. `stands`: sent on entering a final state, so the run's end does not withdraw it.

    With `withheld` it is not for the gate: the run itself withholds it, for this reason. It has no outcome.
    """

    action: str
    template: str
    via: tuple[str, ...]
    state: str
    visit: int
    firing: int
    at: datetime
    priority: str
    topic: str | None = None
    roles: tuple[str, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)
    expires_at: datetime | None = None
    stands: bool = False
    withheld: str = ""
    kind: Literal["send"] = "send"


@frozen
class OpenedTask:
    """A task for a person, due at `due_at`, or once its assignee has worked for `within` (ISO 8601)."""

    action: str
    task: str
    owner: str
    state: str
    visit: int
    firing: int
    at: datetime
    due_at: datetime | None = None
    escalate: tuple[str, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)
    within: str | None = None
    kind: Literal["task"] = "task"


@frozen
class ClosedTask:
    """Close an open task: its state was left, the run ended, or a `close` action ran."""

    action: str
    reason: str
    at: datetime
    kind: Literal["close_task"] = "close_task"


@frozen
class EscalatedTask:
    """Give an overdue task to `owner`, with a new deadline if there is one (C10); `level` counts from 1."""

    action: str
    owner: str
    level: int
    at: datetime
    due_at: datetime | None = None
    kind: Literal["escalate_task"] = "escalate_task"


@frozen
class ChangedAudience:
    """Add the subject to an audience, or remove them."""

    audience: str
    change: Literal["add", "remove"]
    at: datetime
    kind: Literal["audience"] = "audience"


@frozen
class EmittedSignal:
    """A signal for the subject; `key` is its idempotency key within the run, `item` its place in `for_each`.

    `nth` tells it from other emissions of its signal in its state. `action` is empty for one that an older version recorded.
    """

    name: str
    key: str
    at: datetime
    data: dict[str, Any] = field(default_factory=dict)
    state: str = ""
    visit: int = 0
    action: str = ""
    item: int | None = None
    nth: int = 0
    kind: Literal["emit"] = "emit"


@frozen
class WithdrawnMessages:
    """Withdraw queued messages: of one visit, or of the whole run when `visit` is None."""

    reason: str
    at: datetime
    state: str | None = None
    visit: int | None = None
    kind: Literal["withdraw"] = "withdraw"


@frozen
class Finished:
    """The run has ended with this outcome."""

    outcome: str
    at: datetime
    kind: Literal["finish"] = "finish"


Effect = Annotated[
    SendMessage
    | OpenedTask
    | ClosedTask
    | EscalatedTask
    | ChangedAudience
    | EmittedSignal
    | WithdrawnMessages
    | Finished,
    Field(discriminator="kind"),
]

LogKind = Literal[
    "entered",
    "moved",
    "acted",
    "fired",
    "spent",
    "guard",
    "armed",
    "held",
    "paused",
    "resumed",
    "facts",
    "finished",
    "ignored",
    "gate",
    "withdrawn",
    "late",
]


@frozen
class LogLine:
    """One sentence of the explanation: what was decided at `at`, and why. `about` is the state, signal or action."""

    at: datetime
    kind: LogKind
    about: str
    text: str


@frozen
class Decision:
    """The next state, the effects to apply, and the explanation."""

    state: RunState
    effects: tuple[Effect, ...] = ()
    log: tuple[LogLine, ...] = ()


_EFFECTS: TypeAdapter[tuple[Effect, ...]] = TypeAdapter(tuple[Effect, ...])
_LOG: TypeAdapter[tuple[LogLine, ...]] = TypeAdapter(tuple[LogLine, ...])


def effects_to_json(effects: tuple[Effect, ...]) -> list[dict[str, Any]]:
    """Effects as JSON values; `kind` is always there, other defaults are left out."""
    dumped: list[dict[str, Any]] = list(_EFFECTS.dump_python(effects, mode="json", exclude_defaults=True))
    return [{"kind": effect.kind} | value for effect, value in zip(effects, dumped, strict=True)]


def effects_from_json(values: list[dict[str, Any]]) -> tuple[Effect, ...]:
    """The inverse of `effects_to_json`. Raises pydantic's ValidationError."""
    return _EFFECTS.validate_python(values)


def log_to_json(log: tuple[LogLine, ...]) -> list[dict[str, Any]]:
    """Log lines as JSON values."""
    return list(_LOG.dump_python(log, mode="json"))


def log_from_json(values: list[dict[str, Any]]) -> tuple[LogLine, ...]:
    """The inverse of `log_to_json`. Raises pydantic's ValidationError."""
    return _LOG.validate_python(values)


def message_key(run: str, effect: SendMessage, recipient: str) -> str:
    """The idempotency key of one message to one person; no run id of Temporal is in it."""
    return f"{run}#{effect.state}.{effect.visit}/{effect.action}.{effect.firing}>{recipient}"


def recipient_of(key: str) -> str:
    """The recipient in a message's key; empty where the key has none."""
    return key.rpartition(">")[2] if ">" in key else ""


def task_request(state: str, visit: int, action: str, firing: int) -> str:
    """The id of one request for a task, unique within its run."""
    return f"{state}.{visit}/{action}.{firing}"


def task_key(run: str, effect: OpenedTask) -> str:
    """The idempotency key of one task."""
    return f"{run}#{task_request(effect.state, effect.visit, effect.action, effect.firing)}"
