"""Messages sent again by hand: failed ones rendered again, unknown ones with the same bytes."""

from __future__ import annotations

from datetime import datetime

from journeys.gate.status import RESENDABLE, Status
from store.database import Connection, Database, execute, fetch_one, sql
from store.messages.digests import dissolve_digest, is_digest
from store.messages.entries import listed
from store.messages.ledger import transition
from store.outbox import queue as outbox
from store.people import subjects
from store.people.test_clocks import now_for

_ENDED = sql(
    f"""
    SELECT m.recipient, m.key, m.status, s.clock FROM messages m JOIN subjects s ON s.key = m.recipient
    WHERE m.id = :id AND m.status IN {listed(RESENDABLE)}
    """  # noqa: S608 -- the statuses are ours
)
_AGAIN = "due_at = :now, settled_at = NULL, first_attempt_at = NULL, merged_into = NULL"
# What is known to have failed is rendered again, for an address or a template that was mended since. What may have
# arrived goes out as the same bytes, which a mailbox that has them can tell by their Message-ID, and counts meanwhile.
_RESEND = {
    Status.FAILED: transition(
        Status.DEFERRED,
        {Status.FAILED},
        values=f"{_AGAIN}, in_doubt = false, body = NULL, sent_at = NULL",
        where="id = :id",
    ),
    Status.UNKNOWN: transition(
        Status.DEFERRED, {Status.UNKNOWN}, values=f"{_AGAIN}, in_doubt = true", where="id = :id"
    ),
}


async def resend_message(database: Database, identity: int) -> bool:
    """Make a message due again that has ended as `failed` or `unknown`; False if it has not.

    It passes the gate like any other: a consent that was withdrawn or a state that was left withholds it. Of a digest that has
    failed each part is due again by itself.
    """
    async with database.transaction() as connection:
        row = await fetch_one(connection, _ENDED, id=identity)
        if row is None:
            return False
        await subjects.lock_subjects(connection, [row["recipient"]])
        now = await now_for(connection, row["clock"])
        again = await _make_due(connection, identity, row["key"], Status(row["status"]), now)
        if again:
            await outbox.wake_outreach(connection, row["recipient"])
        return again


async def _make_due(connection: Connection, identity: int, key: str, status: Status, now: datetime) -> bool:
    if status is Status.FAILED and is_digest(key):
        return await dissolve_digest(connection, key, now) > 0
    return await execute(connection, _RESEND[status], id=identity, now=now) == 1
