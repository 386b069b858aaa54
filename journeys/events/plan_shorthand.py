"""Short forms of properties, raw events and fields in a tracking plan."""

from __future__ import annotations

from typing import Any


def property_of(value: Any) -> Any:
    """`total: double` is a required property, `coupon: string?` an optional one."""
    if not isinstance(value, str):
        return value
    return {"type": value.removesuffix("?"), "required": not value.endswith("?")}


def raw_events(value: Any) -> Any:
    """A name alone is an event of this name; one event needs no list."""
    items = value if isinstance(value, list | tuple) else [value]
    return [{"event": item} if isinstance(item, str) else item for item in items]


def field_of(value: Any) -> Any:
    """A type alone is a field of this type."""
    return {"type": value} if isinstance(value, str) else value
