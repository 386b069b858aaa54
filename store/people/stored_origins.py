"""Origins of a subject's fields as jsonb, decoded on demand."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from journeys.fields.origins import FieldOrigin, FieldOrigins, kept_origins, newer_traits

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class StoredOrigins:
    """The origins of one locked row. Most batches write rows whose fields they do not touch: their text passes through."""

    __slots__ = ("_by_field", "_text")

    def __init__(self, text: str = "{}") -> None:
        self._text = text
        self._by_field: dict[str, FieldOrigin] | None = None

    @property
    def by_field(self) -> FieldOrigins:
        """The origin of each field that has one, removed fields included."""
        return self._decoded()

    def newer_traits(self, traits: Mapping[str, Any], origin: FieldOrigin) -> dict[str, Any]:
        """The traits that are newer than these origins."""
        return newer_traits(self._decoded(), traits, origin) if traits else {}

    def record(
        self, origins: Mapping[str, FieldOrigin], profile: Collection[str], declared: Collection[str] | None
    ) -> None:
        """Replace origins; of fields that are neither in the profile nor declared (None: all are) none are kept."""
        self._by_field = kept_origins({**self._decoded(), **origins}, profile, declared)

    def drop(self, names: Collection[str]) -> None:
        """Forget the origins of fields."""
        if names:
            self._by_field = {name: origin for name, origin in self._decoded().items() if name not in names}

    def as_json(self) -> str:
        """The text of the column."""
        if self._by_field is None:
            return self._text
        return orjson.dumps({name: _encoded(origin) for name, origin in self._by_field.items()}).decode()

    def _decoded(self) -> dict[str, FieldOrigin]:
        if self._by_field is None:
            self._by_field = {name: _read(item) for name, item in orjson.loads(self._text).items()}
        return self._by_field


def _read(item: list[Any]) -> FieldOrigin:
    occurred, accepted, source, *implied = item
    return FieldOrigin(_EPOCH + _MICROSECOND * occurred, _EPOCH + _MICROSECOND * accepted, source, bool(implied))


def _encoded(origin: FieldOrigin) -> list[Any]:
    """Microseconds since 1970, which compare and take half the room of text; a fourth element marks an implied value."""
    occurred, accepted, source, is_implied = origin
    instants = [(at - _EPOCH) // _MICROSECOND for at in (occurred, accepted)]
    return [*instants, source, *([1] if is_implied else ())]
