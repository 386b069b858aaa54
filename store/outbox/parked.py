"""Parked rows: rows that can never be delivered to one run; replay and discard.

The lane goes on without them. A replay gives a row the next `seq` of its run's lane: it is decided late, after what came
meanwhile, and the run's timeline says so (record 0019).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import Boolean, ColumnElement, Text, bindparam, exists, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from journeys.protocol.routing import LaneRow, RunSubscription
from store.database import Connection, execute, fetch_all, fetch_one, sql
from store.expressions import any_of, array_of, trace_of, unnest, when_given
from store.outbox.rows import OutboxRow
from store.rows import RowDict, loaded
from store.schema import outbox, parked

ParkedCode = Literal["refused", "unreadable", "definition", "version"]
"""Why a row is parked.

Temporal refuses it, no signal can be made of it, or a newer version is needed for the definition or for the row itself.
"""
MOST_REASON: Final = 500
"""Characters of a stored reason."""

_given = unnest(
    "given", ids=outbox.c.id, runs=parked.c.run, openings=parked.c.opens, codes=parked.c.code, reasons=parked.c.reason
)
_COPIED = ("recipient", "seq", "kind", "name", "event_id", "at", "data", "facts", "target", "trace")
_PARK = sql(
    insert(parked)
    .from_select(
        [*_COPIED, "run", "opens", "code", "reason"],
        select(*(outbox.c[name] for name in _COPIED), _given.c.run, _given.c.opens, _given.c.code, _given.c.reason)
        .join_from(_given, outbox, outbox.c.id == _given.c.id)
        .order_by(outbox.c.id),  # they are replayed in the order of their numbers
    )
    .on_conflict_do_nothing()
)
_opens, _reason = bindparam("opens", type_=Boolean), bindparam("reason", type_=Text)
_PARK_NEWER = sql(
    insert(parked)
    .from_select(
        [*_COPIED, "run", "opens", "code", "reason"],
        select(
            *(outbox.c[name] for name in _COPIED), bindparam("run", type_=Text), _opens, literal("version"), _reason
        ).where(outbox.c.recipient == bindparam("recipient"), outbox.c.seq == bindparam("seq")),
    )
    .on_conflict_do_update(index_elements=["run", "recipient", "seq"], set_={"reason": _reason})
)
_held = parked.c.status == "held"
_UNOPENED = sql(
    select(parked.c.run, parked.c.code).where(
        parked.c.status != "replayed", parked.c.opens, any_of(parked.c.run, "runs")
    )
)
_row = select(
    parked.c.id,
    parked.c.recipient,
    parked.c.seq,
    parked.c.run,
    parked.c.kind,
    parked.c.name,
    parked.c.event_id,
    parked.c.at,
    parked.c.data,
    parked.c.opens,
    parked.c.code,
    parked.c.reason,
    parked.c.parked_at,
    parked.c.status,
    parked.c.settled_at,
    parked.c.settled_by,
    parked.c.replayed_seq,
)
_LIST = sql(
    _row.where(
        parked.c.status == bindparam("status"),
        or_(array_of("codes", parked.c.code).is_(None), any_of(parked.c.code, "codes")),
        when_given("run", parked.c.run),
        parked.c.id > bindparam("after"),
    )
    .order_by(parked.c.id)
    .limit(bindparam("limit"))
)
_ONE = sql(_row.where(parked.c.id == bindparam("id")))
_TO_REPLAY = sql(
    _row.add_columns(parked.c.facts, parked.c.target, trace_of(parked.c.trace))
    .where(parked.c.id == bindparam("id"), _held)
    .with_for_update()
)
_SETTLE = sql(
    update(parked)
    .where(parked.c.id == bindparam("id"), _held)
    .values(
        status=bindparam("status"),
        settled_at=func.clock_timestamp(),
        settled_by=bindparam("by"),
        replayed_seq=bindparam("seq"),
    )
)
_COUNT = sql(select(func.count().label("held")).select_from(parked).where(_held))


@dataclass(frozen=True, slots=True)
class ParkedDelivery:
    """A row that one run can never get, with the reason. `opens`: it is the row with which the run begins."""

    row: OutboxRow
    run: str
    code: ParkedCode
    reason: str
    opens: bool = False


def is_parked(run: str) -> ColumnElement[bool]:
    """Whether a row of the outbox is parked for the run that the parameter `run` names: then it is not undecided."""
    return exists().where(
        parked.c.run == bindparam(run, type_=Text),
        parked.c.recipient == outbox.c.recipient,
        parked.c.seq == outbox.c.seq,
    )


async def park(connection: Connection, deliveries: Sequence[ParkedDelivery]) -> None:
    """Store rows of the outbox as parked, each for its run. A second time changes nothing."""
    if deliveries:
        await execute(
            connection,
            _PARK,
            ids=[parked_row.row.id for parked_row in deliveries],
            runs=[parked_row.run for parked_row in deliveries],
            openings=[parked_row.opens for parked_row in deliveries],
            codes=[parked_row.code for parked_row in deliveries],
            reasons=[parked_row.reason[:MOST_REASON] for parked_row in deliveries],
        )


async def park_newer(
    connection: Connection, listener: RunSubscription, tombstones: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Park the rows of a run's arrivals that are of a newer version; the others, and those without a row."""
    return [tombstone for tombstone in tombstones if not await _park_arrival(connection, listener, tombstone)]


