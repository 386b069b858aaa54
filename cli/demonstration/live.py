"""Live run of the demonstration, with one kill of the worker."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
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
    """Counts of the live run."""

    accepted: int = 0
    tasks_closed: int = 0
    killed_pid: int = 0
    killed_on_day: int = 0
    seconds: float = 0.0


async def play_live(
    stack: Stack, settings: Settings, streams: Sequence[Stream], last: int, real_day: float, say: Printer
) -> Played:
    """Send every day's events, close tasks once a week, kill the worker on the middle day, and wait until all is settled.

    `last` is the last virtual day and `real_day` the length of a day in real seconds. Raises StackError.
    """
    played = Played()
    began = time.monotonic()
    keys = settings.write_key.get_secret_value(), settings.operator_key.get_secret_value()
    async with DemoApi(stack.endpoints.api_url, *keys) as api, reading_evidence(stack) as evidence:
        for journey in (shop.JOURNEY, *saas.JOURNEYS):
            await api.publish(settings.catalog / "journeys" / f"{journey}.yaml")
        by_day, script = shop.calls_by_day(streams), saas.Script()
        async for day in days(api, shop.ORIGIN, last, real_day):
            # Timers due at the day's first instant fire before its events, as in the backtest.
            await _settled(evidence, shop.ORIGIN + timedelta(days=day))
            await api.send([*by_day.get(day, ()), *script.calls.get(day, ())])
            await saas.play_signals(api, script, day)
            if day % 7 == 3:
                played.tasks_closed += await saas.close_open_tasks(api, RESOLUTIONS)
            await _kill_or_report(stack, played, day, last, api.accepted, say)
            # The clock is held until the day is settled: seconds lost to the kill are not weeks of virtual time.
            await _settled(evidence, shop.ORIGIN + timedelta(days=day))
            if script.later.get(day):
                await api.send(script.later[day])
                await _settled(evidence, shop.ORIGIN + timedelta(days=day))
        # A delivered signal may still wait for its step: each open run answers only after it.
        for run in await open_run_ids(evidence.connection):
            await api.ask_run(run)
        await _settled(evidence, shop.ORIGIN + timedelta(days=last))
        played.accepted, played.seconds = api.accepted, time.monotonic() - began
    return played


async def _kill_or_report(stack: Stack, played: Played, day: int, last: int, accepted: int, say: Printer) -> None:
    if day == last // 2:
        played.killed_on_day = day
        played.killed_pid = await stack.kill("worker")
        say(f"day {day}: worker {played.killed_pid} killed with SIGKILL on purpose; the supervisor restarts it")
    elif day % 15 == 0:
        say(f"day {day:>3}  {shop.ORIGIN + timedelta(days=day):%d %b %Y}  {accepted:>5} events accepted")


async def _settled(evidence: Evidence, until: datetime) -> None:
    """Wait until every accepted event is decided, every due timer has fired and every attempt has a result."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while (left := await evidence.unsettled(until)) > 0:
        if time.monotonic() > deadline:
            raise StackError(
                f"{left} rows are not settled after {SETTLE_SECONDS:.0f} s; see {evidence.maildir.parent}/logs"
            )
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def reading_evidence(stack: Stack) -> AsyncIterator[Evidence]:
    """Evidence of the stack, over a database connection of its own."""
    database = open_database(stack.settings.model_copy(update={"database_url": stack.endpoints.database_url}))
    try:
        async with database.reading() as connection:
            yield Evidence(connection, stack.endpoints.maildir or stack.home)
    finally:
        await database.close()
