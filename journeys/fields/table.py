"""FieldTable: traits of identify and group calls read as fields of the tracking plan.

A trait is read by its field's own name, else by the first of its `from` names; an unreadable value changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from journeys.calendar.zone_names import canonical_zone
from journeys.fields.value_types import READERS, UNREADABLE, PropertyType, ValueReader

FieldOwner = Literal["profile", "account"]
ZONE: Final = "timezone"
LOCALE: Final = "locale"
_DATE: Final = len("2026-12-31")
_MISSING: Final = object()
DeclaredFields = Iterable[tuple[str, PropertyType, tuple[str, ...]]]
"""Of each field its name, its type and its `from` names."""


@dataclass(frozen=True, slots=True)
class UnreadableTrait:
    """A trait whose value does not fit its `field`; `path` are the objects it is in, and its sender's name."""

    field: str
    path: tuple[str, ...]
    value: Any
    what: str


@dataclass(frozen=True, slots=True)
class ReadTraits:
    """Traits by the names of their fields, the readable ones; undeclared ones are as they came."""

    values: Mapping[str, Any]
    unreadable: tuple[UnreadableTrait, ...] = ()


@dataclass(frozen=True, slots=True)
class _Rule:
    name: str
    type: str
    read: ValueReader
    paths: tuple[tuple[str, ...], ...]
    """The names of the trait, the field's own first; `company.name` is the member of an object."""


@dataclass(frozen=True, slots=True)
class FieldTable:
    """The rules of fields by owner, compiled once. A field that is not declared is read as it came."""

    rules: Mapping[FieldOwner, tuple[_Rule, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, fields: Mapping[FieldOwner, DeclaredFields]) -> FieldTable:
        """Compile the declared fields. `timezone` is a time zone in every plan."""
        return cls({owner: tuple(_rules(declared)) for owner, declared in fields.items()})

    def read(self, owner: FieldOwner, traits: Mapping[str, Any]) -> ReadTraits:
        """The fields of traits. Never raises."""
        if not traits:
            return ReadTraits(traits)
        values, unreadable = dict(traits), list[UnreadableTrait]()
        for rule in self.rules.get(owner, ()):
            for path in rule.paths:
                value = traits.get(path[0], _MISSING) if len(path) == 1 else _inner(traits, path)
                if value is not _MISSING:
                    _take(rule, path, value, values, unreadable)
                    break
        return ReadTraits(values, tuple(unreadable))


NO_FIELDS: Final = FieldTable()
"""The table of no plan: traits are fields as they came."""


def names_of_two(fields: Mapping[str, Iterable[str]]) -> Iterator[tuple[str, int, str]]:
    """The `from` names that are those of an earlier field or any field's own: the field, the index, and the other field.

    A trait is of one field; with two it would be read as both.
    """
    owners = {name: name for name in fields}
    for name, raws in fields.items():
        for index, raw in enumerate(raws):
            other = owners.setdefault(raw, name)
            if other != name:
                yield name, index, other


def _rules(declared: DeclaredFields) -> Iterator[_Rule]:
    known = set()
    for name, kind, names in declared:
        known.add(name)
        yield _rule(name, kind, (name, *names))
    if ZONE not in known:
        yield _rule(ZONE, "string", (ZONE,))


def _rule(name: str, kind: PropertyType, names: tuple[str, ...]) -> _Rule:
    read = READERS[kind]
    if name == ZONE and kind == "string":
        return _Rule(name, "time zone", _zone, tuple(_path(each) for each in names))
    return _Rule(name, kind, _date if kind == "timestamp" else read, tuple(_path(each) for each in names))


def _path(name: str) -> tuple[str, ...]:
    return tuple(name.split(".")) if "." in name.strip(".") else (name,)


def _inner(traits: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """The member of nested objects, `_MISSING` without one. A trait whose own name has dots counts first."""
    if (dotted := ".".join(path)) in traits:
        return traits[dotted]
    value: Any = traits
    for part in path:
        if not isinstance(value, dict) or part not in value:
            return _MISSING
        value = value[part]
    return value


def _take(
    rule: _Rule, path: tuple[str, ...], value: Any, values: dict[str, Any], unreadable: list[UnreadableTrait]
) -> None:
    """Put a trait under its field's name; null removes the field."""
    values.pop(".".join(path), None)
    read = None if value is None else rule.read(value)
    if read is UNREADABLE:
        article = "an" if rule.type == "int" else "a"
        what = f"traits: {'.'.join(path)} is not {article} {rule.type}"
        unreadable.append(UnreadableTrait(rule.name, path, value, what))
    else:
        values[rule.name] = read


def _date(value: Any) -> Any:
    """An instant, or a date as it was written: what has no hour is not given one."""
    read = READERS["timestamp"](value)
    is_date = type(value) is str and len(value) == _DATE and read is not UNREADABLE
    return value if is_date else read


def _zone(value: Any) -> Any:
    """The IANA name of a time zone. A blank is kept: it is unknown."""
    if type(value) is not str:
        return UNREADABLE
    if not value.strip():
        return value
    return canonical_zone(value) or UNREADABLE
