"""Loop that copies accounts' rows into their members' lanes.

Any number of processes may run it. Each round gives every account that is behind one slice, so that a large account does not
hold up a small one.
"""

from __future__ import annotations

import asyncio
from typing import Final

from prometheus_client import Counter, Gauge

from store.database import Database
from store.outbox import fan_out
from store.outbox.queue import MEMBERS_CHANNEL
from worker.loops.loop import run_periodically
from worker.relay.listener import NotificationListener

POLL_SECONDS: Final = 1.0
"""Poll without a notification after this: one may be lost, and members may have been locked."""
ACCOUNTS: Final = 64
"""Accounts of one round."""

COPIED = Counter("tenure_fan_out_members_total", "Members that were brought up to their account's last rows")
OLDEST = Gauge("tenure_fan_out_oldest_seconds", "Age of the oldest account whose members lack rows")
BEHIND = Gauge("tenure_fan_out_accounts", "Accounts whose members lack rows")


async def fan_out_accounts(database: Database, stop: asyncio.Event, every: float = POLL_SECONDS) -> None:
    """Copy whenever an account has rows for its members, until `stop` is set."""
    listener = NotificationListener(database.url, MEMBERS_CHANNEL)

    async def poll() -> bool:
        listener.notified[""].clear()
        async with database.reading() as connection:
            seconds, accounts = await fan_out.oldest_behind(connection)
            behind = await fan_out.accounts_behind(connection, ACCOUNTS) if accounts else []
        OLDEST.set(seconds)
        BEHIND.set(accounts)
        members = 0
        for account in behind:
            members += await fan_out.copy_slice(database, account)
        COPIED.inc(members)
        return members > 0

    async with listener.listening():
        await run_periodically("fan-out", poll, stop, every, listener.wait)
