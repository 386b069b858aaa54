"""The model of a journey definition: a statechart as data.

Pydantic models of the YAML; `decision/compiler.py` makes a Chart of them. docs/journey-language.md has the semantics.
"""

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
    """`to` leaves the state and enters its target, even the same one; without `to` it is internal: the visit goes on."""

    to: Name | None = None
    when: Cel | None = None
    do: Actions = ()


class OnSignal(Transition):
    """`lookback` also takes a signal that came so long before the state was entered and that no transition consumed."""

    lookback: DurationText | None = None


class Repeat(Transition):
    """A timer that fires repeatedly within the visit, at most `times` times."""

    times: Annotated[int, Field(ge=1, le=10_000)] | None = None


class Anchor(Transition):
    """A timer at a date of the subject; it moves when the date moves.

    `past` decides about a date that has passed already: `act` at once, `skip` it, or wait for the `next` of `every`.
    `tolerance` is the largest correction of a date after which the timer does not act again.
    """

    date: Cel
    before: DurationText | None = None
    after: DurationText | None = None
    past: Literal["act", "skip", "next"] = "skip"
    every: DurationText | None = None
    tolerance: DurationText | None = None
    name: Name | None = None


def _transitions(value: Any) -> Any:
    """A bare string is a target; of a list, the first transition with a true guard is taken."""
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
    """Reactions to signals, time and dates: of a state, or of the journey in every state."""

    on: dict[SignalName, SignalTransitions] = {}
    after: dict[DurationText, TimerTransitions] = {}
    every: dict[DurationText, RepeatTransition] = {}
    at: Anchors = ()


class State(Reacting):
    """A state. `do` runs on entry; `final` ends the run with that outcome after it."""

    milestone: Name | None = None
    owner: Name | None = None
    do: Actions = ()
    final: Name | None = None


# -- the journey -----------------------------------------------------------------------------------------------------


class Handoff(Model):
    """The author's parts of a handoff (H1); product state and next milestone come from the run."""

    from_: Annotated[Name, Field(alias="from")]
    to: Name
    intent: Cel | None = None
    promise: Cel | None = None
    owner: Name | None = None


class Again(Model):
    """Re-entry is allowed so long `after` the last run ended."""

    after: DurationText


class EntryLookback(Model):
    """How long before the entry the journey's `goal`, and its exits, may have come so that no run begins."""

    goal: DurationText = "PT10M"
    exit: DurationText | None = None


class Entry(Model):
    """The signals that open a run, their guard, and whether a subject may enter again.

    No run begins if the goal came at most `lookback` before. An event that is older than `max_age` is history: it opens none.
    """

    on: Signals
    when: Cel | None = None
    again: Literal["never", "always"] | Again = "never"
    lookback: DurationText | EntryLookback = "PT10M"
    max_age: DurationText = "P2D"

    @property
    def lookbacks(self) -> EntryLookback:
        """`lookback` for goal and exits; a duration alone is for the goal."""
        return EntryLookback(goal=self.lookback) if isinstance(self.lookback, str) else self.lookback


class Goal(Model):
    """A goal signal ends the run as `reached`; `within` passing first ends it as `missed`."""

    on: Signals
    when: Cel | None = None
    within: DurationText | None = None


class Exit(Model):
    """A signal that ends the run at once, as `exited`."""

    on: SignalName
    when: Cel | None = None


class Journey(Reacting):
    """A journey: entry, states, goal and exits."""

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
        """The priority of one message: its own, else the journey's."""
        return send.priority or self.priority


def canonical_json(journey: Journey) -> str:
    """The canonical JSON of a definition: authored order kept (it decides ties), defaults left out."""
    return json.dumps(
        journey.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        separators=(",", ":"),
        ensure_ascii=False,
    )


def content_hash(text: str) -> str:
    """The address of a definition, `key@hash`: 16 hex digits of the SHA-256 of its canonical text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
