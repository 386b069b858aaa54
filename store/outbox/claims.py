"""The relay's side of the outbox: claims on lanes, deliveries, rests.

The relay claims a lane, never a row, so two relays cannot overtake each other within one recipient. When an account's row
has been copied to thousands of members, all their lanes wait at once; lanes where something else waits are claimed apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Interval, and_, bindparam, exists, extract, func, literal, select, update

from store.database import Connection, execute, fetch_all, fetch_one, sql
from store.expressions import PAST, any_of
from store.outbox.rows import COLUMNS, OutboxRow, outbox_row
from store.schema import lanes, outbox

_AROUND = """
    WITH RECURSIVE ahead AS (
        (SELECT recipient FROM outbox WHERE {waits} AND recipient > :past ORDER BY recipient LIMIT 1)
        UNION ALL
        SELECT further.recipient FROM ahead CROSS JOIN LATERAL
          (SELECT recipient FROM outbox WHERE {waits} AND recipient > ahead.recipient
           ORDER BY recipient LIMIT 1) AS further
    ), again AS (
        (SELECT recipient FROM outbox WHERE {waits} AND recipient <= :past ORDER BY recipient LIMIT 1)
        UNION ALL
        SELECT further.recipient FROM again CROSS JOIN LATERAL
          (SELECT recipient FROM outbox WHERE {waits} AND recipient > again.recipient AND recipient <= :past
           ORDER BY recipient LIMIT 1) AS further
    )
    SELECT l.recipient FROM (SELECT recipient FROM ahead UNION ALL SELECT recipient FROM again) AS around
    CROSS JOIN LATERAL
      (SELECT recipient FROM lanes WHERE lanes.recipient = around.recipient AND ready_at <= clock_timestamp()
       FOR UPDATE SKIP LOCKED) AS l
    LIMIT :lanes
    """
"""One round of the waiting lanes from where the last claim ended, one probe for each, as far as needed.

A lane with a million rows, a resting lane or one of another relay takes no place of others, and no lane is claimed
twice before all were claimed once.
"""
_WAITING = sql(_AROUND.replace("{waits}", "delivered_at IS NULL AND clock IS NULL"))
_WAITING_OWN = sql(_AROUND.replace("{waits}", "delivered_at IS NULL AND clock IS NULL AND copy_of IS NULL"))
_ROWS = sql(
    """
    SELECT {columns}
    FROM unnest(CAST(:recipients AS text[])) AS lane(recipient) CROSS JOIN LATERAL
      (SELECT * FROM outbox w WHERE w.recipient = lane.recipient AND w.delivered_at IS NULL AND w.clock IS NULL ORDER BY w.seq LIMIT :most) AS o
    WHERE lane.recipient <> ALL (ARRAY(
      SELECT v.merged_into FROM subjects v WHERE v.merged_into = ANY(CAST(:recipients AS text[])) AND EXISTS
        (SELECT 1 FROM outbox w WHERE w.recipient = v.key AND w.delivered_at IS NULL AND w.clock IS NULL AND w.kind <> 'wake')))
    ORDER BY o.recipient, o.seq
    """.replace("{columns}", ", ".join(f"o.{column.name}" for column in COLUMNS))
)
"""No rows of a lane while a lane merged into it has undelivered rows: the runs that moved receive those first."""
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
_delivered = (
    update(outbox).where(any_of(outbox.c.id, "ids")).values(delivered_at=func.clock_timestamp()).cte("delivered")
)
_DELIVERED = sql(
    update(lanes)
    .where(any_of(lanes.c.recipient, "recipients"), lanes.c.attempts > 0)
    .values(attempts=0, last_error=None, ready_at=PAST)
    .add_cte(_delivered)
)
_waits = and_(outbox.c.delivered_at.is_(None), outbox.c.clock.is_(None))
_NEXT_READY = sql(
    select(extract("epoch", lanes.c.ready_at - func.clock_timestamp()).label("seconds"))
    .where(lanes.c.attempts > 0, exists().where(outbox.c.recipient == lanes.c.recipient, _waits))
    .order_by(lanes.c.ready_at)
    .limit(1)
)
_END_RESTS = sql(update(lanes).where(lanes.c.attempts > 0).values(ready_at=PAST))


async def claim_lanes(
    connection: Connection, past: str, most_lanes: int, most_rows: int, *, own: bool = False
) -> dict[str, list[OutboxRow]]:
    """Lock up to `most_lanes` waiting recipients after `past`, and read up to `most_rows` of each in order.

    With `own` only those where something other than copies waits. They are locked until the commit. The next claim goes on
    after the last key.
    """
    rows = await fetch_all(connection, _WAITING_OWN if own else _WAITING, past=past, lanes=most_lanes)
    waiting: dict[str, list[OutboxRow]] = {row["recipient"]: [] for row in rows}
    if waiting:
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


async def end_rests(connection: Connection) -> None:
    """Let every resting lane be claimed at once; how often each has failed in a row is kept."""
    await execute(connection, _END_RESTS)


async def next_ready(connection: Connection) -> float | None:
    """Seconds until the first resting lane may be tried again; None if none rests."""
    row = await fetch_one(connection, _NEXT_READY)
    return None if row is None or row["seconds"] is None else max(0.0, float(row["seconds"]))
