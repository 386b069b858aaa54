"""Reads of the reconciliation: open runs, forgotten messages, the place of a sweep."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Interval, Text, and_, bindparam, func, not_, or_, select, tuple_
from sqlalchemy.dialects.postgresql import insert

from store.database import Connection, execute, fetch_all, fetch_one, sql
from store.schema import messages, runs, sweeps
from store.schema.base import Timestamp

_open = select(
    runs.c.id,
    runs.c.definition,
    runs.c.lane,
    runs.c.clock,
    runs.c.subject_key,
    runs.c.started_at,
    runs.c.priority,
    runs.c.step,
    runs.c.state,
    runs.c.next_due_at,
).where(runs.c.status == "open")
_OVERDUE = sql(
    _open.where(
        runs.c.clock.is_(None),
        not_(runs.c.paused),
        runs.c.next_due_at < func.statement_timestamp() - bindparam("late", type_=Interval),
        tuple_(runs.c.next_due_at, runs.c.id) > tuple_(bindparam("due", type_=Timestamp), bindparam("id", type_=Text)),
    )
    .order_by(runs.c.next_due_at, runs.c.id)
    .limit(bindparam("most"))
)
_OPEN = sql(
    _open.where(
        runs.c.id > bindparam("id"),
        or_(
            runs.c.state.is_not(None),
            runs.c.started_at < func.clock_timestamp() - bindparam("begun", type_=Interval),
        ),
        or_(
            runs.c.next_due_at.is_(None),
            runs.c.paused,
            runs.c.clock.is_not(None),
            runs.c.next_due_at >= func.clock_timestamp() - bindparam("late", type_=Interval),
        ),
    )
    .order_by(runs.c.id)
    .limit(bindparam("most"))
)
_place = insert(sweeps).values(name=bindparam("name"), place=bindparam("place"))
_KEEP_PLACE = sql(_place.on_conflict_do_update(index_elements=[sweeps.c.name], set_={"place": _place.excluded.place}))
_PLACE = sql(select(sweeps.c.place).where(sweeps.c.name == bindparam("name")))
_late = bindparam("late", type_=Interval)
_FORGOTTEN = sql(
    select(messages.c.recipient)
    .distinct()
    .where(
        messages.c.clock.is_(None),  # on a test clock its driver wakes them
        messages.c.recipient > bindparam("past"),
        or_(
            and_(messages.c.status == "sending", messages.c.lease_until < func.statement_timestamp() - _late),
            and_(messages.c.status == "deferred", messages.c.due_at < func.statement_timestamp() - _late),
        ),
    )
    .order_by(messages.c.recipient)
    .limit(bindparam("most"))
)
BEGINNING = datetime.min.replace(tzinfo=UTC)


async def overdue_runs(
    connection: Connection, late: timedelta, past: tuple[datetime, str], most: int
) -> list[Mapping[str, Any]]:
    """Open runs that have been due for more than `late`, by due date and id, after `past`."""
    return await fetch_all(connection, _OVERDUE, late=late, due=past[0], id=past[1], most=most)


async def open_runs_after(
    connection: Connection, begun: timedelta, late: timedelta, past: str, most: int
) -> list[Mapping[str, Any]]:
    """Open runs that are not overdue, by id, after `past`.

    Of those that never made a step only what was admitted longer than `begun` ago.
    """
    return await fetch_all(connection, _OPEN, begun=begun, late=late, id=past, most=most)


async def read_place(connection: Connection, name: str) -> str:
    """The id after which a sweep goes on; empty at the beginning of a round."""
    row = await fetch_one(connection, _PLACE, name=name)
    return str(row["place"]) if row else ""


async def keep_place(connection: Connection, name: str, place: str) -> None:
    """Store how far a sweep has come."""
    await execute(connection, _KEEP_PLACE, name=name, place=place)


async def people_with_forgotten_messages(connection: Connection, late: timedelta, past: str, most: int) -> list[str]:
    """People with a message that has been due for more than `late`, by key, after `past`. Test clocks have a driver."""
    return [row["recipient"] for row in await fetch_all(connection, _FORGOTTEN, late=late, past=past, most=most)]
