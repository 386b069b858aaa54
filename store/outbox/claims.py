"""The relay's side of the outbox: claims on lanes, deliveries, rests.

The relay claims a lane, never a row, so two relays cannot overtake each other within one recipient. Lanes are claimed by the
most urgent row that they carry, then by age (record 0034). A lane that rests is found again by the end of its rest alone: its
rows are marked, so that a million of them cost a claim nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from sqlalchemy import Interval, and_, bindparam, exists, extract, func, literal, not_, select, update

from store.database import Connection, execute, fetch_all, fetch_one, sql
from store.expressions import PAST, any_of
from store.outbox.rows import COLUMNS, OutboxRow, outbox_row
from store.schema import lanes, outbox

MOST_RESTED: Final = 16
"""Lanes of one claim whose rest has just ended: they may fail again, and must not take the places of others."""
MOST_MARKED: Final = 1_000
"""Rows of a lane that are marked when it rests. Others cost each claim a probe for ten seconds of them."""

_HAS_UNDELIVERED_VISITOR = """
    coalesce((SELECT true FROM subjects v CROSS JOIN LATERAL
      (SELECT 1 FROM outbox w WHERE w.recipient = v.key AND w.delivered_at IS NULL AND w.clock IS NULL AND w.kind <> 'wake'
       LIMIT 1) AS undelivered
      WHERE v.merged_into = {lane} LIMIT 1), false)
    """
"""A scalar subquery: an EXISTS could become a join that reads every subject for each lane."""
_WAITING = sql(
    """
    WITH RECURSIVE turns AS (
        (SELECT urgency, turn_at, recipient FROM outbox
         WHERE delivered_at IS NULL AND clock IS NULL AND rests IS FALSE AND urgency <= :urgency
         ORDER BY urgency, turn_at, recipient LIMIT 1)
        UNION ALL
        SELECT further.* FROM turns CROSS JOIN LATERAL
          (SELECT urgency, turn_at, recipient FROM outbox
           WHERE delivered_at IS NULL AND clock IS NULL AND rests IS FALSE AND urgency <= :urgency
             AND (urgency, turn_at, recipient) > (turns.urgency, turns.turn_at, turns.recipient)
           ORDER BY urgency, turn_at, recipient LIMIT 1) AS further
    )
    SELECT l.recipient FROM turns CROSS JOIN LATERAL
      (SELECT recipient FROM lanes WHERE lanes.recipient = turns.recipient AND ready_at <= clock_timestamp()
       AND NOT {visitor} FOR UPDATE SKIP LOCKED) AS l
    LIMIT :lanes
    """.replace("{visitor}", _HAS_UNDELIVERED_VISITOR.format(lane="lanes.recipient"))
)
"""The waiting lanes in their order, one probe for each ten seconds of a lane's rows, as far as needed.

