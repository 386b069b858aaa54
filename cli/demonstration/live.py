"""Live run of the demonstration, with one kill of the worker."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from cli.demonstration import saas, shop
from cli.demonstration.api_client import DemoApi
from cli.demonstration.evidence import Evidence
from cli.demonstration.shop import EventBody
from journeys.simulation.backtest import Stream
from worker.composition.clients import open_database
from worker.settings import Settings
from worker.stack.supervisor import Stack

Printer = Callable[[str], None]


@dataclass
class Played:
    """Counts of the live run."""

    accepted: int = 0
    tasks_closed: int = 0
    killed_pid: int = 0
    killed_on_day: int = 0
    seconds: float = 0.0


async def play_live(stack: Stack, settings: Settings, streams: Sequence[Stream], last: int, say: Printer) -> Played:
    """Send every day's events, close tasks once a week, kill the worker on the middle day; until day `last` is settled.

    Raises StackError, and ClockNotReady.
    """
    played = Played()
    began = time.monotonic()
    async with DemoApi(stack.endpoints.api_url, settings.operator_key.get_secret_value()) as api:
        for journey in (shop.JOURNEY, *saas.JOURNEYS):
            await api.publish(settings.catalog / "journeys" / f"{journey}.yaml")
        await api.create_clock(shop.ORIGIN)
        by_day, script = shop.calls_by_day(streams), saas.Script()
        for day in range(last + 1):
            # Timers due at the day's first instant fire before its events, as in the backtest.
            await api.advance(shop.ORIGIN + timedelta(days=day))
            company = saas.batches(script.calls.get(day, ()))
            await api.send([*by_day.get(day, ()), *(company[0] if company else ())])
            await _kill_or_report(stack, played, day, last, api.accepted, say)
            await _send_and_settle(api, company[1:])
            await saas.play_signals(api, script, day)
            await _send_and_settle(api, ())
            if saas.is_closing_day(day):
                played.tasks_closed += await saas.close_open_tasks(api)
            await _send_and_settle(api, saas.batches(script.later.get(day, ())))
        played.accepted, played.seconds = api.accepted, time.monotonic() - began
    return played


async def _send_and_settle(api: DemoApi, batches: Sequence[Sequence[EventBody]]) -> None:
    """Wait for what was sent before; then send one batch after another, and wait each time."""
    await api.settle()
    for batch in batches:
        await api.send(batch)
        await api.settle()


async def _kill_or_report(stack: Stack, played: Played, day: int, last: int, accepted: int, say: Printer) -> None:
    if day == last // 2:
        played.killed_on_day = day
        played.killed_pid = await stack.kill("worker")
        say(f"day {day}: worker {played.killed_pid} killed with SIGKILL on purpose; the supervisor restarts it")
    elif day % 15 == 0:
        say(f"day {day:>3}  {shop.ORIGIN + timedelta(days=day):%d %b %Y}  {accepted:>5} events accepted")


@contextlib.asynccontextmanager
async def reading_evidence(stack: Stack) -> AsyncIterator[Evidence]:
    """Evidence of the stack, over a database connection of its own."""
    database = open_database(stack.settings.model_copy(update={"database_url": stack.endpoints.database_url}))
    try:
        async with database.reading() as connection:
            yield Evidence(connection, stack.endpoints.maildir or stack.home)
    finally:
        await database.close()
