"""Earlier signals of people and accounts, which an entry looks back at."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy import Text, bindparam, column, func, or_, select, true

from journeys.decision.chart import Chart
from journeys.decision.entry import EarlierSignal
from journeys.events.inbound import StoredEvent
from store.database import Connection, fetch_all, sql
from store.expressions import any_of, array_of
from store.rows import loaded
from store.schema import events, subjects
from store.schema.base import Timestamp

NEWEST: Final = 500
"""Events of a person that are read at most, the newest: an entry looks back no further."""

_lanes = func.unnest(array_of("lanes", subjects.c.key)).table_valued(column("lane", Text)).render_derived(name="given")
_people = select(_lanes.c.lane, _lanes.c.lane.label("key")).cte("people", recursive=True)
# Of a person the visitors merged into them; of an account its members, and theirs.
_people = _people.union(
    select(_people.c.lane, subjects.c.key).join(
        _people, or_(subjects.c.merged_into == _people.c.key, subjects.c.account_key == _people.c.key)
    )
)
_newest = (
    select(events.c.id, events.c.name, events.c.at, events.c.occurred_at, events.c.data)
    .where(events.c.subject_key == _people.c.key)
    .order_by(events.c.id.desc())
    .limit(NEWEST)
    .lateral("newest")
)
_happened = func.coalesce(_newest.c.occurred_at, _newest.c.at)
_READ = sql(
    select(
        _people.c.lane,
        _newest.c.id,
        _newest.c.name,
        _newest.c.at,
        _happened.label("occurred_at"),
        _newest.c.data,
    )
    .join_from(_people, _newest, true())
    .where(any_of(_newest.c.name, "names"), _happened >= bindparam("since", type_=Timestamp))
    .order_by(_newest.c.id)
)


class NumberedSignal(NamedTuple):
    """A signal with the number of its event."""

    number: int
    signal: EarlierSignal


class EarlierSignals:
    """By lane, the signals that may keep a run from beginning, in the order in which they were accepted."""

    def __init__(self, by_lane: Mapping[str, Sequence[NumberedSignal]] | None = None) -> None:
        self._by_lane = dict(by_lane or {})

    def before(self, lane: str, number: int) -> list[EarlierSignal]:
        """The signals of a lane that were accepted before the event with this number."""
        return [item.signal for item in self._by_lane.get(lane, ()) if item.number < number]

    def join(self, gone: str, into: str) -> None:
        """Give those of a visitor to the user."""
        self._by_lane[into] = [*self._by_lane.get(gone, ()), *self._by_lane.get(into, ())]


async def read_earlier_signals(
    connection: Connection,
    opening: Mapping[str, Sequence[Chart]],
    stored: Iterable[StoredEvent],
    lanes: Collection[str],
) -> EarlierSignals:
    """What the entries by these stored events look back at, of these lanes: one statement, if any looks back."""
    wanted = [(item, chart) for item in stored for chart in opening.get(item.event.name, ()) if chart.looked_back]
    if not wanted:
        return EarlierSignals()
    kinds = {chart.spec.subject for _, chart in wanted}
    rows = await fetch_all(
        connection,
        _READ,
        lanes=sorted(lane for lane in lanes if ("account" if lane.startswith("a_") else "user") in kinds),
        names=sorted({name for _, chart in wanted for name in chart.looked_back}),
        since=min(_since(item, chart) for item, chart in wanted),
    )
    by_lane: dict[str, list[NumberedSignal]] = {}
    for row in rows:
        signal = EarlierSignal(row["name"], loaded(row["data"]), row["at"], row["occurred_at"])
        by_lane.setdefault(row["lane"], []).append(NumberedSignal(row["id"], signal))
    return EarlierSignals(by_lane)


def _since(item: StoredEvent, chart: Chart) -> datetime:
    return item.happened_at - chart.limits.longest_lookback
