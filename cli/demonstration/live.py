"""Half a year in a minute and a half, on the real database, Temporal, worker, API and SMTP sink; once with a murder."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import asyncpg

from cli.demonstration import saas, shop
from cli.demonstration.evidence import Evidence
from cli.demonstration.feed import days
from cli.demonstration.front_door import FrontDoor
from journeys.backtest import Stream
from worker.settings import Settings
from worker.stack.supervisor import Stack

SETTLE_SECONDS = 180.0
RESOLUTIONS = {
    "onboarding-call": lambda _task: "booked",
    "renewal-plan": lambda _task: "agreed",
    "renewal-call": lambda _task: "at_risk",
}
Say = Callable[[str], None]


@dataclass
class Played:
    """What the live run did, for the table."""

    accepted: int = 0
    tasks_closed: int = 0
    killed_pid: int = 0
    killed_on_day: int = 0
    lag_seconds: float = 0.0
    seconds: float = 0.0
    held_seconds: list[float] = field(default_factory=list)


async def play(
    stack: Stack, settings: Settings, streams: Sequence[Stream], last: int, real_day: float, say: Say
) -> Played:
    """Feed every day in its time, close the tasks once a week, kill the worker in the middle, and wait until all is settled."""
    door = FrontDoor(
        stack.endpoints.api_url, settings.write_key.get_secret_value(), settings.operator_key.get_secret_value()
    )
    played, script = Played(), saas.Script()
    began = time.monotonic()
    try:
        for journey in (shop.JOURNEY, *saas.JOURNEYS):
            await door.publish(settings.catalog / "journeys" / f"{journey}.yaml")
        by_day = shop.calls_by_day(streams)
        async for day in days(door, shop.ORIGIN, last, real_day):
            await door.send([*by_day.get(day, ()), *script.calls.get(day, ())])
            await saas.play_signals(door, script, day)
            if day % 7 == 3:
                played.tasks_closed += await saas.close_tasks(door, RESOLUTIONS)
            if day == last // 2:
                played.killed_on_day = day
                played.killed_pid = await stack.kill("worker")
                say(
                    f"day {day}: worker {played.killed_pid} killed with SIGKILL, on purpose; the supervisor starts another"
                )
            elif day % 15 == 0:
                say(f"day {day:>3}  {shop.ORIGIN + timedelta(days=day):%d %b %Y}  {door.accepted:>5} events accepted")
        played.accepted = door.accepted
        played.seconds = time.monotonic() - began
        played.lag_seconds = await _settled(stack, shop.ORIGIN + timedelta(days=last), say)
    finally:
        await door.close()
    return played


async def _settled(stack: Stack, until: datetime, say: Say) -> float:
    """Wait until everything accepted is decided, everything due has rung, and every attempt has ended."""
    began = time.monotonic()
    connection = await connect(stack)
    evidence = Evidence(connection, stack.endpoints.maildir or stack.home)
    say("all days told: waiting until everything that was due is settled")
    try:
        while (left := await evidence.unsettled(until)) > 0:
            if time.monotonic() - began > SETTLE_SECONDS:
                raise RuntimeError(f"{left} rows were still not settled after {SETTLE_SECONDS:.0f} s")
            await asyncio.sleep(0.1)
    finally:
        await connection.close()
    return time.monotonic() - began


async def connect(stack: Stack) -> asyncpg.Connection:
    """A connection of our own to the stack's database, to read what it says."""
    return await asyncpg.connect(stack.endpoints.database_url.replace("+asyncpg", "", 1))
