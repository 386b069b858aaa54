"""Half a year in about two minutes, on the real database, Temporal, worker, API and SMTP sink; once with a murder."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from cli.demonstration import saas, shop
from cli.demonstration.api_client import DemoApi
from cli.demonstration.evidence import Evidence
from cli.demonstration.feeder import days
from journeys.simulation.backtest import Stream
from store.reads.demonstration import open_run_ids
from worker.composition.clients import open_database
from worker.settings import Settings
from worker.stack.supervisor import Stack, StackError

SETTLE_SECONDS = 120.0
RESOLUTIONS = {
    "onboarding-call": lambda _task: "booked",
    "renewal-plan": lambda _task: "agreed",
    "renewal-call": lambda _task: "at_risk",
}
Printer = Callable[[str], None]


@dataclass
class Played:
    """What the live run did, for the table."""

    accepted: int = 0
    tasks_closed: int = 0
    killed_pid: int = 0
    killed_on_day: int = 0
    seconds: float = 0.0


async def play_live(
    stack: Stack, settings: Settings, streams: Sequence[Stream], last: int, real_day: float, say: Printer
) -> Played:
    """Feed every day in its time, close the tasks once a week, kill the worker in the middle; all is settled at the end."""
    door = DemoApi(
        stack.endpoints.api_url, settings.write_key.get_secret_value(), settings.operator_key.get_secret_value()
    )
    played = Played()
    began = time.monotonic()
    async with open_evidence(stack, settings) as evidence, aclosing(door):
        for journey in (shop.JOURNEY, *saas.JOURNEYS):
            await door.publish(settings.catalog / "journeys" / f"{journey}.yaml")
        by_day, script = shop.calls_by_day(streams), saas.Script()
        async for day in days(door, shop.ORIGIN, last, real_day):
            # What is due at the day's first instant rings before its events, as in the backtest.
            await _settled(evidence, shop.ORIGIN + timedelta(days=day))
            await door.send([*by_day.get(day, ()), *script.calls.get(day, ())])
            await saas.play_signals(door, script, day)
            if day % 7 == 3:
                played.tasks_closed += await saas.close_open_tasks(door, RESOLUTIONS)
            await _murder_or_say(stack, played, day, last, door.accepted, say)
            # The feeder holds the clock until the day is dealt with: real seconds lost to a murder are no virtual weeks.
            await _settled(evidence, shop.ORIGIN + timedelta(days=day))
            if script.later.get(day):
                await door.send(script.later[day])
                await _settled(evidence, shop.ORIGIN + timedelta(days=day))
        # A signal that was delivered may still be on its way to its step: every run that is open is asked for its own word.
        for run in await open_run_ids(evidence.connection):
            await door.ask_run(run)
        await _settled(evidence, shop.ORIGIN + timedelta(days=last))
        played.accepted, played.seconds = door.accepted, time.monotonic() - began
    return played


async def _murder_or_say(stack: Stack, played: Played, day: int, last: int, accepted: int, say: Printer) -> None:
    if day == last // 2:
        played.killed_on_day = day
        played.killed_pid = await stack.kill("worker")
        say(f"day {day}: worker {played.killed_pid} killed with SIGKILL, on purpose; the supervisor starts another")
    elif day % 15 == 0:
        say(f"day {day:>3}  {shop.ORIGIN + timedelta(days=day):%d %b %Y}  {accepted:>5} events accepted")


async def _settled(evidence: Evidence, until: datetime) -> None:
    """Wait until everything accepted is decided, everything due has rung, and every attempt has ended."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while (left := await evidence.unsettled(until)) > 0:
        if time.monotonic() > deadline:
            raise StackError(
                f"{left} rows were still not settled after {SETTLE_SECONDS:.0f} s; see {evidence.maildir.parent}/logs"
            )
        await asyncio.sleep(0.01)


@asynccontextmanager
async def open_evidence(stack: Stack, settings: Settings) -> AsyncIterator[Evidence]:
    """The record of a running stack, over one connection to its database."""
    database = open_database(settings.model_copy(update={"database_url": stack.endpoints.database_url}), pool=1)
    try:
        async with database.reading() as connection:
            yield Evidence(connection, stack.endpoints.maildir or stack.home)
    finally:
        await database.close()
