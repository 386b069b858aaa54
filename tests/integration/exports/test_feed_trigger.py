"""Every change of a message is a line of the feed, whatever statement makes it."""

from __future__ import annotations

import asyncpg

from store.database import plain_url

MESSAGE = """
    INSERT INTO messages (key, run, step, subject_key, recipient, journey, state, visit, action, template, via, priority,
      at, status, decided_at)
    VALUES ('m', 'r', 1, 'u', 'u', 'j', 's', 1, 'a', 't', '[]', 'lifecycle', now(), 'deferred', now())
"""
LINES = "SELECT was, status, decided, attempt FROM feed ORDER BY id"


async def test_a_change_of_status_is_one_line_with_the_previous_status(database_url: str) -> None:
    db = await asyncpg.connect(plain_url(database_url))
    await db.execute(MESSAGE)
    await db.execute("UPDATE messages SET due_at = now()")
    await db.execute("UPDATE messages SET status = 'sending', attempts = 1, decided_at = now() + interval '1 s'")
    await db.execute("UPDATE messages SET status = 'sent'")
    await db.execute("UPDATE messages SET status = 'sent', detail = 'again'")
    lines = [tuple(row) for row in await db.fetch(LINES)]
    await db.close()
    assert lines == [
        (None, "deferred", True, 0),
        ("deferred", "sending", True, 1),
        ("sending", "sent", False, 1),
    ]
