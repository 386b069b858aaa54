"""Read envelopes, and turn them into occurrences.

Only this module reads the form in which a run receives an accepted event.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

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

_TYPES: Final[Mapping[str, type | tuple[type, ...]]] = {
    "id": str, "lane": str, "seq": int, "at": str, "kind": str, "name": str,
    "data": dict, "facts": (dict, type(None)), "seen": dict, "v": int,
}  # fmt: skip
"""Types of an envelope's fields."""


class Unreadable(ValueError):
    """An arrival is not an envelope of a known version. It becomes a dead letter and ends no run."""


def parse_instant(text: str) -> datetime:
    """An aware UTC instant from its ISO text. Raises ValueError."""
    at = datetime.fromisoformat(text)
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def read_envelope(value: Any) -> Envelope:
    """An envelope from decoded JSON. Raises Unreadable, also for a field of a wrong type: `decide` checks none."""
    if isinstance(value, Envelope):
        return value
    if isinstance(value, dict):
        wrong = [name for name, kind in _TYPES.items() if name in value and not isinstance(value[name], kind)]
        scopes = value.get("facts") or {}
        if wrong or not all(isinstance(scope, dict) for scope in scopes.values()):
            raise Unreadable(f"not an envelope: {', '.join(wrong) or 'facts'} of another type")
    try:
        envelope = Envelope(**value)
        if envelope.v > VERSION or not isinstance(envelope.seq, int):
            raise Unreadable(f"version {envelope.v} is newer than this worker's {VERSION}")
        occurrence_of(envelope)
    except Unreadable:
        raise
    except Exception as fault:  # noqa: BLE001 -- any fault of a foreign value means the same
        raise Unreadable(f"not an envelope: {type(fault).__name__}") from None
    return envelope


def read_tick(data: Mapping[str, Any]) -> datetime:
    """The deadline that has come, by the data of a tick. Raises Unreadable."""
    try:
        return parse_instant(str(data.get("due")))
    except ValueError:
        raise Unreadable("a tick names the deadline that has come") from None


def occurrence_of(envelope: Envelope) -> Occurrence:
    """The occurrence in an envelope. Raises Unreadable for an unknown kind."""
    at, lane, seq = parse_instant(envelope.at), envelope.lane, envelope.seq
    match envelope.kind:
        case "entered":
            return Entered(at, envelope.name, envelope.data, envelope.facts, lane=lane, seq=seq, seen=envelope.seen)
        case "signal":
            return Signal(at, envelope.name, envelope.data, envelope.facts, lane=lane, seq=seq, seen=envelope.seen)
        case "facts":
            return FieldsChanged(at, envelope.facts or {}, lane=lane, seq=seq, seen=envelope.seen)
        case "deadline":
            due = parse_instant(envelope.data["due_at"])
            return DeadlineSet(at, envelope.name, str(envelope.data["ask"]), due, lane=lane, seq=seq)
        case "opted_out":
            return OptedOut(at, lane=lane, seq=seq)
        case "merged":
            return Merged(at, lane=lane, seq=seq)
        case "erased":
            return Erased(at, lane=lane, seq=seq)
        case other:
            raise Unreadable(f"{other!r} is not a kind of occurrence")