A lane with many rows or one of another relay takes no place of others. A lane appears again for rows of another urgency or age.
"""
_RESTED = sql(
    """
    SELECT recipient FROM lanes
    WHERE attempts > 0 AND ready_at <= statement_timestamp() AND NOT {visitor}
      AND EXISTS (SELECT 1 FROM outbox w WHERE w.recipient = lanes.recipient AND w.delivered_at IS NULL AND w.clock IS NULL)
    ORDER BY ready_at LIMIT :lanes FOR UPDATE SKIP LOCKED
    """.replace("{visitor}", _HAS_UNDELIVERED_VISITOR.format(lane="lanes.recipient"))
)
_ROWS = sql(
    """
    SELECT {columns}
    FROM unnest(CAST(:recipients AS text[])) AS lane(recipient) CROSS JOIN LATERAL
      (SELECT * FROM outbox w WHERE w.recipient = lane.recipient AND w.delivered_at IS NULL AND w.clock IS NULL ORDER BY w.seq LIMIT :most) AS o
    WHERE NOT {visitor}
    ORDER BY o.recipient, o.seq
    """.replace("{visitor}", _HAS_UNDELIVERED_VISITOR.format(lane="lane.recipient")).replace(
        "{columns}", ", ".join(f"o.{column.name}" for column in COLUMNS)
    )
)
"""No rows of a lane while a lane merged into it has undelivered rows: the runs that moved receive those first."""
_BY_INDEX = "SET LOCAL enable_seqscan = off"
"""What follows in the transaction reads some rows by their keys. Planned while the tables of a new installation are empty, it
would read them whole until they are analyzed, which their first thousands of events are faster than."""
_LONGEST_REST = timedelta(seconds=60)
_FIRST_REST = timedelta(milliseconds=100)
_doubled = literal(_FIRST_REST).op("*", return_type=Interval())(func.power(2, func.least(lanes.c.attempts, 10)))
_REST = sql(
    update(lanes)
    .where(lanes.c.recipient == bindparam("recipient"))
    .values(
        attempts=lanes.c.attempts + 1,
        last_error=bindparam("error"),
        ready_at=func.clock_timestamp() + func.least(literal(_LONGEST_REST), _doubled),
    )
)
_waits = and_(outbox.c.delivered_at.is_(None), outbox.c.clock.is_(None))
_to_mark = (
    select(outbox.c.id)
    .where(outbox.c.recipient == bindparam("recipient"), _waits, outbox.c.rests.is_(False))
    .order_by(outbox.c.seq)
    .limit(MOST_MARKED)
)
_MARK = sql(update(outbox).where(outbox.c.id.in_(_to_mark)).values(rests=True))
_delivered = (
    update(outbox).where(any_of(outbox.c.id, "ids")).values(delivered_at=func.clock_timestamp()).cte("delivered")
)
_failed_before = select(lanes.c.recipient).where(any_of(lanes.c.recipient, "recipients"), lanes.c.attempts > 0)
_unmarked = (
    update(outbox)
    .where(outbox.c.recipient.in_(_failed_before), _waits, outbox.c.rests, not_(any_of(outbox.c.id, "ids")))
    .values(rests=False)
    .cte("unmarked")
)
_DELIVERED = sql(
    update(lanes)
    .where(any_of(lanes.c.recipient, "recipients"), lanes.c.attempts > 0)
    .values(attempts=0, last_error=None, ready_at=PAST)
    .add_cte(_delivered, _unmarked)
)
_NEXT_READY = sql(
    select(extract("epoch", lanes.c.ready_at - func.clock_timestamp()).label("seconds"))
    .where(lanes.c.attempts > 0, exists().where(outbox.c.recipient == lanes.c.recipient, _waits))
    .order_by(lanes.c.ready_at)
    .limit(1)
)
_END_RESTS = sql(update(lanes).where(lanes.c.attempts > 0).values(ready_at=PAST))


async def claim_lanes(
    connection: Connection, urgency: int, most_lanes: int, most_rows: int, *, rested: bool = False
) -> dict[str, list[OutboxRow]]:
    """Lock up to `most_lanes` waiting recipients of this urgency or a greater one, and read up to `most_rows` of each.

    The most urgent and oldest first, each lane's rows in order. With `rested` lanes whose rest has ended too. They are
    locked until the commit.
    """
    rows = await fetch_all(connection, _RESTED, lanes=min(MOST_RESTED, most_lanes)) if rested else []
    left = most_lanes - len(rows)
    rows = [*rows, *(await fetch_all(connection, _WAITING, urgency=urgency, lanes=left) if left else ())]
    waiting: dict[str, list[OutboxRow]] = {row["recipient"]: [] for row in rows}
    if waiting:
        await connection.execute(_BY_INDEX)
        for row in await fetch_all(connection, _ROWS, recipients=list(waiting), most=most_rows):
            waiting[row["recipient"]].append(outbox_row(row))
    return waiting


async def mark_delivered(connection: Connection, ids: Sequence[int], recipients: Sequence[str]) -> None:
    """Record that these rows have reached Temporal; their lanes have no failure any more."""
    if ids:
        await execute(connection, _DELIVERED, ids=list(ids), recipients=list(recipients))


async def rest_lane(connection: Connection, recipient: str, error: str) -> None:
    """Leave a lane alone for a while after a failure: longer each time, a minute at most."""
    await execute(connection, _REST, recipient=recipient, error=error[:500])
    await execute(connection, _MARK, recipient=recipient)


async def end_rests(connection: Connection) -> None:
    """Let every resting lane be claimed at once; how often each has failed in a row is kept."""
    await execute(connection, _END_RESTS)


async def next_ready(connection: Connection) -> float | None:
    """Seconds until the first resting lane may be tried again; None if none rests."""
    row = await fetch_one(connection, _NEXT_READY)
    return None if row is None or row["seconds"] is None else max(0.0, float(row["seconds"]))
