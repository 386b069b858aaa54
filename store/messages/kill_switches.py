"""Kill switches by scope, and the surge brake that engages one.

The gate reads the switches in the person's own transaction. All switches have one lock, which the gate shares while it
decides and `engage` holds exclusively: nothing enters `sending` after its commit. The rows are the record: who engaged
a switch, when and why, and who released it.
"""

from __future__ import annotations

from functools import partial
from typing import Final, Literal

from sqlalchemy import Boolean, Interval, and_, bindparam, exists, func, not_, or_, select, true, update
from sqlalchemy.dialects.postgresql import insert

from journeys.gate.policy import SurgeBrake
from journeys.gate.status import Status
from store.database import Connection, Database, fetch_all, fetch_one, sql
from store.expressions import any_of, before_given
from store.locks import Lock, lock_until_commit
from store.messages.ledger import made_due
from store.outbox import queue as outbox
from store.people import subjects
from store.retry import retry_transaction
from store.rows import RowDict
from store.schema import journeys, messages, stops

KillSwitchScope = Literal["all", "channel", "journey", "template"]
BRAKE = "the surge brake"
MOST_WOKEN = 10_000
"""Most people whose outreach is woken at a release; the others' outreaches decide again within the hour."""
AT_ONCE = 200
"""People whose rows are locked in one transaction."""

_stop = (
    stops.c.id,
    stops.c.scope,
    stops.c.name,
    stops.c.why,
    stops.c.by,
    stops.c.at,
    stops.c.released_at,
    stops.c.released_by,
)
_in_force = stops.c.released_at.is_(None)
_ENGAGE = sql(
    insert(stops)
    .values(scope=bindparam("scope"), name=bindparam("name"), why=bindparam("why"), by=bindparam("by"))
    .on_conflict_do_nothing(index_elements=[stops.c.scope, stops.c.name], index_where=_in_force)
    .returning(*_stop)
)
_ENGAGED = sql(select(*_stop).where(stops.c.scope == bindparam("scope"), stops.c.name == bindparam("name"), _in_force))
_LIST = sql(
    select(*_stop)
    .where(or_(bindparam("all", type_=Boolean), _in_force), before_given(stops.c.id))
    .order_by(stops.c.id.desc())
    .limit(bindparam("limit"))
)
_RELEASE = sql(
    update(stops)
    .where(stops.c.id == bindparam("id"), _in_force)
    .values(released_at=func.clock_timestamp(), released_by=bindparam("by"))
    .returning(*_stop)
)
_GET = sql(select(*_stop).where(stops.c.id == bindparam("id")))
STOPPED: Final = "stopped"
"""The code of the gate's reason: messages that wait for it are decided again when the switch is released."""
_WHO_WAITED = sql(
    select(messages.c.recipient)
    .distinct()
    .where(
        messages.c.status == Status.DEFERRED,
        messages.c.due_at > messages.c.decided_at,
        messages.c.reasons.contains([{"code": STOPPED}]),
        messages.c.recipient > bindparam("past"),
    )
    .order_by(messages.c.recipient)
    .limit(bindparam("most"))
)
_MAKE_DUE = made_due(messages.c.decided_at, any_of(messages.c.recipient, "people"))
_over, _usual = bindparam("over", type_=Interval), bindparam("usual", type_=Interval)
# The statement's instant in conditions, since an index does not compare with `clock_timestamp`, which is volatile.
_lately_from = func.statement_timestamp() - _over
_of_journey = select(func.count().label("number")).where(
    messages.c.journey == journeys.c.key, messages.c.clock.is_(None)
)
_lately = _of_journey.where(messages.c.sent_at > _lately_from).lateral("lately")
_is_much = _lately.c.number > bindparam("least")
_before = _of_journey.where(
    _is_much, messages.c.sent_at <= _lately_from, messages.c.sent_at > _lately_from - _usual
).lateral("before")
# Each journey is counted by its own part of one index; earlier messages only for journeys that send much now.
_SENT_LATELY = sql(
    select(journeys.c.key.label("journey"), _lately.c.number.label("lately"), _before.c.number.label("before"))
    .join_from(journeys, _lately, true())
    .join(_before, true())
    .where(
        _is_much,
        not_(
            exists().where(
                stops.c.scope == "journey",
                stops.c.name == journeys.c.key,
                or_(
                    stops.c.released_at.is_(None),
                    and_(stops.c.by == bindparam("brake"), stops.c.released_at > _lately_from),
                ),
            )
        ),
    )
)


async def engage(connection: Connection, scope: KillSwitchScope, name: str, why: str, by: str) -> RowDict:
    """Engage a switch, or return the one that is engaged already. Waits for the decisions in progress."""
    await lock_until_commit(connection, Lock.STOPS)
    engaged = await fetch_one(connection, _ENGAGE, scope=scope, name=name, why=why, by=by)
    row = engaged or await fetch_one(connection, _ENGAGED, scope=scope, name=name)
    assert row is not None
    return dict(row)


async def list_stops(connection: Connection, *, all_of_them: bool, before: int | None, limit: int) -> list[RowDict]:
    """Kill switches, newest first: those that are engaged, or all."""
    rows = await fetch_all(connection, _LIST, all=all_of_them, before=before, limit=limit)
    return [dict(row) for row in rows]


async def release_switch(database: Database, identity: int, by: str) -> RowDict | None:
    """Release a switch, and decide again what waited for it. None if there is none; releasing twice changes nothing."""
    async with database.transaction() as connection:
        row = await fetch_one(connection, _RELEASE, id=identity, by=by)
        if row is None:
            row = await fetch_one(connection, _GET, id=identity)
    if row is None:
        return None
    past, woken = "", 0
    while people := await retry_transaction(database, partial(_reevaluate, past=past)):
        past, woken = people[-1], woken + len(people)
        if woken >= MOST_WOKEN:
            break
    return dict(row)


async def _reevaluate(connection: Connection, past: str) -> list[str]:
    """Make the messages of the next people due. People are locked before their messages, as in every step."""
    people = [row["recipient"] for row in await fetch_all(connection, _WHO_WAITED, past=past, most=AT_ONCE)]
    await subjects.lock_subjects(connection, people)
    rows = await fetch_all(connection, _MAKE_DUE, people=people, codes=[STOPPED])
    for recipient in sorted({row["recipient"] for row in rows}):
        await outbox.wake_outreach(connection, recipient)
    return people


async def engage_surging(connection: Connection, rule: SurgeBrake) -> list[RowDict]:
    """Engage a switch for each journey that sends far more than usual; those engaged just now.

    Messages on a test clock are not counted: a month of them may be sent in a second. After an operator has released
    it, the brake ignores that journey for the window in which it counts.
    """
    over, usual = rule.over.at_most(), rule.usual.at_most()
    rows = await fetch_all(connection, _SENT_LATELY, over=over, usual=usual, least=rule.least, brake=BRAKE)
    stopped = []
    for row in rows:
        if rule.is_surge(row["lately"], row["before"]):
            why = f"{row['lately']} messages in {over}, usually {rule.usual_number(row['before']):.0f}"
            stopped.append(await engage(connection, "journey", row["journey"], why, BRAKE))
    return stopped
