"""Customers of a real shop: their CDNOW purchases as Segment calls, day by day."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from journeys.simulation.backtest import Stream
from journeys.simulation.recording import RecordedEvent

ORIGIN: Final = datetime(1997, 1, 1, tzinfo=UTC)
JOURNEY: Final = "win-back-and-replenishment"
EventBody = dict[str, Any]


def some_customers(streams: Sequence[Stream], how_many: int, until: datetime) -> list[Stream]:
    """That many customers, spread evenly over the file, each with their events until then."""
    step = max(1, len(streams) // how_many)
    chosen = streams[::step][:how_many]
    return [(name, tuple(event for event in events if event.at <= until)) for name, events in chosen]


def calls_by_day(streams: Sequence[Stream]) -> Mapping[int, list[EventBody]]:
    """Segment calls by virtual day."""
    days: dict[int, list[EventBody]] = defaultdict(list)
    for name, events in streams:
        for number, event in enumerate(events):
            days[(event.at - ORIGIN) // timedelta(days=1)].append(_call(name, number, event))
    return days


def _call(name: str, number: int, event: RecordedEvent) -> EventBody:
    common = {"messageId": f"shop-{name}-{number}", "userId": f"customer-{name}", "timestamp": event.at.isoformat()}
    if event.kind == "profile":
        return {"type": "identify", "traits": dict(event.data), **common}
    return {"type": "track", "event": "Order Completed", "properties": dict(event.data), **common}


def customer_streams(streams: Sequence[Stream]) -> Iterator[Stream]:
    """The customers' events under their user ids, for the backtest."""
    for name, events in streams:
        user = f"customer-{name}"
        yield user, tuple(event._replace(who=user) for event in events)
