"""A journey as its author writes it: a statechart in data. Nothing here runs; `chart.py` makes it runnable."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from journeys.language.actions import (
    Actions,
    Cel,
    DurationText,
    Model,
    Name,
    Priority,
    Send,
    SignalName,
    Text,
    VariableType,
    listed,
)

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
    return [{"to": item} if isinstance(item, str) else item for item in listed(value)]


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
Anchors = Annotated[tuple[Anchor, ...], BeforeValidator(listed, json_schema_input_type=Anchor | list[Anchor])]
Signals = Annotated[
    tuple[SignalName, ...],
    BeforeValidator(listed, json_schema_input_type=SignalName | list[SignalName]),
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
    exit: Annotated[tuple[Exit, ...], BeforeValidator(listed, json_schema_input_type=Exit | list[Exit])] = ()
    priority: Priority = "lifecycle"
    topic: Name | None = None
    in_flight: Literal["pin"] = "pin"
    variables: dict[Name, VariableType] = {}
    start: Name
    states: Annotated[dict[Name, State], Field(min_length=1, max_length=200)]

    def topic_of(self, send: Send) -> str | None:
        """The consent topic of one message: its own, else the journey's."""
        return send.topic or self.topic

    def priority_of(self, send: Send) -> Priority:
        """How pressing one message is: its own word, else the journey's."""
        return send.priority or self.priority


def canonical_json(journey: Journey) -> str:
    """The one JSON text of a definition: authored order kept (it decides ties), defaults left out."""
    return json.dumps(
        journey.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        separators=(",", ":"),
        ensure_ascii=False,
    )


def content_hash(text: str) -> str:
    """The address of a definition, `key@hash`: 16 hex digits of the SHA-256 of its canonical text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
