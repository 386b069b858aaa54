"""Origins of a subject's fields as jsonb, decoded on demand."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from journeys.fields.origins import ACCOUNT_ORIGIN, FieldOrigin, FieldOrigins, forgotten_without_bound, newer_traits

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class StoredOrigins:
    """The origins of one locked row. Most batches write rows whose fields they do not touch: their text passes through.

    Of a row with many fields only those are decoded that a statement is about.
    """

    __slots__ = ("_items", "_text")

    def __init__(self, text: str = "{}") -> None:
        self._text = text
        self._items: dict[str, list[Any]] | None = None

    def __getitem__(self, name: str) -> FieldOrigin | None:
        """The origin of a field or a membership, also of a removed one; None if it is not known."""
        item = self._loaded().get(name)
        return None if item is None else _read(item)

    @property
    def by_field(self) -> FieldOrigins:
        """The origin of each field that has one, removed fields included."""
        return {name: _read(item) for name, item in self._loaded().items()}

    def newer_traits(self, profile: Collection[str], traits: Mapping[str, Any], origin: FieldOrigin) -> dict[str, Any]:
        """The traits that are newer than what is known of the fields of this profile."""
        items = self._loaded() if traits else {}
        known = {name: _read(items[name]) for name in traits if name in items}
        return newer_traits(known, profile, traits, origin)

    def record(
        self, origins: Mapping[str, FieldOrigin], profile: Collection[str], declared: Collection[str] | None
    ) -> None:
        """Replace origins; of fields that are neither in the profile nor declared (None: all are) none are kept."""
        items = self._loaded()
        items |= {name: _encoded(origin) for name, origin in origins.items()}
        forgotten = {name: _read(items[name]) for name in items if name not in profile and name != ACCOUNT_ORIGIN}
        for name in forgotten_without_bound(forgotten, declared) if forgotten else ():
            del items[name]

    def drop(self, names: Collection[str]) -> None:
        """Forget the origins of fields."""
        for name in names:
            self._loaded().pop(name, None)

    def as_json(self) -> str:
        """The text of the column."""
        return self._text if self._items is None else orjson.dumps(self._items).decode()

    def _loaded(self) -> dict[str, list[Any]]:
        if self._items is None:
            self._items = orjson.loads(self._text)
        return self._items


def _read(item: list[Any]) -> FieldOrigin:
    occurred, accepted, source, *implied = item
    return FieldOrigin(_EPOCH + _MICROSECOND * occurred, _EPOCH + _MICROSECOND * accepted, source, bool(implied))


def _encoded(origin: FieldOrigin) -> list[Any]:
    """Microseconds since 1970, which compare and take half the room of text; a fourth element marks an implied value."""
    occurred, accepted, source, is_implied = origin
    instants = [(at - _EPOCH) // _MICROSECOND for at in (occurred, accepted)]
    return [*instants, source, *([1] if is_implied else ())]
