"""The feeder: tells each virtual day's events in time, and holds the clock until they are accepted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

from cli.demonstration.api_client import DemoApi

DAY = timedelta(days=1)


async def days(door: DemoApi, origin: datetime, last: int, real_day: float) -> AsyncIterator[int]:
    """Each virtual day at its first instant, with the clock held there until the caller asks for the next."""
    speed = 86_400 / real_day
    started = await door.set_clock(origin, speed, origin)
    for day in range(last + 1):
        begins = origin + day * DAY
        await door.set_clock(origin, speed, begins)
        shown_at = started + (begins - origin) / speed
        await asyncio.sleep(max(0.0, (shown_at - datetime.now(UTC)).total_seconds()) + 0.002)
        yield day
