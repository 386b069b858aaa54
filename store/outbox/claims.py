"""The relay's side of the outbox: claims on lanes, deliveries, rests, the backlog.

The relay claims a lane, never a row, so two relays cannot overtake each other within one recipient. Rows stay for a while
after delivery: a timer's step reads from them what was accepted before it decides (`undecided.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from store.database import Connection, execute, fetch_all, fetch_one, sql
from store.outbox.rows import OutboxRow, outbox_row

KEPT = timedelta(days=7)
"""How long a row is kept after its delivery."""

_WAITING = sql(
    """
    WITH RECURSIVE ahead AS (
        (SELECT recipient FROM outbox WHERE delivered_at IS NULL AND recipient > :past ORDER BY recipient LIMIT 1)
        UNION ALL
        SELECT further.recipient FROM ahead CROSS JOIN LATERAL
          (SELECT recipient FROM outbox WHERE delivered_at IS NULL AND recipient > ahead.recipient
           ORDER BY recipient LIMIT 1) AS further
    ), again AS (
        (SELECT recipient FROM outbox WHERE delivered_at IS NULL AND recipient <= :past ORDER BY recipient LIMIT 1)
        UNION ALL
        SELECT further.recipient FROM again CROSS JOIN LATERAL
          (SELECT recipient FROM outbox WHERE delivered_at IS NULL AND recipient > again.recipient AND recipient <= :past
           ORDER BY recipient LIMIT 1) AS further
    )
    SELECT l.recipient FROM (SELECT recipient FROM ahead UNION ALL SELECT recipient FROM again) AS around
    CROSS JOIN LATERAL
      (SELECT recipient FROM lanes WHERE lanes.recipient = around.recipient AND ready_at <= clock_timestamp()
       FOR UPDATE SKIP LOCKED) AS l
    LIMIT :lanes
    """
)
"""Once around the lanes from where the last claim ended, one probe each, as far as needed: neither a lane with a million
rows nor one that rests or is another relay's takes anybody's place, and no lane is met twice before all were met once."""
_ROWS = sql(
    """
    SELECT o.id, o.recipient, o.seq, o.kind, o.name, o.event_id, o.at, o.data, o.facts, o.target
    FROM unnest(CAST(:recipients AS text[])) AS lane(recipient) CROSS JOIN LATERAL
      (SELECT * FROM outbox w WHERE w.recipient = lane.recipient AND w.delivered_at IS NULL ORDER BY w.seq LIMIT :most) AS o
    WHERE lane.recipient <> ALL (ARRAY(
      SELECT v.merged_into FROM subjects v WHERE v.merged_into = ANY(CAST(:recipients AS text[])) AND EXISTS
        (SELECT 1 FROM outbox w WHERE w.recipient = v.key AND w.delivered_at IS NULL AND w.kind <> 'wake')))
    ORDER BY o.recipient, o.seq
    """
)
"""Nothing of a lane whose visitor's own lane still holds something: runs that came along hear that first."""
_REST = sql(
    """
    UPDATE lanes SET attempts = attempts + 1, last_error = :error,
      ready_at = clock_timestamp() + least(interval '60 seconds', interval '100 milliseconds' * power(2, least(attempts, 10)))
    WHERE recipient = :recipient
    """
)
_DELIVERED = sql(
    """
    WITH done AS (UPDATE outbox SET delivered_at = clock_timestamp() WHERE id = ANY(CAST(:ids AS bigint[])))
    UPDATE lanes SET attempts = 0, last_error = NULL, ready_at = '-infinity'
    WHERE recipient = ANY(CAST(:recipients AS text[])) AND attempts > 0
    """
)
_NEXT_READY = sql(
    """
    SELECT extract(epoch FROM l.ready_at - clock_timestamp()) AS seconds
    FROM lanes l WHERE l.attempts > 0 AND EXISTS
      (SELECT 1 FROM outbox o WHERE o.recipient = l.recipient AND o.delivered_at IS NULL)
    ORDER BY l.ready_at LIMIT 1
    """
)
_OLDEST = sql(
    """
    SELECT (SELECT extract(epoch FROM clock_timestamp() - created_at) FROM outbox
            WHERE delivered_at IS NULL ORDER BY id LIMIT 1) AS seconds,
           (SELECT count(*) FROM (SELECT 1 FROM outbox WHERE delivered_at IS NULL LIMIT 10001) AS counted) AS waiting
    """
)
_PRUNE = sql("DELETE FROM outbox WHERE delivered_at < clock_timestamp() - CAST(:kept AS interval)")


async def claim_lanes(connection: Connection, past: str, lanes: int, most: int) -> dict[str, list[OutboxRow]]:
    """Lock up to `lanes` recipients that wait, the next ones after `past`, and read `most` rows of each in order.

    Held until the commit. The last key is where the next claim goes on from.
    """
    claimed = [item["recipient"] for item in await fetch_all(connection, _WAITING, past=past, lanes=lanes)]
    waiting: dict[str, list[OutboxRow]] = {recipient: [] for recipient in claimed}
    if claimed:
        for item in await fetch_all(connection, _ROWS, recipients=claimed, most=most):
            waiting[item["recipient"]].append(outbox_row(item))
    return waiting


async def mark_delivered(connection: Connection, ids: Sequence[int], recipients: Sequence[str]) -> None:
    """These rows have reached Temporal; their lanes are well."""
    if ids:
        await execute(connection, _DELIVERED, ids=list(ids), recipients=list(recipients))


async def rest_lane(connection: Connection, recipient: str, error: str) -> None:
    """A lane failed: leave it alone for a while, longer each time, a minute at most."""
    await execute(connection, _REST, recipient=recipient, error=error[:500])


async def next_ready(connection: Connection) -> float | None:
    """Seconds until the first resting lane may be tried again; None when none rests."""
    found = await fetch_one(connection, _NEXT_READY)
    return None if found is None or found["seconds"] is None else max(0.0, float(found["seconds"]))


async def backlog(connection: Connection) -> tuple[float, int]:
    """Age of the oldest waiting row in seconds, and how many wait (counted up to 10,001)."""
    found = await fetch_one(connection, _OLDEST)
    return (float(found["seconds"] or 0.0), int(found["waiting"])) if found else (0.0, 0)


async def prune_delivered(connection: Connection) -> int:
    """Forget rows delivered long ago."""
    return await execute(connection, _PRUNE, kept=KEPT)
