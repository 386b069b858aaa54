"""TrackingPlan: signals with their properties and sources, and fields of profiles and accounts (S8).

It types conditions at publication, and gives ingestion the table that every event is validated against (Q1).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, StringConstraints

from journeys.events.id_rule import IdRule
from journeys.events.plan_shorthand import field_of, property_of, raw_events
from journeys.events.validation import EventTable, ValidatedEvent
from journeys.fields.table import FieldTable, names_of_two
from journeys.fields.value_types import PropertyType
from journeys.language.actions import Model, Name, Scalar, Text, listed
from journeys.language.definition import Journey
from journeys.language.outcome_signals import outcome_fields
from journeys.language.parsing import read_model
from journeys.language.problems import Path, Problem, problem, sorted_problems
from journeys.language.signal_names import PLATFORM_SIGNALS, PROVIDER_SIGNALS
from journeys.language.source import YamlSource

FieldName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
PlanSignal = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
SignalKind = Literal["behaviour", "intent", "support", "decline", "commercial", "people", "feedback", "journey"]
MAX_PLAN_BYTES = 1024 * 1024
RawName = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Writers = Annotated[tuple[Name, ...], BeforeValidator(listed, json_schema_input_type=Name | list[Name])]
"""Sources whose keys alone may write a signal or field; of none, every key that may write it at all."""
PLATFORM_SOURCES: Final = frozenset({"tenure", "consent", "journeys"})
"""Sources of signals that Tenure and its journeys emit."""
PROVIDER_SOURCE: Final = "provider"
"""The source of signals that providers report by webhook."""
ROLE: Final = "role"
"""The field of a person's role in their account."""


class Origin(StrEnum):
    """The senders of a signal: the platform alone, providers' webhooks (and operators), or the company's own tools."""

    PLATFORM = "platform"
    PROVIDER = "provider"
    COMPANY = "company"


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


Properties = dict[FieldName, Annotated[Property, BeforeValidator(property_of, json_schema_input_type=str | Property)]]


class PlannedSignal(Model):
    """A signal (S1–S7): its kind, source, raw events and properties.

    `public`: a public key may send it. `writers`: sources whose keys alone may send it.
    """

    description: Text | None = None
    kind: SignalKind = "behaviour"
    source: Name
    from_: Annotated[
        tuple[Raw, ...],
        BeforeValidator(raw_events, json_schema_input_type=RawName | Raw | list[RawName | Raw]),
        Field(alias="from"),
    ] = ()
    properties: Properties = {}
    public: bool = False
    writers: Writers = ()


class PlannedField(Model):
    """A field of profiles or accounts; `personal` marks data about a person, `public` and `writers` as for a signal.

    `from` are names of traits that senders give it, beside its own; `company.name` is the member of an object.
    """

    type: PropertyType
    from_: Annotated[
        tuple[RawName, ...],
        BeforeValidator(listed, json_schema_input_type=RawName | list[RawName]),
        Field(alias="from"),
    ] = ()
    personal: bool = False
    public: bool = False
    writers: Writers = ()
    source: Name | None = None
    description: Text | None = None


Fields = dict[FieldName, Annotated[PlannedField, BeforeValidator(field_of, json_schema_input_type=str | PlannedField)]]


class TrackingPlan(Model):
    """The content of `catalog/tracking-plan.yaml`. An event may have a signal's own name or a tool's.

    `placeholder_ids` name nobody, beside those of every plan.
    """

    version: Annotated[int, Field(ge=1)] = 1
    ids: IdRule = "refuse"
    placeholder_ids: tuple[RawName, ...] = ()
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

    def origin(self, signal: str) -> Origin:
        """Who sends a signal. The names that Tenure emits or reads from webhooks have one origin in every plan."""
        planned = self.signals.get(signal)
        source = planned.source if planned is not None else ""
        if signal in PLATFORM_SIGNALS or source in PLATFORM_SOURCES:
            return Origin.PLATFORM
        return Origin.PROVIDER if signal in PROVIDER_SIGNALS or source == PROVIDER_SOURCE else Origin.COMPANY

    @cached_property
    def traits(self) -> FieldTable:
        """The precompiled table that traits are read by."""
        return FieldTable.of({"profile": _named(self.profile), "account": _named(self.account)})

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


def _named(fields: Fields) -> list[tuple[str, PropertyType, tuple[str, ...]]]:
    return [(name, field.type, field.from_) for name, field in fields.items()]


def check_event(plan: TrackingPlan, name: str, properties: Mapping[str, Any]) -> ValidatedEvent:
    """The signal of an event with its properties coerced, or every fault for the quarantine. Never raises."""
    return plan.events.check(name, properties)


def read_plan(text: str | bytes) -> tuple[TrackingPlan | None, YamlSource]:
    """A tracking plan from YAML or JSON, or None with every problem at its line in `source.problems`."""
    plan, source = read_model(text, TrackingPlan, MAX_PLAN_BYTES)
    if plan is not None:
        checks = (_ambiguous_events, _ambiguous_traits, _undeclared_sources, _wrong_marks)
        source.problems = sorted_problems([fault for check in checks for fault in check(plan, source)])
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


def _ambiguous_traits(plan: TrackingPlan, source: YamlSource) -> Iterator[Problem]:
    for section, fields in (("profile", plan.profile), ("account", plan.account)):
        for name, index, other in names_of_two({name: field.from_ for name, field in fields.items()}):
            path, text = source.written((section, name, "from", index)), f"is already a trait of {other}"
            yield problem("T705", path, f"{fields[name].from_[index]!r} {text}", at=source.position(path))


def _undeclared_sources(plan: TrackingPlan, source: YamlSource) -> Iterator[Problem]:
    named: list[tuple[Path, str | None]] = []
    for path, marked in _marked(plan):
        named.append(((*path, "source"), marked.source))
        named += [((*path, "writers"), writer) for writer in marked.writers]
    for path, name in named:
        if name is not None and name not in plan.sources:
            yield problem("T702", path, f"{name} is not one of the sources", at=source.position(path))


def _marked(plan: TrackingPlan) -> Iterator[tuple[Path, PlannedSignal | PlannedField]]:
    yield from ((("signals", name), signal) for name, signal in plan.signals.items())
    yield from ((("profile", name), field) for name, field in plan.profile.items())
    yield from ((("account", name), field) for name, field in plan.account.items())


def _wrong_marks(plan: TrackingPlan, source: YamlSource) -> Iterator[Problem]:
    """`public` on what no public key may write, and a signal of Tenure's own with a source that means other senders."""
    for path, marked in _marked(plan):
        section, name = str(path[0]), str(path[1])
        at = (*path, "public")
        if marked.public and (section == "account" or (section, name) == ("profile", ROLE)):
            yield problem("T703", at, f"{name} is not a field that a public key may write", at=source.position(at))
        if section != "signals":
            continue
        origin = plan.origin(name)
        if marked.public and origin is not Origin.COMPANY:
            yield problem("T703", at, f"{name} is a signal of the {origin}", at=source.position(at))
        at = (*path, "source")
        if name in PLATFORM_SIGNALS and marked.source not in PLATFORM_SOURCES:
            text = f"Tenure emits {name}; its source is one of {', '.join(sorted(PLATFORM_SOURCES))}"
            yield problem("T704", at, text, at=source.position(at))
        elif name in PROVIDER_SIGNALS and marked.source != PROVIDER_SOURCE:
            text = f"webhooks report {name}; its source is {PROVIDER_SOURCE}"
            yield problem("T704", at, text, at=source.position(at))
