"""What a sweep over open runs reads and mends: those past their due date, those without one, rows that must end; and who is owed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from journeys.decision.effects import LogLine
from store.database import Connection, fetch_all, fetch_one, sql
from store.messages import ledger
from store.people import subjects
from store.runs import projection
from store.tasks import requests as task_requests

_COLUMNS = "id, definition, lane, clock, subject_key, started_at, step, state, next_due_at"
_OVERDUE = sql(
    f"""
    SELECT {_COLUMNS} FROM runs
    WHERE status = 'open' AND clock IS NULL AND NOT paused AND next_due_at < clock_timestamp() - CAST(:late AS interval)
      AND (next_due_at, id) > (:due, :id)
    ORDER BY next_due_at, id LIMIT :most
    """  # noqa: S608 -- the columns are ours
)
_QUIET = sql(
    f"""
    SELECT {_COLUMNS} FROM runs
    WHERE status = 'open' AND (next_due_at IS NULL OR paused OR clock IS NOT NULL) AND id > :id
      AND (state IS NOT NULL OR started_at < clock_timestamp() - CAST(:begun AS interval))
    ORDER BY id LIMIT :most
    """  # noqa: S608 -- the columns are ours
)
_CLOSE = sql(
    """
    UPDATE runs SET status = 'closed', outcome = coalesce(outcome, :outcome), next_due_at = NULL,
      ended_at = coalesce(ended_at, CASE WHEN clock IS NULL THEN CAST(:at AS timestamptz)
                                         ELSE coalesce(last_at, started_at) END)
    WHERE id = :id AND status = 'open' RETURNING step, ended_at
    """
)
_FORGOTTEN = sql(
    """
    SELECT DISTINCT m.recipient FROM messages m JOIN subjects s ON s.key = m.recipient LEFT JOIN clocks c ON c.id = s.clock
    WHERE m.status IN ('deferred', 'sending') AND m.recipient > :past
      AND ((m.status = 'sending' AND m.lease_until < clock_timestamp() - CAST(:late AS interval))
        OR (m.status = 'deferred' AND m.due_at < CAST(:late AS interval) * -1
          + coalesce(least(c.limit_at, c.origin + (clock_timestamp() - c.started_at) * c.speed), clock_timestamp())))
    ORDER BY m.recipient LIMIT :most
    """
)
_LAST_LINE = 1_000
"""Its place in the timeline: behind whatever the run's last step wrote."""

BEGINNING = datetime.min.replace(tzinfo=UTC)


async def overdue_runs(
    connection: Connection, late: timedelta, past: tuple[datetime, str], most: int
) -> list[Mapping[str, Any]]:
    """Open runs whose due date is over by more than `late`, by due date and id, the next ones after `past`."""
    return await fetch_all(connection, _OVERDUE, late=late, due=past[0], id=past[1], most=most)


async def runs_without_due_date(
    connection: Connection, begun: timedelta, past: str, most: int
) -> list[Mapping[str, Any]]:
    """Open runs that no due date would betray, by id, the next ones after `past`.

    They wait for signals only, are paused, live on a test clock, or were admitted longer than `begun` ago and never
    made a step.
    """
    return await fetch_all(connection, _QUIET, begun=begun, id=past, most=most)


async def people_with_forgotten_messages(connection: Connection, late: timedelta, past: str, most: int) -> list[str]:
    """People to whom something is owed that was due longer than `late` ago by their clock, by key, the next ones after `past`."""
    return [item["recipient"] for item in await fetch_all(connection, _FORGOTTEN, late=late, past=past, most=most)]


async def close_run(connection: Connection, identity: str, outcome: str, at: datetime) -> bool:
    """The workflow has ended and its row did not know: the row ends, and with it what only an open run may leave open.

    Its tasks and deferred messages are withdrawn; messages of a final state stand. False if it was closed already.
    """
    await subjects.lock_subjects(connection, await ledger.unsettled_recipients(connection, identity))
    closed = await fetch_one(connection, _CLOSE, id=identity, outcome=outcome, at=at)
    if closed is None:
        return False
    ended, reason = closed["ended_at"], f"the run ended as {outcome}"
    log = [LogLine(ended, "finished", outcome, f"its workflow has ended in Temporal: {outcome}")]
    withdrawn = [
        *await task_requests.withdraw_request(connection, identity, reason, ended),
        *[item["action"] for item in await ledger.withdraw_queued(connection, identity, reason, ended)],
    ]
    log += [LogLine(ended, "withdrawn", action, f"withdrawn: {reason}") for action in withdrawn]
    await projection.write_timeline(connection, identity, closed["step"], _LAST_LINE, log)
    return True
