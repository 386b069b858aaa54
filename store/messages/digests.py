"""Digest members: rows that end with their digest or are decided again."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import bindparam

from journeys.gate.status import Status, sources_of
from store.database import Connection, execute, fetch_all, sql
from store.messages.entries import ENTRY, LedgerEntry, entry_from_row, status_in
from store.messages.ledger import transition
from store.schema import messages

DIGEST_PREFIX: Final = "digest/"
"""Prefix of a digest's key, and of no other."""
_PARTS: Final = frozenset({Status.MERGED, Status.UNKNOWN})
"""The statuses of parts whose digest has not failed."""

_part = messages.c.merged_into == bindparam("key")
_READ_PARTS = sql(ENTRY.where(_part, status_in(_PARTS)).order_by(messages.c.id))
_END_PARTS = {
    target: transition(
        target,
        sources_of(target, _PARTS),
        _part,
        detail=bindparam("detail"),
        settled_at=bindparam("now"),
        **({"sent_at": None} if target is Status.FAILED else {}),
    )
    for target in (Status.MERGED, Status.FAILED, Status.UNKNOWN)
}
_DISSOLVE = transition(
    Status.DEFERRED,
    {Status.MERGED, Status.FAILED},
    _part,
    due_at=bindparam("due"),
    sent_at=None,
    settled_at=None,
    ready_at=None,
    attempts=bindparam("attempts"),
    first_attempt_at=bindparam("first"),
    merged_into=None,
    detail=bindparam("detail"),
)
IS_DIGEST: Final = messages.c.key.like(f"{DIGEST_PREFIX}%")
"""Whether a message is a digest."""


def is_digest(key: str) -> bool:
    """Whether the message with this key is a digest."""
    return key.startswith(DIGEST_PREFIX)


async def parts_of(connection: Connection, key: str) -> list[LedgerEntry]:
    """The parts of this digest."""
    return [entry_from_row(row) for row in await fetch_all(connection, _READ_PARTS, key=key)]


async def settle_parts(connection: Connection, key: str, status: Status, detail: str, now: datetime) -> None:
    """End the parts of a digest that has ended: as `merged` if it was sent, else with its status."""
    target = Status.MERGED if status is Status.SENT else status
    await execute(connection, _END_PARTS[target], key=key, detail=detail, now=now)


async def dissolve_digest(
    connection: Connection,
    key: str,
    due: datetime,
    *,
    attempts: int = 0,
    first: datetime | None = None,
    detail: str | None = None,
) -> int:
    """Make each part due by itself instead of retrying the digest; the number of parts.

    They keep its `attempts` and the instant of the first, which count for the message that they are sent with next.
    `detail` is the result of its last attempt, if there was one.
    """
    return await execute(connection, _DISSOLVE, key=key, due=due, attempts=attempts, first=first, detail=detail)
