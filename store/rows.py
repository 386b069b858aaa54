"""Rows as mappings, and the values of their jsonb columns."""

from __future__ import annotations

from typing import Any

import orjson

RowDict = dict[str, Any]


def loaded(value: Any) -> Any:
    """The value of a jsonb column, which the driver returns as text or decoded."""
    return orjson.loads(value) if isinstance(value, str | bytes) else value
