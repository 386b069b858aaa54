"""Progress of a driver's signals: rows decided, deadlines passed, messages settled."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Text, and_, bindparam, cast, exists, func, or_, select, update

from journeys.gate.status import Status
from store.database import Connection, execute, fetch_all, fetch_one, sql
from store.messages.due import is_attempting
from store.outbox.rows import COLUMNS, OutboxRow, outbox_row
from store.runs.lanes import LISTENING
from store.schema import messages, outbox, runs

_ROW = sql(select(*COLUMNS).where(outbox.c.id == bindparam("id")))
_DELIVERED = sql(
    update(outbox).where(outbox.c.id == bindparam("id")).values(delivered_at=func.clock_timestamp())
)  # fmt: skip
_decided = cast(runs.c.memory["seqs"].op("->>")(bindparam("lane", type_=Text)), BigInteger)
_HAS_DECIDED = sql(
    select(runs.c.id).where(runs.c.id == bindparam("id"), or_(runs.c.status == "closed", _decided >= bindparam("seq")))
)
_RUN = sql(select(*LISTENING, runs.c.next_due_at).where(runs.c.id == bindparam("id")))
_WAITS_FOR = sql(
    select(runs.c.id).where(
        runs.c.id == bindparam("id"), runs.c.status == "open", runs.c.next_due_at == bindparam("due")
    )
)
_theirs, _attempting = messages.c.recipient == bindparam("person"), is_attempting(messages)
_IS_ATTEMPTED = sql(select(exists().where(_theirs, _attempting).label("found")))
_due = and_(messages.c.status == Status.DEFERRED, messages.c.due_at <= bindparam("now"))
_IS_DUE = sql(select(exists().where(messages.c.id == bindparam("message"), _due).label("found")))
_UNENDED = sql(
    select(messages.c.run, messages.c.action, messages.c.channel, messages.c.status, messages.c.detail)
    .where(_theirs, or_(_attempting, _due))
    .order_by(messages.c.id)
    .limit(1)
)


async def read_row(connection: Connection, row: int) -> OutboxRow:
    """An undelivered row of the outbox."""
    found = await fetch_one(connection, _ROW, id=row)
    assert found is not None, "only delivered rows are pruned"
    return outbox_row(found)


async def mark_row_delivered(connection: Connection, row: int) -> None:
    """Mark a row that each of its runs has decided."""
    await execute(connection, _DELIVERED, id=row)


async def has_decided(connection: Connection, run: str, lane: str, seq: int) -> bool:
    """Whether a run has committed a step that contains this number of a lane, or has ended."""
    return await fetch_one(connection, _HAS_DECIDED, id=run, lane=lane, seq=seq) is not None


async def read_listener(connection: Connection, run: str) -> Mapping[str, Any]:
    """The columns of a run that its signals are made from, and its `next_due_at`."""
    found = await fetch_one(connection, _RUN, id=run)
    assert found is not None, "runs are never deleted"
    return found


async def waits_for(connection: Connection, run: str, due: datetime) -> bool:
    """Whether this is still the next deadline of an open run."""
    return await fetch_one(connection, _WAITS_FOR, id=run, due=due) is not None


async def is_attempted(connection: Connection, person: str) -> bool:
    """Whether a message of a person has an unfinished attempt, or one to repeat at the same instant."""
    found = await fetch_one(connection, _IS_ATTEMPTED, person=person)
    return bool(found and found["found"])


async def is_due(connection: Connection, message: int, now: datetime) -> bool:
    """Whether a message is deferred and due."""
    found = await fetch_one(connection, _IS_DUE, message=message, now=now)
    return bool(found and found["found"])


async def describe_unended(connection: Connection, person: str, now: datetime) -> str:
    """A description of the first unsettled message of a person."""
    rows = await fetch_all(connection, _UNENDED, person=person, now=now)
    if not rows:
        return f"messages of {person} are not settled"
    message = rows[0]
    by = f" by {message['channel']}" if message["channel"] else ""
    why = f": {message['detail']}" if message["detail"] else ""
    return f"message {message['action']} of run {message['run']}{by} is {message['status']}{why}"
