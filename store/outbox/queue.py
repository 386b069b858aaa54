"""The outbox: what must reach runs, in each recipient's order, and the relay's claim on it (design §5).

A row has one recipient and that recipient's next `seq`, taken under the recipient's row lock. The relay claims a lane,
never a row, so two relays cannot overtake each other within one recipient. Rows stay for a while after delivery: a
timer's step reads from here what was accepted before it decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson

from store.database import Connection, as_json, execute, fetch_all, fetch_one, sql
from store.people import subjects

CHANNEL = "tenure_outbox"
KEPT = timedelta(days=7)
MOST_BYTES = 512 * 1024
"""Of what is read for a run at once: an activity's result has a limit, and the run asks again."""

# Inserting and telling the relay are one statement: it is told at commit, and not of what has arrived already.
_PUT = sql(
    f"""
    WITH put AS (
      INSERT INTO outbox (recipient, seq, kind, name, event_id, at, data, facts, target, delivered_at, trace)
      SELECT recipient, seq, kind, name, event_id, at, data, facts, target, delivered_at, trace
      FROM unnest(CAST(:recipients AS text[]), CAST(:seqs AS bigint[]), CAST(:kinds AS text[]), CAST(:names AS text[]),
                  CAST(:event_ids AS text[]), CAST(:ats AS timestamptz[]), CAST(:datas AS jsonb[]), CAST(:facts AS jsonb[]),
                  CAST(:targets AS text[]), CAST(:delivered AS timestamptz[]), CAST(:traces AS uuid[]))
        AS w(recipient, seq, kind, name, event_id, at, data, facts, target, delivered_at, trace)
      RETURNING delivered_at)
    SELECT pg_notify('{CHANNEL}', '') FROM put WHERE delivered_at IS NULL LIMIT 1
    """  # noqa: S608 -- the channel is ours
)
_WAKE = sql(
    f"""
    WITH put AS (
      INSERT INTO outbox (recipient, seq, kind, event_id, at)
      SELECT coalesce((SELECT merged_into FROM subjects WHERE key = :recipient), :recipient), -nextval(pg_get_serial_sequence('outbox', 'id')), 'wake', '', clock_timestamp()
      RETURNING recipient)
    SELECT pg_notify('{CHANNEL}', '') FROM put
    """  # noqa: S608 -- the channel is ours
)
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
_AFTER = sql(
    """
    SELECT id, recipient, seq, kind, name, event_id, at, data, facts, target
    FROM outbox WHERE kind <> 'wake' AND recipient = :recipient AND seq > :seq AND seq > :entered AND (target IS NULL OR target = :target)
    ORDER BY seq LIMIT 500
    """
)
_REST = sql(
    """
    UPDATE lanes SET attempts = attempts + 1, last_error = :error,
      ready_at = clock_timestamp() + least(interval '60 seconds', interval '100 milliseconds' * power(2, least(attempts, 10)))
    WHERE recipient = :recipient
    """
)
_OFFER = sql(
    f"""
    WITH offered AS
      (UPDATE outbox SET delivered_at = NULL WHERE recipient = :recipient AND seq = :seq RETURNING recipient)
    SELECT pg_notify('{CHANNEL}', '') FROM offered
    """  # noqa: S608 -- the channel is ours
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


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One occurrence for one recipient. `facts` is by scope; `target` names the one run it is for, if only one."""

    recipient: str
    seq: int
    kind: str
    name: str
    event_id: str
    at: datetime
    data: Mapping[str, Any]
    facts: Mapping[str, Mapping[str, Any]] | None = None
    target: str | None = None
    id: int = 0
    delivered_at: datetime | None = None
    size: int = 0
    """Bytes of what it carries, as stored."""
    trace: str | None = None
    """Where it came from (`journeys/events/tracing.py`): what the step that decides it goes on with; not read by the relay."""


def _read(item: Mapping[str, Any]) -> OutboxRow:
    return OutboxRow(
        recipient=item["recipient"],
        seq=item["seq"],
        kind=item["kind"],
        name=item["name"],
        event_id=item["event_id"],
        at=item["at"],
        data=_loaded(item["data"]),
        facts=_loaded(item["facts"]) if item["facts"] is not None else None,
        target=item["target"],
        id=item["id"],
        size=len(item["data"]) + len(item["facts"] or ""),
    )


def _loaded(value: Any) -> Any:
    return orjson.loads(value) if isinstance(value, str) else value


async def enqueue(connection: Connection, waiting: Sequence[OutboxRow]) -> None:
    """Insert rows whose seqs were taken under their recipients' locks, and wake the relay at commit."""
    if not waiting:
        return
    await execute(
        connection,
        _PUT,
        recipients=[r.recipient for r in waiting],
        seqs=[r.seq for r in waiting],
        kinds=[r.kind for r in waiting],
        names=[r.name for r in waiting],
        event_ids=[r.event_id for r in waiting],
        ats=[r.at for r in waiting],
        datas=[as_json(r.data) for r in waiting],
        facts=[as_json(r.facts) if r.facts is not None else None for r in waiting],
        targets=[r.target for r in waiting],
        delivered=[r.delivered_at for r in waiting],
        traces=[r.trace for r in waiting],
    )


async def enqueue_one(
    connection: Connection,
    *,
    recipient: str,
    kind: str,
    name: str,
    event_id: str,
    at: datetime,
    data: Mapping[str, Any],
    target: str | None,
    trace: str | None = None,
) -> int:
    """Lock one recipient and put one row in its lane; its seq. For what does not come through `ingest`."""
    locked = await subjects.lock_subjects(connection, [recipient])
    subject = locked[recipient]
    seq = subject.next_seq()
    await subjects.save_subjects(connection, [subject])
    await enqueue(connection, [OutboxRow(recipient, seq, kind, name, event_id, at, data, target=target, trace=trace)])
    return seq


async def wake_outreach(connection: Connection, person: str) -> None:
    """Ask the relay to wake a person's outreach. The person's lane need not be locked: a wake has no order and no `seq`."""
    await execute(connection, _WAKE, recipient=person)


async def claim_lanes(connection: Connection, past: str, lanes: int, most: int) -> dict[str, list[OutboxRow]]:
    """Lock up to `lanes` recipients that wait, the next ones after `past`, and read `most` rows of each in order.

    Held until the commit. The last key is where the next claim goes on from.
    """
    claimed = [item["recipient"] for item in await fetch_all(connection, _WAITING, past=past, lanes=lanes)]
    waiting: dict[str, list[OutboxRow]] = {recipient: [] for recipient in claimed}
    if claimed:
        for item in await fetch_all(connection, _ROWS, recipients=claimed, most=most):
            waiting[item["recipient"]].append(_read(item))
    return waiting


async def after(connection: Connection, recipient: str, seq: int, entered: int, target: str) -> list[OutboxRow]:
    """What was accepted for a run's recipient after `seq`, delivered or not; of much the first part, at least one."""
    found: list[OutboxRow] = []
    left = MOST_BYTES
    for item in await fetch_all(connection, _AFTER, recipient=recipient, seq=seq, entered=entered, target=target):
        left -= len(item["data"]) + len(item["facts"] or "")
        if found and left < 0:
            break
        found.append(_read(item))
    return found


async def offer(connection: Connection, recipient: str, seq: int) -> None:
    """Let the relay bring a row after all."""
    await execute(connection, _OFFER, recipient=recipient, seq=seq)


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
