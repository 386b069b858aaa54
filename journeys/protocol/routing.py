"""Routing of an outbox row: the runs it reaches, and the envelope for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from journeys.decision.chart import Chart
from journeys.decision.entry import case_of
from journeys.protocol.wire import Envelope

SEEN = "@seen"
MOVED = "@moved"
PERSONAL = "@personal"
"""Keys beside the scopes of a row's facts: the `seq` of other lanes; that the person's account has changed; that a row of an
account's lane comes from one member, so that the other members' runs do not hear it."""


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


@dataclass(frozen=True, slots=True)
class RunSubscription:
    """An open run: the lane it began in (`home`), from which `seq` on, and its case.

    When its visitor is merged into a known user, it goes on in that user's lane after `joined_seq`. The rows left in its home
    stay its own, so that a row reaches it under one number however often it is delivered (record 0009).
    """

    run: str
    lane: str
    entered_seq: int
    case: str
    home: str = ""
    joined_seq: int = 0

    @property
    def lanes(self) -> tuple[str, ...]:
        """Its own lanes, in the order in which it was in them."""
        return (self.lane,) if self.home in {"", self.lane} else (self.home, self.lane)

    def first(self, lane: str) -> int:
        """The first `seq` of a lane that is for this run. It hears the whole of a lane that is not its own."""
        if lane == self.lanes[0]:
            return self.entered_seq
        return self.joined_seq + 1 if lane == self.lane else 0


def envelope_for(chart: Chart, listener: RunSubscription, row: LaneRow) -> Envelope | None:
    """The row as this run may see it, or None when it cannot change anything there."""
    own = row.recipient in listener.lanes
    if row.seq < listener.first(row.recipient) or (row.target is not None and row.target != listener.run):
        return None
    entering = row.recipient == listener.lanes[0] and row.seq == listener.entered_seq and row.target is None
    heard = row.target is not None or (_is_for(own, row) and _hears(chart, listener, row))
    facts = _facts(chart, row, everything=entering)
    if not (entering or heard or facts):
        return None
    kind = "entered" if entering else row.kind if heard else "facts"
    return Envelope(
        id=row.event_id,
        lane=row.recipient,
        seq=row.seq,
        at=row.at.isoformat(),
        kind=kind,
        name=row.name if entering or heard else "",
        data=dict(row.data) if kind == "deadline" else chart.kept(row.name, row.data),
        facts=facts or None,
        seen=_seen(row) if facts and "account" in facts and "profile" in facts else {},
    )


def _is_for(own: bool, row: LaneRow) -> bool:
    """Members' runs hear what happens to their account; one member's own events reach that member by their own lane."""
    return own or PERSONAL not in (row.facts or {})


def _hears(chart: Chart, listener: RunSubscription, row: LaneRow) -> bool:
    return row.kind == "signal" and row.name in chart.signals and case_of(chart, row.data) == listener.case


def _facts(chart: Chart, row: LaneRow, *, everything: bool) -> dict[str, dict[str, Any]]:
    """Each scope's fields travel in their own lane, in order (record 0003); an entry brings both, and so does a change of account."""
    if row.facts is None:
        return {}
    scopes = [scope for scope in ("profile", "account") if chart.fields[scope] and scope in row.facts]
    if "profile" in row.facts and not everything and MOVED not in row.facts:
        scopes = [scope for scope in scopes if scope == "profile"]
    return {scope: chart.known(scope, row.facts[scope]) for scope in scopes}


def _seen(row: LaneRow) -> dict[str, int]:
    return {lane: int(seq) for lane, seq in (row.facts or {}).get(SEEN, {}).items()}
