"""TrackingPlan: signals with their properties and sources, and fields of profiles and accounts (S8).

It types conditions at publication, and gives ingestion the table that every event is validated against (Q1).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints

from journeys.events.validation import EventTable, ValidatedEvent
from journeys.language.actions import Model, Name, Scalar, Text
from journeys.language.definition import Journey
from journeys.language.outcome_signals import outcome_fields
from journeys.language.parsing import read_model
from journeys.language.problems import Path, Problem, problem, sorted_problems
from journeys.language.source import YamlSource

FieldName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
PlanSignal = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
PropertyType = Literal["string", "int", "double", "bool", "timestamp", "strings"]
SignalKind = Literal["behaviour", "intent", "support", "decline", "commercial", "people", "feedback", "journey"]
MAX_PLAN_BYTES = 1024 * 1024
RawName = Annotated[str, StringConstraints(min_length=1, max_length=200)]


def _property(value: Any) -> Any:
    """`total: double` is a required property, `coupon: string?` an optional one."""
    if not isinstance(value, str):
        return value
    return {"type": value.removesuffix("?"), "required": not value.endswith("?")}


def _raw(value: Any) -> Any:
    items = value if isinstance(value, list | tuple) else [value]
    return [{"event": item} if isinstance(item, str) else item for item in items]


def _typed(value: Any) -> Any:
    return {"type": value} if isinstance(value, str) else value


class Property(Model):
    """A property of a signal's events."""

    type: PropertyType
    required: bool = True
    description: Text | None = None


class Raw(Model):
    """A tool's event that is this signal if its properties equal `where`; `rename` maps our names to the tool's."""

    event: RawName
    where: dict[RawName, Scalar] = {}
    rename: dict[FieldName, RawName] = {}


Properties = dict[FieldName, Annotated[Property, BeforeValidator(_property, json_schema_input_type=str | Property)]]


class PlannedSignal(Model):
    """A signal (S1–S7): its kind, source, raw events and properties."""

    description: Text | None = None
    kind: SignalKind = "behaviour"
    source: Name
    from_: Annotated[
        tuple[Raw, ...],
        BeforeValidator(_raw, json_schema_input_type=RawName | Raw | list[RawName | Raw]),
        Field(alias="from"),
    ] = ()
    properties: Properties = {}


class PlannedField(Model):
    """A field of profiles or accounts; `personal` marks data about a person."""

    type: PropertyType
    personal: bool = False
    source: Name | None = None
    description: Text | None = None


Fields = dict[FieldName, Annotated[PlannedField, BeforeValidator(_typed, json_schema_input_type=str | PlannedField)]]


class TrackingPlan(Model):
    """The content of `catalog/tracking-plan.yaml`. An event may have a signal's own name or a tool's."""

    version: Annotated[int, Field(ge=1)] = 1
    sources: dict[Name, Text] = {}
    roles: tuple[Name, ...] = ()
    profile: Fields = {}
    account: Fields = {}
    signals: dict[PlanSignal, PlannedSignal] = {}

    @cached_property
    def vocabulary(self) -> Mapping[str, str]:
        """The types of all fields by dotted name: `profile.x`, `account.x`, `event.<signal>.<property>`."""
        types = {f"profile.{name}": item.type for name, item in self.profile.items()}
        types |= {f"account.{name}": item.type for name, item in self.account.items()}
        for signal, planned in self.signals.items():
            types |= {f"event.{signal}.{name}": item.type for name, item in planned.properties.items()}
        return types

    def types(self, journey: Journey | None = None) -> dict[str, str]:
        """The vocabulary, with the properties of a journey's outcome signals (`event.call.closed.outcome`, …)."""
        return {**self.vocabulary, **(outcome_fields(journey) if journey is not None else {})}

    @cached_property
    def events(self) -> EventTable:
        """The precompiled table that events are validated against."""
        return EventTable.of(
            {
                name: (
                    [(raw.event, raw.where, raw.rename) for raw in signal.from_],
                    {key: (item.type, item.required) for key, item in signal.properties.items()},
                )
                for name, signal in self.signals.items()
            }
        )


def check_event(plan: TrackingPlan, name: str, properties: Mapping[str, Any]) -> ValidatedEvent:
    """The signal of an event with its properties coerced, or every fault for the quarantine. Never raises."""
    return plan.events.check(name, properties)


def read_plan(text: str | bytes) -> tuple[TrackingPlan | None, YamlSource]:
    """A tracking plan from YAML or JSON, or None with every problem at its line in `source.problems`."""
    plan, source = read_model(text, TrackingPlan, MAX_PLAN_BYTES)
    if plan is not None:
        source.problems = sorted_problems([*_ambiguous_events(plan, source), *_undeclared_sources(plan, source)])
    return (plan if not source.problems else None), source


def _ambiguous_events(plan: TrackingPlan, source: YamlSource) -> Iterator[Problem]:
    """The first signal that matches an event gets it, so an earlier one must not match all events of a later one."""
    seen: dict[str, list[tuple[str, Mapping[str, Scalar]]]] = {name: [(name, {})] for name in plan.signals}
    for name, signal in plan.signals.items():
        for index, raw in enumerate(signal.from_):
            path = source.written(("signals", name, "from", index))
            for other, where in seen.setdefault(raw.event, []):
                if other != name and where.items() <= raw.where.items():
                    text = f"{raw.event!r} is already an event of {other}"
                    yield problem("T701", path, text, at=source.position(path))
            seen[raw.event].append((name, raw.where))


def _undeclared_sources(plan: TrackingPlan, source: YamlSource) -> Iterator[Problem]:
    named: list[tuple[Path, str | None]] = [(("signals", name, "source"), s.source) for name, s in plan.signals.items()]
    for scope, fields in (("profile", plan.profile), ("account", plan.account)):
        named += [((scope, name, "source"), field.source) for name, field in fields.items()]
    for path, name in named:
        if name is not None and name not in plan.sources:
            yield problem("T702", path, f"{name} is not one of the sources", at=source.position(path))
