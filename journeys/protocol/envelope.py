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
from journeys.decision.state import RunState
from journeys.protocol.wire import KINDS, VERSION, Envelope

_TYPES: Final[Mapping[str, type | tuple[type, ...]]] = {
    "id": str, "lane": str, "seq": int, "at": str, "kind": str, "name": str,
    "data": dict, "facts": (dict, type(None)), "seen": dict, "v": int,
}  # fmt: skip
"""Types of an envelope's fields."""


class Unreadable(ValueError):
    """An arrival is not an envelope of a known version. It becomes a dead letter and ends no run."""


class NewerOccurrence(Unreadable):
    """An occurrence at a known place in a lane that this version cannot decide: it is parked until one that can runs."""

    def __init__(self, reason: str, lane: str, seq: int) -> None:
        super().__init__(reason)
        self.lane, self.seq = lane, seq


def parse_instant(text: str) -> datetime:
    """An aware UTC instant from its ISO text. Raises ValueError."""
    at = datetime.fromisoformat(text)
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def read_envelope(value: Any) -> Envelope:
    """An envelope from decoded JSON. Raises Unreadable, also for a field of a wrong type: `decide` checks none.

    Raises NewerOccurrence for a field, kind or version that only a newer version can have written.
    """
    if isinstance(value, Envelope):
        return value
    if isinstance(value, dict):
        wrong = [name for name, kind in _TYPES.items() if name in value and not isinstance(value[name], kind)]
        scopes = value.get("facts") or {}
        if wrong or not all(isinstance(scope, dict) for scope in scopes.values()):
            raise Unreadable(f"not an envelope: {', '.join(wrong) or 'facts'} of another type")
        _refuse_newer(value)
    try:
        envelope = Envelope(**value)
        occurrence_of(envelope)
    except Unreadable:
        raise
    except Exception as fault:  # noqa: BLE001 -- any fault of a foreign value means the same
        raise Unreadable(f"not an envelope: {type(fault).__name__}") from None
    return envelope


def _refuse_newer(value: Mapping[str, Any]) -> None:
    if not isinstance(value.get("lane"), str) or type(value.get("seq")) is not int:
        return  # it has no place, so no row that could be parked
    newer = [f"the field {name}" for name in sorted(set(value) - set(_TYPES))]
    newer += [f"version {value['v']}"] if value.get("v", VERSION) > VERSION else []
    newer += [f"the kind {value['kind']!r}"] if value.get("kind", "signal") not in KINDS else []
    if newer:
        raise NewerOccurrence(f"this version does not know {', '.join(newer)}", value["lane"], value["seq"])


def decidable_occurrence(state: RunState, envelope: Envelope) -> Occurrence:
    """The occurrence in an envelope, for a run in this state. Raises Unreadable.

    Raises NewerOccurrence for what a run may not decide before the row that opens it, which is parked then.
    """
    occurrence = occurrence_of(envelope)
    if not state.state and isinstance(occurrence, Signal | FieldsChanged | DeadlineSet) and occurrence.seq:
        text = "it comes after the row that opens the run, which is parked"
        raise NewerOccurrence(text, occurrence.lane, occurrence.seq)
    return occurrence


def read_tick(data: Mapping[str, Any]) -> datetime:
    """The deadline that has come, by the data of a tick. Raises Unreadable."""
    try:
        return parse_instant(str(data.get("due")))
    except ValueError:
        raise Unreadable("a tick names the deadline that has come") from None


def occurrence_of(envelope: Envelope) -> Occurrence:
    """The occurrence in an envelope. Raises NewerOccurrence for an unknown kind."""
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
            raise NewerOccurrence(f"this version does not know the kind {other!r}", lane, seq)
