"""From the wire to an occurrence and back: the one place that knows how an accepted event is written for a run."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from journeys.decision.occurrences import (
    DeadlineSet,
    Entered,
    Erased,
    FieldsChanged,
    Merged,
    Occurrence,
    OptedOut,
    Signal,
)
from journeys.protocol.wire import VERSION, Envelope


class Unreadable(ValueError):
    """What came is not an envelope of a version we know; it becomes a tombstone, never a crash."""


def parse_instant(text: str) -> datetime:
    """An aware UTC instant from its ISO text. Raises ValueError."""
    at = datetime.fromisoformat(text)
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def read_envelope(value: Any) -> Envelope:
    """An envelope from decoded JSON. Raises Unreadable."""
    if isinstance(value, Envelope):
        return value
    try:
        envelope = Envelope(**value)
        if envelope.v > VERSION or not isinstance(envelope.seq, int):
            raise Unreadable(f"version {envelope.v} is newer than this worker's {VERSION}")
        occurrence_of(envelope)
    except Unreadable:
        raise
    except Exception as fault:  # noqa: BLE001 -- whatever a stranger sent, it is one answer
        raise Unreadable(f"not an envelope: {type(fault).__name__}") from None
    return envelope


def occurrence_of(envelope: Envelope) -> Occurrence:
    """What an envelope tells a run. Raises Unreadable for a kind that is not known."""
    at, lane, seq = parse_instant(envelope.at), envelope.lane, envelope.seq
    match envelope.kind:
        case "entered":
            return Entered(at, envelope.name, envelope.data, envelope.facts, lane, seq, envelope.seen)
        case "signal":
            return Signal(at, envelope.name, envelope.data, envelope.facts, lane, seq, envelope.seen)
        case "facts":
            return FieldsChanged(at, envelope.facts or {}, lane, seq, envelope.seen)
        case "deadline":
            due = parse_instant(envelope.data["due_at"])
            return DeadlineSet(at, envelope.name, str(envelope.data["ask"]), due, lane, seq)
        case "opted_out":
            return OptedOut(at, lane, seq)
        case "merged":
            return Merged(at, lane, seq)
        case "erased":
            return Erased(at, lane, seq)
        case other:
            raise Unreadable(f"{other!r} is not a kind of occurrence")
