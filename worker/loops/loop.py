"""Background loop: poll, wait, and stop on request."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

from store.availability import log_outage
from store.errors import is_outage

log = structlog.get_logger()


async def sleep_or_stop(stop: asyncio.Event, seconds: float) -> None:
    """Sleep that long, or until `stop` is set."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


async def run_periodically(
    name: str,
    poll: Callable[[], Awaitable[bool]],
    stop: asyncio.Event,
    every: float,
    wait: Callable[[asyncio.Event, float], Awaitable[None]] = sleep_or_stop,
) -> None:
    """Call `poll` every that many seconds until `stop` is set, and at once again while it returns True (there is more).

    Raises nothing. An outage of the database is logged once for the process; any other error is a bug, and is logged with its trace.
    """
    while not stop.is_set():
        more = False
        try:
            more = await poll()
        except Exception as error:
            if is_outage(error):
                log_outage("rounds.store_unreachable", error, what=name)
            else:
                log.exception("rounds.failed", what=name)
        if not more:
            await wait(stop, every)
