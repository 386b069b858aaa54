"""Lengths of time in the policy: positive ISO 8601 durations."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from journeys.calendar.durations import Duration, parse_duration


def _length(value: Any) -> Duration:
    if isinstance(value, Duration):
        return value
    if not isinstance(value, str):
        raise ValueError("a duration is written as text, such as P7D or PT24H")  # noqa: TRY004 -- pydantic's protocol
    duration = parse_duration(value)
    if duration.roughly() <= timedelta(0):
        raise ValueError(f"{value!r} must be longer than zero")
    return duration


def _written(duration: Duration) -> str:
    months = f"{duration.months}M" if duration.months else ""
    seconds = duration.exact.total_seconds()
    return f"P{months}" + (f"T{seconds:.6f}".rstrip("0").rstrip(".") + "S" if seconds or not months else "")


Length = Annotated[
    Duration,
    BeforeValidator(_length),
    PlainSerializer(_written),
    WithJsonSchema({"type": "string", "format": "duration"}),
]