async def _park_arrival(connection: Connection, listener: RunSubscription, tombstone: Mapping[str, Any]) -> bool:
    if "seq" not in tombstone:
        return False
    lane, seq = tombstone["lane"], tombstone["seq"]
    places = {"run": listener.run, "recipient": lane, "seq": seq, "opens": listener.is_opened_by(lane, seq)}
    return await execute(connection, _PARK_NEWER, reason=tombstone["reason"][:MOST_REASON], **places) > 0


async def unopened_runs(connection: Connection, runs: Collection[str]) -> dict[str, ParkedCode]:
    """Of these runs, those whose opening row is parked, and why: they cannot decide anything before it."""
    if not runs:
        return {}
    return {row["run"]: row["code"] for row in await fetch_all(connection, _UNOPENED, runs=list(runs))}


async def list_parked(
    connection: Connection, *, status: str, codes: Sequence[str] | None, run: str | None, after: int, limit: int
) -> list[RowDict]:
    """Parked rows with this status, of all codes or of these, in the order in which they were parked."""
    wanted = list(codes) if codes is not None else None
    rows = await fetch_all(connection, _LIST, status=status, codes=wanted, run=run, after=after, limit=limit)
    return [_shown(row) for row in rows]


async def get_parked(connection: Connection, identity: int) -> RowDict | None:
    """One parked row; None if there is none with this number."""
    row = await fetch_one(connection, _ONE, id=identity)
    return _shown(row) if row else None


def _shown(row: Mapping[str, Any]) -> RowDict:
    return {**row, "data": loaded(row["data"])}


async def held_row(connection: Connection, identity: int) -> Mapping[str, Any] | None:
    """A held row with all its columns, locked; None if it is not held any more."""
    return await fetch_one(connection, _TO_REPLAY, id=identity)


def lane_row_in(row: Mapping[str, Any]) -> LaneRow:
    """A row of `held_row` as routing reads it: with the fields as they were at its place."""
    facts = loaded(row["facts"]) if row["facts"] is not None else None
    places = (row["recipient"], row["seq"], row["kind"], row["name"], row["event_id"], row["at"])
    return LaneRow(*places, loaded(row["data"]), facts, row["target"])


async def settle_parked(
    connection: Connection, identity: int, status: Literal["replayed", "discarded"], by: str, seq: int | None = None
) -> bool:
    """Mark a held row; False if it is not held any more. `seq` is its new place in the lane."""
    return await execute(connection, _SETTLE, id=identity, status=status, by=by, seq=seq) == 1


async def count_parked(connection: Connection) -> int:
    """The number of held rows."""
    row = await fetch_one(connection, _COUNT)
    return int(row["held"]) if row else 0
