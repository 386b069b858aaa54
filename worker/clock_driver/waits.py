"""Waits of a driver for the effects of its signals."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from temporalio.service import RPCError

log = structlog.get_logger()

FIRST_RESEND_SECONDS, LAST_RESEND_SECONDS = 0.25, 2.0
"""A signal without an effect is sent again after these times, each twice the one before. Repeating it is harmless, and one that
reaches a run as it continues as new is lost."""
STUCK_SECONDS: Final = 30.0
"""A wait of this length is reported."""
FIRST_LOOK_SECONDS, LAST_LOOK_SECONDS = 0.004, 0.1
"""Pauses between reads of the store: short at first, since most steps take some milliseconds."""

Report = Callable[[str | None], Awaitable[None]]
"""Stores the error of waits that last too long; None when none does any more."""


class Waits:
    """The waits of one clock's groups, in real time: the clock stands meanwhile."""

    def __init__(self, report: Report, stuck_seconds: float = STUCK_SECONDS) -> None:
        self._report, self._stuck_seconds = report, stuck_seconds
        self._stuck: dict[str, str] = {}

    async def until(
        self,
        name: str,
        done: Callable[[], Awaitable[bool]],
        send: Callable[[], Awaitable[object]],
        explain: Callable[[], Awaitable[str]],
    ) -> None:
        """Send again and again until it is done. After `STUCK_SECONDS` the clock is stuck, with the error of `explain`."""
        clock = asyncio.get_running_loop().time
        began = send_at = clock()
        pause, resend = FIRST_LOOK_SECONDS, FIRST_RESEND_SECONDS
        while not await done():
            if clock() >= send_at:
                await self._send(name, send)
                send_at, resend = clock() + resend, min(2 * resend, LAST_RESEND_SECONDS)
            if clock() - began >= self._stuck_seconds and name not in self._stuck:
                await self._note(name, await explain())
            await asyncio.sleep(pause)
            pause = min(pause * 1.3, LAST_LOOK_SECONDS)
        if name in self._stuck:
            await self._note(name, None)

    async def _send(self, name: str, send: Callable[[], Awaitable[object]]) -> None:
        try:
            await send()
        except RPCError as error:  # Temporal is down: the signal is sent again
            log.warning("clock.not_sent", to=name, error=error.status.name)

    async def _note(self, name: str, why: str | None) -> None:
        if why is None:
            del self._stuck[name]
        else:
            self._stuck[name] = why
        await self._report("; ".join(self._stuck.values()) or None)
