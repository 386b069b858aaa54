"""Loop that watches for urgent tickets that nobody resolves."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

import structlog
from prometheus_client import Gauge

from store.database import Database
from store.events.tickets import oldest_open
from worker.loops.loop import run_periodically

log = structlog.get_logger()

SECONDS: Final = 600.0
ALARMED: Final = timedelta(days=7)
"""Age from which on the oldest open ticket is logged as the operator's turn."""
OLDEST = Gauge("tenure_urgent_ticket_oldest_seconds", "Age of the oldest urgent ticket that is open")


async def watch_urgent_tickets(database: Database, stop: asyncio.Event) -> None:
    """Measure every ten minutes until `stop` is set."""

    async def poll() -> bool:
        async with database.reading() as connection:
            age = await oldest_open(connection)
        OLDEST.set(age.total_seconds())
        if age >= ALARMED:
            log.error("tickets.open_for_long", days=age.days, turn="operator")
        return False

    await run_periodically("urgent tickets", poll, stop, SECONDS)
