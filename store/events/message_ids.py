"""Message ids of a source: repetitions, and ids that come again with other content.

A repetition has the same content: what its sender wrote of the person, the account and the event. Times, the library and
the proof of a user id may differ, since a retry makes them again. Ids outlive their events (`store/retention/events.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from journeys.events.inbound import InboundEvent
from store.database import Connection, fetch_all, sql

OTHER_CONTENT: Final = "messageId was used before, for an event of other content or of another person"
_BYTES: Final = 16
"""Of each hash: two of a year's ids or contents are never equal by chance."""
_CONTENT: Final = (
    *("type", "event", "name", "userId", "anonymousId", "previousId", "groupId", "properties", "traits"),
    *("user", "account", "data"),  # of a signal
)
"""The fields of a call that a retry repeats."""

_KNOWN = sql(
    """
    SELECT given.id, coalesce(e.content, m.content) AS content
    FROM unnest(CAST(:ids AS text[]), CAST(:digests AS bytea[])) AS given (id, digest)
    LEFT JOIN events e ON e.source = :source AND e.message_id = given.id
    LEFT JOIN message_ids m ON m.digest = given.digest
    WHERE e.id IS NOT NULL OR m.digest IS NOT NULL
    """
)


def id_digest(source: str, message_id: str) -> bytes:
    """The hash under which an id is kept once its event is gone; `store/retention/events.py` makes the same in SQL."""
    return hashlib.sha256(f"{source}\0{message_id}".encode()).digest()[:_BYTES]


def content_of(event: InboundEvent) -> bytes | None:
    """The hash of what a sender wrote. None for Tenure's own events, whose ids say all of them."""
    return content_digest(event.raw) if event.raw is not None else None


def content_digest(raw: Mapping[str, Any]) -> bytes:
    """The hash of a call in its sender's words, from which a merge or a rotated key takes nothing."""
    context = raw.get("context")
    account = context.get("groupId") if isinstance(context, Mapping) else None
    content = [account, *(raw.get(name) for name in _CONTENT)]
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS, default=str)).digest()[:_BYTES]


def other_contents(events: Iterable[InboundEvent], known: Mapping[str, bytes | None]) -> list[InboundEvent]:
    """The events whose id has other content: by `known`, else by the first of these events with the id."""
    first = dict[str, bytes | None](known)
    different = []
    for event in events:
        content = content_of(event)
        before = first.setdefault(event.message_id, content)
        if before is not None and content is not None and before != content:
            different.append(event)
    return different


async def known_contents(connection: Connection, source: str, ids: Iterable[str]) -> dict[str, bytes | None]:
    """Of these ids of a source those that were accepted, each with its content, which None leaves open."""
    unique = sorted(set(ids))
    if not unique:
        return {}
    digests = [id_digest(source, identity) for identity in unique]
    rows = await fetch_all(connection, _KNOWN, source=source, ids=unique, digests=digests)
    return {row["id"]: row["content"] for row in rows}
