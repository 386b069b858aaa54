"""Routing of an outbox row: the runs it reaches, and the envelope of each.

A run receives the fields that its definition reads and no others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from journeys.decision.chart import Chart
from journeys.decision.entry import case_of, is_history_for
from journeys.protocol.envelope import NewerOccurrence
from journeys.protocol.wire import KINDS, Envelope


@dataclass(frozen=True, slots=True)
class LaneRow:
    """One accepted occurrence in a recipient's lane."""

    recipient: str
    seq: int
    kind: str
    name: str
    event_id: str
    at: datetime
    data: Mapping[str, Any]
    facts: Mapping[str, Mapping[str, Any]] | None
    target: str | None
    occurred_at: datetime | None = None
    """Of an event that was old when it was accepted, when it happened."""


@dataclass(frozen=True, slots=True)
class RunSubscription:
    """An open run with its lanes and its case.

    It began in the lane `home` at `entered_seq`. If its visitor was merged into a user, it continues in that user's
    `lane` after `joined_seq`. It still receives the rows of `home`, with their numbers, so redeliveries are recognised
    (record 0009).
    """

    run: str
    lane: str
    entered_seq: int
    case: str
    home: str = ""
    joined_seq: int = 0
    began_at: datetime | None = None

    @property
    def lanes(self) -> tuple[str, ...]:
        """Its own lanes, the first one first."""
        return (self.lane,) if self.home in {"", self.lane} else (self.home, self.lane)

    def is_opened_by(self, lane: str, seq: int) -> bool:
        """Whether the row at this place opens the run."""
        return lane == self.lanes[0] and seq == self.entered_seq

    def first(self, lane: str) -> int:
        """The first `seq` of one of its lanes that this run receives."""
        return self.entered_seq if lane == self.lanes[0] else self.joined_seq + 1


def envelopes_for(chart: Chart, subscription: RunSubscription, rows: Iterable[LaneRow]) -> list[Envelope]:
    """The rows that a run is signalled, in order.

    Changed fields alone decide nothing unless a timer moves with them: they come with the next signal or timer.
    """
    envelopes = (envelope_for(chart, subscription, row) for row in rows)
    return [item for item in envelopes if item is not None and (item.kind != "facts" or chart.follows_fields)]


def envelope_for(chart: Chart, subscription: RunSubscription, row: LaneRow) -> Envelope | None:
    """The envelope of a row for this run; None if the row cannot change the run.

    Raises NewerOccurrence for a row of a kind that this version does not know: it may concern the run.
    """
    if row.seq < subscription.first(row.recipient) or (row.target is not None and row.target != subscription.run):
        return None
    if row.kind not in KINDS:
        raise NewerOccurrence(f"this version does not know the kind {row.kind!r}", row.recipient, row.seq)
    entering = row.target is None and subscription.is_opened_by(row.recipient, row.seq)
    received = row.target is not None or _listens_to(chart, subscription, row)
    facts = _facts(chart, row)
    if not (entering or received or facts):
        return None
    kind = "entered" if entering else row.kind if received else "facts"
    return Envelope(
        id=row.event_id,
        lane=row.recipient,
        seq=row.seq,
        at=row.at.isoformat(),
        kind=kind,
        name=row.name if entering or received else "",
        data=dict(row.data) if kind == "deadline" else chart.kept(row.name, row.data),
        facts=facts or None,
    )


def _listens_to(chart: Chart, subscription: RunSubscription, row: LaneRow) -> bool:
    if row.kind != "signal" or row.name not in chart.signals or case_of(chart, row.data) != subscription.case:
        return False
    # What happened long before the run began is history for it, and decides nothing.
    return (
        row.occurred_at is None
        or subscription.began_at is None
        or not is_history_for(chart, subscription.began_at, row.occurred_at, row.at)
    )


def _facts(chart: Chart, row: LaneRow) -> dict[str, dict[str, Any]]:
    """Of each scope that the row brings, the fields that the definition reads, as of the row's place in the lane."""
    scopes = [scope for scope in ("profile", "account") if chart.fields[scope] and scope in (row.facts or {})]
    return {scope: chart.known(scope, (row.facts or {})[scope]) for scope in scopes}
