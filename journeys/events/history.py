"""History: events that build the profile and counters, and open, send and alarm nothing.

An event is history if its sender says so, or by its age.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

HISTORICAL: Final = "historical"
"""The key of an event's `context` by which a sender tells it as history."""
HISTORY_AGE: Final = timedelta(days=2)
"""The age of an event at acceptance above which it is history for journeys that set no longer `entry.max_age`."""


def is_historical(context: Mapping[str, Any] | None) -> bool:
    """Whether a sender tells an event as history: `context.historical` is true, or the text of it."""
    told = (context or {}).get(HISTORICAL)
    return told is True or (isinstance(told, str) and told.strip().lower() == "true")


def is_old(occurred_at: datetime, accepted_at: datetime) -> bool:
    """Whether an event had happened more than `HISTORY_AGE` before it was accepted."""
    return accepted_at - occurred_at > HISTORY_AGE


def history_sentence(occurred_at: datetime, accepted_at: datetime, *, historical: bool) -> str:
    """Why an event is history, and what follows, for a timeline; empty if it is none."""
    if historical:
        return "history, as its sender says: no journey received it"
    if not is_old(occurred_at, accepted_at):
        return ""
    happened = f"{occurred_at:%Y-%m-%d %H:%M} UTC"
    return f"history: it happened at {happened}, so it opened no journey without a longer max_age"
