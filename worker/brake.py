"""The blast brake: a journey that suddenly sends many times what it usually does is held until a person releases it."""

from __future__ import annotations

import asyncio
import contextlib

import structlog

from journeys.policy import Brake
from store import stops
from store.database import Database

log = structlog.get_logger()

EVERY = 10.0
"""Seconds between two looks: so long a surge runs before it is noticed, and one query for all journeys costs little."""


async def watch(database: Database, rule: Brake | None, stop: asyncio.Event, every: float = EVERY) -> None:
    """Look again and again until told to stop; without a rule there is nothing to do."""
    while rule is not None and not stop.is_set():
        try:
            async with database.transaction() as connection:
                for thrown in await stops.brake(connection, rule):
                    log.error("brake.stopped_journey", journey=thrown["name"], why=thrown["why"], turn="operator")
        except Exception as fault:  # noqa: BLE001 -- the store comes back; until then nothing is sent either
            log.warning("brake.store_unreachable", error=type(fault).__name__)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), every)
