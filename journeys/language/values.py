"""Values between JSON and CEL: coercion to declared types, and back to JSON.

A value that does not fit is None, never an error.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any


def is_unknown(value: Any) -> bool:
    """Whether the value of a field says nothing: none, or a blank text, which forms and exports send for nothing (H8)."""
    return value is None or (type(value) is str and not value.strip())


def coerce(value: Any, kind: str) -> Any:
    """A JSON value as the declared type of its field; None if it does not fit (unknown is not false, H8)."""
    match kind:
        case "timestamp":
            return _timestamp(value)
        case "double":
            return _number(value)
        case "int":
            return _whole(value)
        case "bool":
            return value if isinstance(value, bool) else None
        case "string":
            return value if isinstance(value, str) else None
        case "strings":
            return value if isinstance(value, list) and all(isinstance(item, str) for item in value) else None
        case _:
            return value


def _number(value: Any) -> float | None:
    """Never -0.0: it equals 0.0 in a cache and divides differently."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) + 0.0
    except OverflowError:
        return None


def _whole(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value if isinstance(value, int) and -(2**63) <= value < 2**63 else None


def _timestamp(value: Any) -> datetime | None:
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)


def json_value(value: Any) -> Any:
    """A CEL value as JSON: instants in ISO 8601, durations in seconds, infinity and NaN as null."""
    match value:
        case datetime():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case bytes():
            return value.decode(errors="replace")
        case list() | tuple():
            return [json_value(item) for item in value]
        case dict():
            return {str(key): json_value(item) for key, item in value.items()}
        case float():
            return value if math.isfinite(value) else None
        case None | bool() | int() | str():
            return value
        case _:
            return str(value)
