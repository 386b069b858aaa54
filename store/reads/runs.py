"""Reads of runs: one, or those of a subject page by page."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Text, bindparam, func, or_, select, tuple_

from store.database import Connection, fetch_all, fetch_one, sql
from store.expressions import any_of, when_given
from store.rows import RowDict
from store.schema import definitions, runs
from store.schema.base import Timestamp

_runs = select(
    runs.c.id,
    runs.c.journey,
    definitions.c.version,
    runs.c.definition,
    runs.c.subject_key.label("subject"),
    func.nullif(runs.c.case_key, "").label("case"),
    runs.c.epoch,
    runs.c.status,
    runs.c.paused,
    runs.c.state,
    runs.c.visit,
    runs.c.outcome,
    runs.c.started_at,
    runs.c.entered_at,
    runs.c.last_at,
    runs.c.next_due_at,
    runs.c.ended_at,
    runs.c.step,
    runs.c.clock,
).outerjoin_from(runs, definitions, definitions.c.hash == runs.c.definition)
_GET = sql(_runs.where(runs.c.id == bindparam("id")))
_before = bindparam("before", type_=Timestamp)
_LIST = sql(
    _runs.where(
        any_of(runs.c.subject_key, "keys"),
        when_given("status", runs.c.status),
        or_(
            _before.is_(None),
            tuple_(runs.c.started_at, runs.c.id) < tuple_(_before, bindparam("id", type_=Text)),
        ),
    )
    .order_by(runs.c.started_at.desc(), runs.c.id.desc())
    .limit(bindparam("limit"))
)


async def get_run(connection: Connection, identity: str) -> RowDict | None:
    """One run as it was after its last step."""
    row = await fetch_one(connection, _GET, id=identity) if "\x00" not in identity else None
    return dict(row) if row else None


async def list_runs(
    connection: Connection, keys: list[str], status: str | None, after: tuple[datetime, str] | None, limit: int
) -> list[RowDict]:
    """Runs of a subject, the newest first; `after` is the last row of the page before."""
    before, identity = after or (None, "")
    rows = await fetch_all(connection, _LIST, keys=keys, status=status, before=before, id=identity, limit=limit)
    return [dict(row) for row in rows]
