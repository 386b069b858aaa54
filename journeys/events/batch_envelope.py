"""BatchEnvelope: the `sentAt` and `context` of all events of a batch.

Source: Segment spec, batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from journeys.calendar.sender_instants import sender_instant
from journeys.events.reading_notes import unread_note


@dataclass(frozen=True, slots=True)
class BatchEnvelope:
    """What a batch says of all its events; `notes` say what of it could not be read."""

    sent_at: datetime | None = None
    context: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def around(self, element: Any) -> Any:
        """An element with the batch's context; its own takes precedence, also one that is no object and will be noted."""
        if not self.context or not isinstance(element, dict):
            return element
        own = element.get("context") or {}
        return {**element, "context": {**self.context, **own}} if isinstance(own, dict) else element


def batch_envelope_of(body: Mapping[str, Any]) -> BatchEnvelope:
    """The envelope of a batch. What of it cannot be read is noted, and costs none of the events."""
    notes = []
    given, sent_at = body.get("context"), sender_instant(body.get("sentAt"))
    context = given if isinstance(given, dict) else {}
    if not context and given not in ({}, [], None):
        notes.append(unread_note("the batch's context", given, "is not an object and was left out"))
    if sent_at is None and body.get("sentAt") not in ("", None):
        notes.append(unread_note("the batch's sentAt", body["sentAt"], "is not an instant and was left out"))
    return BatchEnvelope(sent_at, context, tuple(notes))
