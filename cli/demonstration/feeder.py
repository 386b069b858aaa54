"""Feeder of virtual days, on a held test clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

from cli.demonstration.api_client import DemoApi

DAY = timedelta(days=1)


async def days(api: DemoApi, origin: datetime, last: int, real_day: float) -> AsyncIterator[int]:
    """Each virtual day from 0 to `last`, at its first instant; `real_day` is its length in real seconds.

    The clock is held there until the caller asks for the next day.
    """
    speed = 86_400 / real_day
    started = await api.set_clock(origin, speed, origin)
    for day in range(last + 1):
        starts_at = origin + day * DAY
        await api.set_clock(origin, speed, starts_at)
        reached_at = started + (starts_at - origin) / speed
        await asyncio.sleep(max(0.0, (reached_at - datetime.now(UTC)).total_seconds()) + 0.002)
        yield day
