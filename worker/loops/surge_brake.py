"""The blast brake: a journey that suddenly sends many times what it usually does is held until a person releases it."""

from __future__ import annotations

import asyncio

import structlog

from journeys.gate.policy import SurgeBrake
from store.database import Database
from store.messages import kill_switches
from worker.loops.loop import run_periodically

log = structlog.get_logger()

EVERY = 10.0
"""Seconds between two looks: so long a surge runs before it is noticed, and one query for all journeys costs little."""


async def engage_surge_brake(
    database: Database, rule: SurgeBrake | None, stop: asyncio.Event, every: float = EVERY
) -> None:
    """Look again and again until told to stop; without a rule there is nothing to do."""
    if rule is None:
        return

    async def look() -> bool:
        async with database.transaction() as connection:
            for thrown in await kill_switches.engage_surging(connection, rule):
                log.error("brake.stopped_journey", journey=thrown["name"], why=thrown["why"], turn="operator")
        return False

    await run_periodically("brake", look, stop, every)
