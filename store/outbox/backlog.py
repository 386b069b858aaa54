"""Backlog of the outbox: how long lanes wait that could be delivered.

A lane that rests after a failure, or waits for the lane of a former visitor that rests, says nothing about the others. So the
ages are a share and a median over lanes that wait and do not rest, of a sample that begins at a random lane.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Final

from store.database import Connection, fetch_one, sql

SAMPLE: Final = 200
"""Lanes of one sample."""
LATE_SECONDS: Final = 60.0
"""A lane that has waited longer is late."""
# Whether a lane rests is a scalar subquery: an EXISTS could become a join that reads every resting lane.
_BACKLOG = sql(
    """
    WITH RECURSIVE ahead AS (
        (SELECT recipient FROM outbox WHERE delivered_at IS NULL AND clock IS NULL AND recipient > :past ORDER BY recipient LIMIT 1)
        UNION ALL
        SELECT further.recipient FROM ahead CROSS JOIN LATERAL
          (SELECT recipient FROM outbox WHERE delivered_at IS NULL AND clock IS NULL AND recipient > ahead.recipient
           ORDER BY recipient LIMIT 1) AS further
    ), again AS (
        (SELECT recipient FROM outbox WHERE delivered_at IS NULL AND clock IS NULL AND recipient <= :past ORDER BY recipient LIMIT 1)
        UNION ALL
        SELECT further.recipient FROM again CROSS JOIN LATERAL
          (SELECT recipient FROM outbox WHERE delivered_at IS NULL AND clock IS NULL AND recipient > again.recipient
           AND recipient <= :past ORDER BY recipient LIMIT 1) AS further
    ), sampled AS (
        SELECT recipient FROM (SELECT recipient FROM ahead UNION ALL SELECT recipient FROM again) AS around LIMIT :most
    ), aged AS (
        SELECT extract(epoch FROM clock_timestamp() - coalesce(
          (SELECT o.created_at FROM outbox o WHERE o.recipient = sampled.recipient AND o.delivered_at IS NULL AND o.clock IS NULL
           AND o.seq > 0 ORDER BY o.seq LIMIT 1),
          (SELECT o.created_at FROM outbox o WHERE o.recipient = sampled.recipient AND o.delivered_at IS NULL AND o.clock IS NULL
           AND o.seq < 0 ORDER BY o.seq DESC LIMIT 1))) AS seconds
        FROM sampled
        WHERE NOT coalesce((SELECT l.attempts > 0 FROM lanes l WHERE l.recipient = sampled.recipient), false)
          AND NOT coalesce((SELECT bool_or(l.attempts > 0) FROM subjects v JOIN lanes l ON l.recipient = v.key
            WHERE v.merged_into = sampled.recipient), false)
    )
    SELECT
      (SELECT extract(epoch FROM clock_timestamp() - o.created_at) FROM outbox o
       WHERE o.delivered_at IS NULL AND o.clock IS NULL ORDER BY o.id LIMIT 1) AS oldest,
      (SELECT count(*) FROM (SELECT 1 FROM outbox o WHERE o.delivered_at IS NULL AND o.clock IS NULL LIMIT 10001) AS counted) AS waiting,
      (SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY seconds) FROM aged) AS median,
      (SELECT avg(CAST(seconds > :late AS int)) FROM aged) AS late,
      (SELECT count(*) FROM (SELECT 1 FROM lanes WHERE attempts > 0 LIMIT 10001) AS counted) AS resting
    """
)


@dataclass(frozen=True, slots=True)
class Backlog:
    """The outbox as of now.

    `waiting` are its undelivered rows and `resting` the lanes that rest, each counted up to 10,001. `oldest_seconds` is the
    age of the oldest row, resting lanes included. `median_seconds` and `late_share` (0 to 1, waiting for more than a minute) are of lanes that wait and do not rest.
    """

    waiting: int = 0
    oldest_seconds: float = 0.0
    median_seconds: float = 0.0
    late_share: float = 0.0
    resting: int = 0


async def read_backlog(connection: Connection) -> Backlog:
    """Measure the backlog: some index probes for each lane of the sample, and the two counts, whatever its size."""
    row = await fetch_one(connection, _BACKLOG, past=f"u_{secrets.token_hex(2)}", most=SAMPLE, late=LATE_SECONDS)
    if row is None:
        return Backlog()
    oldest, median, late = (float(row[name] or 0.0) for name in ("oldest", "median", "late"))
    return Backlog(int(row["waiting"]), oldest, median, late, int(row["resting"]))
