"""Loop that measures this machine's clock against PostgreSQL's."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog
from prometheus_client import Gauge

from store.database import Database
from store.process_clock import CLOCK, SECONDS
from worker.loops.loop import run_periodically

log = structlog.get_logger()

WARNED: Final = 1.0
"""Seconds of skew from which on it is logged."""
SKEW = Gauge("tenure_clock_skew_seconds", "How far this machine's clock is ahead of PostgreSQL's")


async def measure_skew(database: Database, stop: asyncio.Event) -> None:
    """Measure at once, and every half minute until `stop` is set. Instants that others compare are corrected by it."""

    async def poll() -> bool:
        async with database.reading() as connection:
            await CLOCK.measure(connection)
        seconds = CLOCK.skew.total_seconds()
        SKEW.set(seconds)
        if abs(seconds) >= WARNED:
            log.warning("clock.skewed", ahead_seconds=round(seconds, 3))
        return False

    await run_periodically("clock", poll, stop, SECONDS)
