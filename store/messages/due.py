"""What a person is owed: messages that wait, attempts whose end nobody has told, and those that are asked for again."""

from __future__ import annotations

from datetime import datetime

from journeys.language.actions import PRIORITIES
from store.database import Connection, Database, execute, fetch_all, fetch_one, sql
from store.messages import digests
from store.messages.ledger import COLUMNS, LedgerEntry, entry_from_row
from store.outbox import queue as outbox
from store.people import subjects
from store.people.test_clocks import now_for

_OWED = f"""
    SELECT {COLUMNS}, r.definition, r.state AS now_in,
      CASE WHEN m.key LIKE 'digest/%' THEN EXISTS (
        SELECT 1 FROM messages p JOIN runs o ON o.id = p.run WHERE p.merged_into = m.key
          AND (p.stands OR (o.status = 'open' AND o.state = p.state AND o.visit = p.visit)))
      ELSE r.status = 'open' AND r.state = m.state AND r.visit = m.visit END AS holds
    FROM messages m JOIN runs r ON r.id = m.run
"""  # noqa: S608 -- the columns are ours
_DUE = sql(
    f"""{_OWED}
    WHERE m.recipient = :person AND ((m.status = 'deferred' AND m.due_at <= :now)
                                  OR (m.status = 'sending' AND m.lease_until <= clock_timestamp()))
    ORDER BY array_position(CAST(:order AS text[]), m.priority), m.due_at, m.id LIMIT 20
    """
)
_QUEUED = sql(
    f"{_OWED} WHERE m.recipient = :person AND m.status = 'deferred' AND m.key NOT LIKE 'digest/%' ORDER BY m.id FOR UPDATE OF m"
)
_NEXT = sql(
    """
    SELECT min(due_at) FILTER (WHERE status = 'deferred') AS due, min(lease_until) FILTER (WHERE status = 'sending') AS lease
    FROM messages WHERE recipient = :person AND status IN ('deferred', 'sending')
    """
)
_LANES = sql(
    """
    SELECT r.lane FROM messages m JOIN runs r ON r.id = m.run
    WHERE m.recipient = :person AND m.status IN ('deferred', 'sending')
    UNION SELECT r.lane FROM messages m JOIN messages p ON p.merged_into = m.key JOIN runs r ON r.id = p.run
    WHERE m.recipient = :person AND m.status IN ('deferred', 'sending') AND m.key LIKE 'digest/%'
    """
)
_RECIPIENT = sql(
    """
    SELECT m.recipient, m.key, m.status, s.clock FROM messages m JOIN subjects s ON s.key = m.recipient
    WHERE m.id = :id AND m.status IN ('failed', 'unknown')
    """
)
# What is known to have failed is rendered anew, for an address or a template that was mended since. What may have
# arrived goes out as the same bytes, which a mailbox that has them can tell by their Message-ID, and counts meanwhile.
_RESEND = sql(
    """
    UPDATE messages SET status = 'deferred', due_at = :now, settled_at = NULL, first_attempt_at = NULL,
      merged_into = NULL, in_doubt = (status = 'unknown'), body = CASE WHEN status = 'unknown' THEN body END,
      sent_at = CASE WHEN status = 'unknown' THEN sent_at END
    WHERE id = :id AND status IN ('failed', 'unknown')
    """
)


async def due_messages(connection: Connection, person: str, now: datetime) -> list[LedgerEntry]:
    """What is to be decided again for a person: deferred rows due by `now`, attempts whose lease has run out.

    The more pressing first (C6): of what waited for one thing it takes the last place under a cap.
    """
    found = await fetch_all(connection, _DUE, person=person, now=now, order=list(PRIORITIES))
    return [entry_from_row(item) for item in found]


async def queued_messages(connection: Connection, person: str) -> list[LedgerEntry]:
    """What waits for its time, locked; but no digest, which may have arrived: of it the gate says what becomes when it is due."""
    return [entry_from_row(item) for item in await fetch_all(connection, _QUEUED, person=person)]


async def next_message_due(connection: Connection, person: str) -> tuple[datetime | None, datetime | None]:
    """The earliest deferred row (the person's clock) and the earliest lease (the real clock)."""
    found = await fetch_one(connection, _NEXT, person=person)
    return (found["due"], found["lease"]) if found else (None, None)


async def lanes_of_unsettled(connection: Connection, person: str) -> set[str]:
    """Whose runs have asked for what a person is owed."""
    return {item["lane"] for item in await fetch_all(connection, _LANES, person=person)}


async def resend_message(database: Database, identity: int) -> bool:
    """Owe a message again whose end is `failed` or `unknown`, due now; False if it is at no such end.

    It passes the gate like any other: a consent that was withdrawn or a state that was left withholds it. Of a digest that has
    failed each part is owed again by itself.
    """
    async with database.transaction() as connection:
        found = await fetch_one(connection, _RECIPIENT, id=identity)
        if found is None:
            return False
        await subjects.lock_subjects(connection, [found["recipient"]])
        now = await now_for(connection, found["clock"])
        if found["status"] == "failed" and found["key"].startswith("digest/"):
            again = await digests.dissolve_digest(connection, found["key"], now, also="failed") > 0
        else:
            again = await execute(connection, _RESEND, id=identity, now=now) == 1
        if again:
            await outbox.wake_outreach(connection, found["recipient"])
        return again
