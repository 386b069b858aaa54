"""Messages that a reply answers: one for each run; of a digest, its parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from store.database import Connection, fetch_all, sql
from store.messages.digests import DIGEST_PREFIX

_ANSWERED = sql(
    f"""
    SELECT * FROM (
      SELECT DISTINCT ON (r.id) r.number, m.id, m.key, m.template, m.channel, r.id AS run, r.journey, r.definition, r.clock, r.state,
        CASE WHEN left(r.lane, 2) = 'a_' THEN r.lane ELSE s.account_key END AS account
      FROM messages named
      JOIN messages w ON w.key = CASE WHEN named.status IN ('merged', 'unknown') THEN coalesce(named.merged_into, named.key) ELSE named.key END
      JOIN messages m ON (m.id = w.id AND w.key NOT LIKE '{DIGEST_PREFIX}%') OR (m.merged_into = w.key AND m.status IN ('merged', 'unknown'))
      JOIN runs r ON r.id = m.run LEFT JOIN subjects s ON s.key = m.recipient
      WHERE named.recipient = :person AND (CAST(named.id AS text) = :message OR named.key = :message)
      ORDER BY r.id, m.id) AS answered
    ORDER BY number
    """  # noqa: S608 -- the prefix is ours
)


async def answered_messages(connection: Connection, person: str, message: str) -> list[Mapping[str, Any]]:
    """The messages that a person's reply answers. It names the message, or a digest or any part of one, by number or key."""
    return await fetch_all(connection, _ANSWERED, person=person, message=message)
