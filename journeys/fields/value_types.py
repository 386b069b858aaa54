"""Values of the plan's types, read from what senders write.

A value is read if it has one meaning in its type: `"21"` is a whole number, `"31/12/2026"` is no date. Nothing is guessed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from journeys.calendar.sender_instants import sender_instant

PropertyType = Literal["string", "int", "double", "bool", "timestamp", "strings"]
UNREADABLE: Final = object()
"""The result for a value that has no meaning in the type."""
_WHOLE = re.compile(r"[+-]?[0-9]{1,19}")
_DECIMAL = re.compile(r"[+-]?[0-9]{1,30}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?")
"""A number of JSON, with leading zeros and a plus; a comma means one thing in one country and another in the next."""
_TRUTH: Final = {"true": True, "false": False}


def _string(value: Any) -> Any:
    if type(value) is str:
        return UNREADABLE if "\x00" in value else value
    return str(value) if type(value) is int else UNREADABLE


def _int(value: Any) -> Any:
    if type(value) is str:
        value = _number(value)
    if type(value) is int:
        return value if -(2**63) <= value < 2**63 else UNREADABLE
    return int(value) if type(value) is float and value.is_integer() and abs(value) < 2**53 else UNREADABLE


def _double(value: Any) -> Any:
    if type(value) is str:
        value = _number(value)
    if type(value) is float:
        return value if math.isfinite(value) else UNREADABLE
    return float(value) if type(value) is int and abs(value) < 2**53 else UNREADABLE


def _number(text: str) -> int | float | None:
    text = text.strip()
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else None


def _bool(value: Any) -> Any:
    if type(value) is str:
        return _TRUTH.get(value.strip().lower(), UNREADABLE)
    return value if type(value) is bool else UNREADABLE


def _timestamp(value: Any) -> Any:
    at = sender_instant(value)
    return UNREADABLE if at is None else at.isoformat()


def _strings(value: Any) -> Any:
    if type(value) is not list or not all(type(item) is str and "\x00" not in item for item in value):
        return UNREADABLE
    return value


ValueReader = Callable[[Any], Any]
READERS: Final[Mapping[PropertyType, ValueReader]] = {
    "string": _string,
    "int": _int,
    "double": _double,
    "bool": _bool,
    "timestamp": _timestamp,
    "strings": _strings,
}
"""By type, the value of a JSON value that is not null, or UNREADABLE."""
