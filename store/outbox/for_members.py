"""The part of an account's event that its members get."""

from __future__ import annotations

from typing import Literal

from journeys.events.inbound import InboundEvent
from store.definitions.registry import SignalIndex
from store.outbox.rows import ForMembers, most_urgent


def for_members(index: SignalIndex, event: InboundEvent, changed: frozenset[str]) -> ForMembers | None:
    """The account's own signals and its `changed` fields, where a journey of users reads them; None if none does."""
    is_heard = event.is_of_account and not event.historical
    reacting = index.reacting.get(event.name, ()) if is_heard else ()
    charts = {chart.hash: chart for chart in reacting if chart.spec.subject == "user"}
    kind: Literal["signal", "facts"] = "signal" if charts else "facts"
    for chart in index.charts.values() if changed else ():
        if chart.spec.subject == "user" and chart.fields["account"] & changed:
            charts[chart.hash] = chart
    profile = index.reading.get("profile", frozenset())
    return ForMembers(kind, frozenset(charts), profile, most_urgent(charts.values())) if charts else None
