"""Loop of the surge brake, which engages kill switches.

Only a person releases it.
"""

from __future__ import annotations

import asyncio

import structlog

from journeys.gate.policy import SurgeBrake
from store.database import Database
from store.messages import kill_switches
from worker.loops.loop import run_periodically

log = structlog.get_logger()

POLL_SECONDS = 10.0
"""A surge runs this long before it is noticed; one query covers all journeys."""


async def engage_surge_brake(
    database: Database, rule: SurgeBrake | None, stop: asyncio.Event, every: float = POLL_SECONDS
) -> None:
    """Check every few seconds until `stop` is set; returns at once when the policy has no such rule."""
    if rule is None:
        return

    async def poll() -> bool:
        async with database.transaction() as connection:
            for switch in await kill_switches.engage_surging(connection, rule):
                log.error("brake.stopped_journey", journey=switch["name"], why=switch["why"], turn="operator")
        return False

    await run_periodically("brake", poll, stop, every)
