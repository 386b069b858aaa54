"""Rows as mappings, and the values of their jsonb columns."""

from __future__ import annotations

from typing import Any

import orjson

RowDict = dict[str, Any]


def loaded(value: Any) -> Any:
    """A jsonb column, whichever way the driver gives it."""
    return orjson.loads(value) if isinstance(value, str | bytes) else value
