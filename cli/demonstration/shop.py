"""150 customers of a real shop: what they bought, day by day, as the shop would tell us."""

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
    """Customers spread evenly over the file, each with what they did until then."""
    step = max(1, len(streams) // how_many)
    chosen = streams[::step][:how_many]
    return [(who, tuple(event for event in events if event.at <= until)) for who, events in chosen]


def calls_by_day(streams: Sequence[Stream]) -> Mapping[int, list[EventBody]]:
    """Segment calls by the virtual day on which they happen."""
    days: dict[int, list[EventBody]] = defaultdict(list)
    for who, events in streams:
        for number, event in enumerate(events):
            days[(event.at - ORIGIN) // timedelta(days=1)].append(_call(who, number, event))
    return days


def _call(who: str, number: int, event: RecordedEvent) -> EventBody:
    common = {"messageId": f"shop-{who}-{number}", "userId": f"customer-{who}", "timestamp": event.at.isoformat()}
    if event.kind == "profile":
        return {"type": "identify", "traits": dict(event.data), **common}
    return {"type": "track", "event": "Order Completed", "properties": dict(event.data), **common}


def customers(streams: Sequence[Stream]) -> Iterator[str]:
    """Their ids as the API knows them."""
    return (f"customer-{who}" for who, _ in streams)
