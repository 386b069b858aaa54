"""Periods of retention by kind of rows, and the result of a slice."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, NamedTuple

SLICE: Final = 2_000
"""Rows that one transaction deletes, or looks at."""
UNSEEN: Final = timedelta(minutes=1)
"""Longest life of a transaction that does not see a mark of retention: six times that of a request (`TENURE_API_PATIENCE_SECONDS`)."""


class Slice(NamedTuple):
    """Rows that a transaction has deleted, and whether the next one may find more at once."""

    deleted: int
    more: bool


@dataclass(frozen=True, slots=True)
class RetentionPeriods:
    """Periods after which rows are deleted; None keeps them. The ledger, timelines and the log of consents are always kept."""

    events: timedelta | None = None
    quarantine: timedelta | None = None
    outbox: timedelta = timedelta(days=7)
    feed: timedelta | None = None
    clicks: timedelta | None = None
    visitors: timedelta | None = None
    message_ids: timedelta | None = None
    dead_letters: timedelta | None = None
    tickets: timedelta | None = None
