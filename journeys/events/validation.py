"""Validate events against a precompiled table of signals and properties.

Thousands of events a second pass here, so tables are compiled once and no pydantic model is involved.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from journeys.fields.value_types import READERS, UNREADABLE, PropertyType, ValueReader
from journeys.language.signal_names import RESERVED_PREFIX

FaultCode = Literal["unknown_event", "reserved_name", "sender_not_allowed", "missing_property", "wrong_type"]


@dataclass(frozen=True, slots=True)
class PlanFault:
    """One reason for the quarantine; `property` is empty if it concerns the whole event."""

    code: FaultCode
    property: str
    what: str


@dataclass(frozen=True, slots=True)
class ValidEvent:
    """An event that fits the plan: declared properties coerced to their types, others as they came."""

    signal: str
    properties: dict[str, Any]


@dataclass(frozen=True, slots=True)
class InvalidEvent:
    """An event that does not fit the plan; `signal` is the one it would be, if that is known."""

    faults: tuple[PlanFault, ...]
    signal: str | None = None

    @property
    def sentences(self) -> tuple[str, ...]:
        """The faults as the quarantine shows them."""
        return tuple(fault.what for fault in self.faults)


ValidatedEvent = ValidEvent | InvalidEvent


@dataclass(frozen=True, slots=True)
class _Rule:
    """A match of events to a signal: required values, and the properties."""

    signal: str
    where: tuple[tuple[str, Any], ...]
    fields: tuple[tuple[str, str, str, bool, ValueReader], ...]
    """For each property: our name, the tool's name, type, required, coercion."""


Declared = tuple[Iterable[tuple[str, Mapping[str, Any], Mapping[str, str]]], Mapping[str, tuple[PropertyType, bool]]]


@dataclass(frozen=True, slots=True)
class EventTable:
    """Rules by the event's name, in the plan's order."""

    rules: Mapping[str, tuple[_Rule, ...]]

    @classmethod
    def of(cls, signals: Mapping[str, Declared]) -> EventTable:
        """Compile, for each signal, its raw events (name, where, rename) and properties (type, required)."""
        rules: dict[str, list[_Rule]] = {}
        for signal, (raws, properties) in signals.items():
            for event, where, rename in raws:
                rules.setdefault(event, []).append(_rule(signal, where, rename, properties))
        for signal, (_, properties) in signals.items():
            rules.setdefault(signal, []).insert(0, _rule(signal, {}, {}, properties))
        return cls({name: tuple(items) for name, items in rules.items()})

    def check(self, name: str, properties: Mapping[str, Any]) -> ValidatedEvent:
        """The signal of an event, or every fault. Never raises."""
        for rule in self.rules.get(name, ()):
            if all(properties.get(key) == value for key, value in rule.where):
                return _fit(rule, properties)
        return InvalidEvent((self._unknown(name),))

    def _unknown(self, name: str) -> PlanFault:
        if name.startswith(RESERVED_PREFIX):
            return PlanFault(
                "reserved_name", "", f"names that begin with {RESERVED_PREFIX} are reserved for the platform"
            )
        if name in self.rules:
            return PlanFault("unknown_event", "", f"{name[:80]!r} is in the tracking plan, but not with these values")
        return PlanFault("unknown_event", "", f"{name[:80]!r} is not in the tracking plan")


def _rule(
    signal: str,
    where: Mapping[str, Any],
    rename: Mapping[str, str],
    properties: Mapping[str, tuple[PropertyType, bool]],
) -> _Rule:
    fields = tuple(
        (name, rename.get(name, name), kind, required, READERS[kind]) for name, (kind, required) in properties.items()
    )
    return _Rule(signal, tuple(where.items()), fields)


def _fit(rule: _Rule, properties: Mapping[str, Any]) -> ValidatedEvent:
    kept = dict(properties)
    faults: list[PlanFault] = []
    for name, raw, kind, required, coerce in rule.fields:
        value = kept.pop(raw, None) if raw != name else kept.get(name)
        if value is None:
            kept.pop(name, None)
            if required:
                faults.append(PlanFault("missing_property", raw, f"{raw} is missing"))
            continue
        coerced = coerce(value)
        if coerced is UNREADABLE:
            faults.append(PlanFault("wrong_type", raw, f"{raw} is not a {kind}"))
        else:
            kept[name] = coerced
    return InvalidEvent(tuple(faults), rule.signal) if faults else ValidEvent(rule.signal, kept)
