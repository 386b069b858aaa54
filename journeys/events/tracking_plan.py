"""The tracking plan: which signals there are, what each carries, where it comes from, and what is known of people (S8).

It gives conditions their types at publication, and ingestion a table to test every event against (Q1).
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
LARGEST_PLAN = 1024 * 1024
RawName = Annotated[str, StringConstraints(min_length=1, max_length=200)]


def _property(value: Any) -> Any:
    """`total: double` is required, `coupon: string?` is optional."""
    if not isinstance(value, str):
        return value
    return {"type": value.removesuffix("?"), "required": not value.endswith("?")}


def _raw(value: Any) -> Any:
    items = value if isinstance(value, list | tuple) else [value]
    return [{"event": item} if isinstance(item, str) else item for item in items]


def _typed(value: Any) -> Any:
    return {"type": value} if isinstance(value, str) else value


class Property(Model):
    """What an event of this signal carries under one name."""

    type: PropertyType
    required: bool = True
    description: Text | None = None


class Raw(Model):
    """An event of a real tool that means this signal: when `where` holds, with `rename` from our name to the tool's."""

    event: RawName
    where: dict[RawName, Scalar] = {}
    rename: dict[FieldName, RawName] = {}


Properties = dict[FieldName, Annotated[Property, BeforeValidator(_property, json_schema_input_type=str | Property)]]


class PlannedSignal(Model):
    """One signal of S1 to S7: what it tells, who sends it, and under which names."""

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
    """A field of the profile or the account; `personal` fields never leave the store unasked."""

    type: PropertyType
    personal: bool = False
    source: Name | None = None
    description: Text | None = None


Fields = dict[FieldName, Annotated[PlannedField, BeforeValidator(_typed, json_schema_input_type=str | PlannedField)]]


class TrackingPlan(Model):
    """`catalog/tracking-plan.yaml`. Signals may be named by their own name as well as by a tool's."""

    version: Annotated[int, Field(ge=1)] = 1
    sources: dict[Name, Text] = {}
    roles: tuple[Name, ...] = ()
    profile: Fields = {}
    account: Fields = {}
    signals: dict[PlanSignal, PlannedSignal] = {}

    @cached_property
    def vocabulary(self) -> Mapping[str, str]:
        """The flat mapping that conditions are typed by: `profile.x`, `account.x`, `event.<signal>.<property>`."""
        found = {f"profile.{name}": item.type for name, item in self.profile.items()}
        found |= {f"account.{name}": item.type for name, item in self.account.items()}
        for signal, planned in self.signals.items():
            found |= {f"event.{signal}.{name}": item.type for name, item in planned.properties.items()}
        return found

    def types(self, journey: Journey | None = None) -> dict[str, str]:
        """The vocabulary, and with a journey also the fields of its own actions' outcomes (`call.closed`, …)."""
        return {**self.vocabulary, **(outcome_fields(journey) if journey is not None else {})}

    @cached_property
    def events(self) -> EventTable:
        """The precompiled table that events are tested against."""
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
    """Which signal an event means, with its properties coerced; or every fault, for the quarantine. Never raises."""
    return plan.events.check(name, properties)


def read_plan(text: str | bytes) -> tuple[TrackingPlan | None, YamlSource]:
    """A tracking plan from YAML or JSON; or None, with every problem at its line in `source.problems`."""
    plan, source = read_model(text, TrackingPlan, LARGEST_PLAN)
    if plan is not None:
        source.problems = sorted_problems([*_ambiguous(plan, source), *_sourceless(plan, source)])
    return (plan if not source.problems else None), source


def _ambiguous(plan: TrackingPlan, source: YamlSource) -> Iterator[Problem]:
    """An event is given to the first signal that takes it, so an earlier one must not take all of a later one's."""
    seen: dict[str, list[tuple[str, Mapping[str, Scalar]]]] = {name: [(name, {})] for name in plan.signals}
    for name, signal in plan.signals.items():
        for index, raw in enumerate(signal.from_):
            path = source.written(("signals", name, "from", index))
            for other, where in seen.setdefault(raw.event, []):
                if other != name and where.items() <= raw.where.items():
                    what = f"{raw.event!r} already means {other}"
                    yield problem("T701", path, what, at=source.position(path))
            seen[raw.event].append((name, raw.where))


def _sourceless(plan: TrackingPlan, source: YamlSource) -> Iterator[Problem]:
    named: list[tuple[Path, str | None]] = [(("signals", name, "source"), s.source) for name, s in plan.signals.items()]
    for scope, fields in (("profile", plan.profile), ("account", plan.account)):
        named += [((scope, name, "source"), field.source) for name, field in fields.items()]
    for path, name in named:
        if name is not None and name not in plan.sources:
            yield problem("T702", path, f"{name} is not one of the sources", at=source.position(path))
