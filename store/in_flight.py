"""What had left before a withdrawal was known: an attempt that is already with a provider cannot be called back.

Whoever withdraws is told what is still under way, and their answer waits a while so that mostly there is nothing left.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from journeys.policy import Policy
from store.consents import Effect, refused_by
from store.database import Database, rows, sql

WAIT_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.05

_UNDER_WAY = sql(
    """
    SELECT id, channel, topic, template, priority FROM messages
    WHERE recipient = :person AND status = 'sending' AND lease_until > clock_timestamp() ORDER BY id
    """
)


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A message that may still arrive although it is not wanted any more."""

    id: int
    channel: str
    topic: str | None
    template: str


async def wait_out(
    database: Database, policy: Policy, effect: Effect, *, seconds: float = WAIT_SECONDS
) -> list[UnderWay]:
    """Wait up to `seconds` for the attempts that what was said forbids; those that are left then."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        left = await _under_way(database, policy, effect)
        if not left or asyncio.get_running_loop().time() >= deadline:
            return left
        await asyncio.sleep(_LOOK_SECONDS)


async def _under_way(database: Database, policy: Policy, effect: Effect) -> list[UnderWay]:
    async with database.reading() as connection:
        found = await rows(connection, _UNDER_WAY, person=effect.person)
    return [
        UnderWay(item["id"], item["channel"], item["topic"], item["template"])
        for item in found
        if refused_by(policy, (item["channel"],), item["topic"], item["priority"], effect.said) is not None
    ]
