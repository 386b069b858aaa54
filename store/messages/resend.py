"""Resending by hand: failed messages rendered again, unknown ones unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import bindparam, select

from journeys.gate.status import RESENDABLE, Status
from store.database import Connection, Database, execute, fetch_one, sql
from store.messages.digests import dissolve_digest, is_digest
from store.messages.entries import status_in
from store.messages.ledger import transition
from store.outbox import queue as outbox
from store.people.subjects import lock_subjects
from store.people.test_clocks import now_from_outside
from store.schema import messages, subjects

_ENDED = sql(
    select(messages.c.recipient, messages.c.key, messages.c.status, subjects.c.clock)
    .join_from(messages, subjects, subjects.c.key == messages.c.recipient)
    .where(messages.c.id == bindparam("id"), status_in(RESENDABLE))
)
_DUE_AGAIN: Final[Mapping[str, Any]] = {
    "due_at": bindparam("now"),
    "settled_at": None,
    "first_attempt_at": None,
    "merged_into": None,
}
_of_id = messages.c.id == bindparam("id")
# A failed message is rendered again, because its address or template may have been corrected since. A message that may
# have arrived is sent as the same bytes, which a mailbox recognises by their Message-ID, and counts as sent meanwhile.
_RESEND = {
    Status.FAILED: transition(
        Status.DEFERRED, {Status.FAILED}, _of_id, **_DUE_AGAIN, in_doubt=False, body=None, sent_at=None
    ),
    Status.UNKNOWN: transition(Status.DEFERRED, {Status.UNKNOWN}, _of_id, **_DUE_AGAIN, in_doubt=True),
}


async def resend_message(database: Database, identity: int) -> bool:
    """Make a message due again that has ended as `failed` or `unknown`; False if it has not.

    The gate decides it like any other: withdrawn consent or a left state withholds it. Of a failed digest each part is
    due again by itself.
    """
    async with database.transaction() as connection:
        row = await fetch_one(connection, _ENDED, id=identity)
        if row is None:
            return False
        await lock_subjects(connection, [row["recipient"]])
        now = await now_from_outside(connection, row["clock"])
        is_due = await _make_due(connection, identity, row["key"], Status(row["status"]), now)
        if is_due:
            await outbox.wake_outreach(connection, row["recipient"])
        return is_due


async def _make_due(connection: Connection, identity: int, key: str, status: Status, now: datetime) -> bool:
    if status is Status.FAILED and is_digest(key):
        return await dissolve_digest(connection, key, now) > 0
    return await execute(connection, _RESEND[status], id=identity, now=now) == 1
