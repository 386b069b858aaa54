"""Insertion into lanes: events, copies of account rows, derived signals, wakes of outreaches.

Nothing else writes an outbox row. A row has one recipient and that recipient's next `seq`, taken under the recipient's
row lock, so a lane's order is the order of its commits. Every insertion wakes the relay at commit; the rows of people and
accounts on a test clock are not the relay's but its driver's (record 0016).

| row | kind | by | event id |
|---|---|---|---|
| an accepted event, or the fields that it changed | `signal`, `facts` | `store/events/admission.py` | the event's message id |
| the end of a run that a merge made a duplicate | `merged` | `store/events/admission.py` | message id and run |
| a copy of an account's row, for a member | `signal`, `facts` | `copies.py` | the row's |
| a signal to one run that Tenure derives itself | see `derived.py` | `derived.py` | see `derived.py` |
| messages are due, or must be decided again | `wake` | the gate and what changes its reasons | none |
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Text, bindparam, case, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert

from journeys.gate.status import UNSETTLED
from journeys.language.actions import PRIORITIES
from store.database import Connection, as_json, execute, fetch_one, sql
from store.expressions import unnest
from store.outbox.rows import PRESSING_URGENCY, USUAL_URGENCY, OutboxRow, urgency_of
from store.schema import messages, outbox, runs
from store.schema import subjects as subjects_table

CHANNEL = "tenure_outbox"
"""The NOTIFY channel of the relay. The payload says how urgent the rows are: `PRESSING_ROWS`, empty, or `COPIES`."""
PRESSING_ROWS = "pressing"
"""Urgency up to `PRESSING_URGENCY`."""
COPIES = "copies"
"""Urgency beyond `USUAL_URGENCY`: copies in members' lanes, and promotional messages."""
MEMBERS_CHANNEL = "tenure_members"
"""The NOTIFY channel of the fan-out: an account has rows for its members."""
CLOCKS = "tenure_clocks"
"""The NOTIFY channel of the drivers of test clocks. The payload is the clock's id."""

_given = unnest(
    "given",
    recipients=outbox.c.recipient,
    seqs=outbox.c.seq,
    kinds=outbox.c.kind,
    names=outbox.c.name,
    event_ids=outbox.c.event_id,
    ats=outbox.c.at,
    datas=outbox.c.data,
    facts=outbox.c.facts,
    targets=outbox.c.target,
    delivered=outbox.c.delivered_at,
    traces=outbox.c.trace,
    for_members=outbox.c.for_members,
    copies=outbox.c.copy_of,
    occurred=outbox.c.occurred_at,
    urgencies=outbox.c.urgency,
)
_OF_TARGET = select(2 * runs.c.priority).where(runs.c.id == _given.c.target).scalar_subquery()
_urgency = func.coalesce(_given.c.urgency, _OF_TARGET, USUAL_URGENCY)


def _clock_of(key: ColumnElement[str]) -> ColumnElement[str | None]:
    return select(subjects_table.c.clock).where(subjects_table.c.key == key).scalar_subquery()


def _kind_of(urgency: ColumnElement[int]) -> ColumnElement[str]:
    return case((urgency <= PRESSING_URGENCY, PRESSING_ROWS), (urgency <= USUAL_URGENCY, ""), else_=COPIES)


def _notified(clock: ColumnElement[str | None], kind: ColumnElement[str]) -> ColumnElement[Any]:
    """Notify the relay of rows of a kind, or the driver of a clock."""
    payload = func.coalesce(clock, kind)
    return func.pg_notify(case((clock.is_(None), CHANNEL), else_=CLOCKS), payload)


_columns = [given for given in _given.c if given.name != "urgency"]
# Inserting and notifying are one statement: they take effect at commit, and rows that are delivered already notify nothing.
_put = (
    insert(outbox)
    .from_select(
        [*(given.name for given in _columns), "urgency", "clock"],
        select(*_columns, _urgency, _clock_of(_given.c.recipient)),
    )
    .returning(outbox.c.delivered_at, outbox.c.clock, outbox.c.urgency)
    .cte("put")
)
_kind = _kind_of(_put.c.urgency).label("kind")
_waiting = select(_put.c.clock, _kind).where(_put.c.delivered_at.is_(None)).distinct().subquery("waiting")
_PUT = sql(select(_notified(_waiting.c.clock, _waiting.c.kind)))
_MEMBERS_NOTIFIED = sql(select(func.pg_notify(MEMBERS_CHANNEL, "")))
_recipient = bindparam("recipient", type_=Text)
_canonical = select(subjects_table.c.merged_into).where(subjects_table.c.key == _recipient).scalar_subquery()
_position = case({priority: urgency_of(priority) for priority in PRIORITIES}, value=messages.c.priority)
_most_urgent = (
    select(func.min(_position))
    .where(messages.c.recipient == func.coalesce(_canonical, _recipient), messages.c.status.in_(sorted(UNSETTLED)))
    .scalar_subquery()
)
_person = select(
    func.coalesce(_canonical, _recipient).label("key"),
    _clock_of(_recipient).label("clock"),
    func.coalesce(_most_urgent, USUAL_URGENCY).label("urgency"),
).cte("person")
_woken = (
    insert(outbox)
    .from_select(
        ["recipient", "seq", "kind", "event_id", "at", "urgency"],
        select(
            _person.c.key,
            -func.nextval(func.pg_get_serial_sequence("outbox", "id")),
            literal("wake"),
            literal(""),
            func.clock_timestamp(),
            _person.c.urgency,
        ).where(_person.c.clock.is_(None)),
    )
    .cte("put")
)
_WAKE = sql(select(_notified(_person.c.clock, _kind_of(_person.c.urgency))).add_cte(_woken))
_offered = (
    update(outbox)
    .where(outbox.c.recipient == bindparam("recipient"), outbox.c.seq == bindparam("seq"))
    .values(delivered_at=None)
    .returning(outbox.c.clock, outbox.c.urgency)
    .cte("offered")
)
_OFFER = sql(select(_notified(_offered.c.clock, _kind_of(_offered.c.urgency))))
_ADVANCED = sql(select(func.pg_notify(CLOCKS, bindparam("clock", type_=Text))))


async def enqueue(connection: Connection, waiting: Sequence[OutboxRow]) -> None:
    """Insert rows whose seqs were taken under their recipients' locks, and wake the relay and the fan-out at commit."""
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
        for_members=[as_json(r.for_members.json()) if r.for_members is not None else None for r in waiting],
        copies=[r.copy_of for r in waiting],
        occurred=[r.occurred_at for r in waiting],
        urgencies=[r.urgency for r in waiting],
    )
    if any(r.for_members is not None for r in waiting):
        await fetch_one(connection, _MEMBERS_NOTIFIED)


async def wake_outreach(connection: Connection, person: str) -> None:
    """Have a person's outreach woken. The person's lane need not be locked: a wake has no order and no `seq`.

    It is as urgent as the most urgent of the person's messages that wait.

    On a test clock it is no row: the driver finds what is due in the ledger.
    """
    await execute(connection, _WAKE, recipient=person)


async def offer(connection: Connection, recipient: str, seq: int) -> None:
    """Have a row delivered that was inserted as delivered."""
    await execute(connection, _OFFER, recipient=recipient, seq=seq)


async def notify_driver(connection: Connection, clock: str) -> None:
    """Notify the drivers, at commit, that a test clock has due work."""
    await execute(connection, _ADVANCED, clock=clock)
