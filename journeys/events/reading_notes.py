"""Notes on an event about values of its sender that could not be read.

They are in the event's stored context under `NOTES`, so that they are where people look at the event.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

NOTES: Final = "$notes"
"""The key of an event's context that has its notes; a sender's own value of it is dropped."""
CLAIMS: Final = "$claims"
"""The key of an event's context that has what a public key claims without proof (`journeys/access/claimed_identities.py`)."""
OWN_KEYS: Final = frozenset({NOTES, CLAIMS})
"""Keys of an event's context that no sender writes."""
_MOST: Final = 80
"""Characters of a value in a note."""


def unread_note(field: str, value: Any, what: str) -> str:
    """A sentence about a field's value; a long value is cut at 80 characters."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    shown = text if len(text) <= _MOST else f"{text[:_MOST]}…"
    return f"{field} {shown} {what}"


def noted(context: Mapping[str, Any] | None, notes: Sequence[str]) -> dict[str, Any] | None:
    """A context with the notes, if there are any; None for an empty one."""
    return ({**(context or {}), NOTES: list(notes)} if notes else dict(context or {})) or None


def with_notes(context: Mapping[str, Any] | None, notes: Sequence[str]) -> dict[str, Any] | None:
    """A context with further notes after those that it has."""
    return noted(context, [*(context or {}).get(NOTES, ()), *notes])
