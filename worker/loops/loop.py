"""What a worker does beside Temporal, again and again until it is told to stop: one shape for all of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

from store.errors import is_outage

log = structlog.get_logger()


async def run_periodically(name: str, look: Callable[[], Awaitable[bool]], stop: asyncio.Event, every: float) -> None:
    """`look` every so many seconds, and at once again while it says that there is more.

    Raises nothing. A store that is away is waited for, in one line each time; anything else is a fault of ours, with its trace.
    """
    while not stop.is_set():
        more = False
        try:
            more = await look()
        except Exception as fault:
            if is_outage(fault):
                log.warning("rounds.store_unreachable", what=name, error=type(fault).__name__)
            else:
                log.exception("rounds.failed", what=name)
        if not more:
            await sleep_or_stop(stop, every)


async def sleep_or_stop(stop: asyncio.Event, seconds: float) -> None:
    """Wait so long, or until told to stop."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
