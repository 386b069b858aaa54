"""A whole worker in the process of a test: PostgreSQL, Temporal, relay and SMTP sink."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from temporalio.client import Client

from activities.dependencies import CurrentDependencies, Dependencies
from journeys.decision.compiler import artifact_of, load_chart
from journeys.events.inbound import InboundEvent
from journeys.language.definition import Journey
from journeys.language.parsing import read_journey
from store.clocks import control
from store.clocks.due import read_state
from store.database import Database, fetch_all, sql
from store.definitions import publishing
from store.events import ingest
from store.people.test_clocks import ClockStatus, TestClock
from worker.composition import worker as composition
from worker.composition.clients import connect_temporal
from worker.composition.dependencies import dependencies
from worker.composition.loops import Loop, clock_driver
from worker.loops.fan_out import fan_out_accounts
from worker.loops.reminders import Reminder
from worker.relay.relay import OutboxRelay
from worker.settings import ROOT, Settings
from worker.stack.mail_sink import MailFaults
from worker.stack.mail_sink import listen_for_mail as mail_server
from worker.stack.maildir import Maildir

T = TypeVar("T")
TIMEOUT_SECONDS = 30.0


@dataclass
class LiveStack:
    """The stack that a test drives: `accept` events as the API does, then wait `until` a query has a result."""

    database: Database
    client: Client
    deps: Dependencies
    settings: Settings
    mail: Maildir
    sent: int = 0

    async def publish(self, source: str | Journey, types: Mapping[str, str] | None = None) -> str:
        """Publish a definition without the checker; return its hash."""
        journey = source if isinstance(source, Journey) else read_journey(source)[0]
        assert journey is not None, "the test's journey does not parse"
        artifact_text = artifact_of(journey, types or {})
        chart = load_chart(artifact_text)
        await publishing.publish_definition(self.database, chart, artifact_text, "test", "test")
        return chart.hash

    async def accept(self, *calls: InboundEvent, clock: str | None = None) -> ingest.IngestResult:
        return await ingest.accept(self.database, self.deps.catalogue, list(calls), source="test", clock=clock)

    def track(self, user: str, name: str, at: datetime | None = None, **data: Any) -> InboundEvent:
        self.sent += 1
        return InboundEvent("track", f"m{self.sent}", name, user_id=user, data=data, timestamp=at)

    def identify(self, user: str, **traits: Any) -> InboundEvent:
        self.sent += 1
        return InboundEvent("identify", f"m{self.sent}", "identify", user_id=user, traits=traits)

    async def create_clock(self, clock: str, now: datetime) -> None:
        async with self.database.transaction() as connection:
            await control.create_clock(connection, clock, now)

    async def advance(self, clock: str, to: datetime) -> None:
        async with self.database.transaction() as connection:
            await control.advance_clock(connection, clock, to)

    async def state(self, clock: str) -> tuple[TestClock, bool]:
        """A clock, and whether it has due work."""
        async with self.database.reading() as connection:
            state = await read_state(connection, clock, len(self.deps.policy.answered.escalate))
        assert state is not None
        return state

    async def ready(self, clock: str, *, timeout: float = TIMEOUT_SECONDS) -> TestClock:
        """Wait until everything on a clock is decided; the clock then."""

        def is_ready(state: tuple[TestClock, bool]) -> bool:
            return state[0].status is ClockStatus.READY and not state[1]

        state = await until(lambda: self.state(clock), is_ready, waiting_for=f"clock {clock}", timeout=timeout)
        return state[0]

    async def rows(self, statement: str, **values: Any) -> Sequence[Mapping[str, Any]]:
        async with self.database.reading() as connection:
            return await fetch_all(connection, sql(statement), **values)

    async def until(self, statement: str, accepts: Callable[[Any], bool] = bool, **values: Any) -> Any:
        """Wait until the first value of a query is accepted; return it."""

        async def value() -> Any:
            rows = await self.rows(statement, **values)
            return next(iter(rows[0].values())) if rows else None

        return await until(value, accepts, waiting_for=statement)


_WRITING = sql("SELECT CAST(CAST(pg_current_xact_id() AS text) AS bigint) AS number")
_OLDEST = sql("SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint) AS number")


async def wait_until_certain(database: Database) -> None:
    """Wait until the feed shows everything committed so far: transactions of other tests may hold it back."""
    async with database.transaction() as connection:
        written = (await fetch_all(connection, _WRITING))[0]["number"]
    async with asyncio.timeout(60), database.reading() as connection:
        while (await fetch_all(connection, _OLDEST))[0]["number"] <= written:
            await asyncio.sleep(0.02)


async def until(
    read: Callable[[], Awaitable[T]],
    accepts: Callable[[T], bool] = bool,
    *,
    waiting_for: str = "",
    timeout: float = TIMEOUT_SECONDS,
) -> T:
    """Read until the answer is accepted; return it. Fails with the last answer after `timeout` seconds."""
    deadline = asyncio.get_running_loop().time() + timeout
    while True:
        answer = await read()
        if accepts(answer):
            return answer
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"still {answer!r} after {timeout:.0f} s: {waiting_for}")
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def live_stack(
    database_url: str,
    temporal_address: str,
    task_queue: str,
    folder: Path,
    *,
    catalog: Path | None = None,
    cached: int = 100,
    relaying: bool = True,
    driving: bool = False,
    faults: MailFaults = MailFaults(),
    near: bool = True,
    connect: Callable[[Settings], Awaitable[Client]] = connect_temporal,
) -> AsyncIterator[LiveStack]:
    """A worker with its relay, the driver of test clocks if wanted, and its mail sink, for as long as the body runs."""
    async with await mail_server(folder / "mail", faults=faults) as sink:
        settings = Settings(
            database_url=database_url,
            temporal_address=temporal_address,
            task_queue=task_queue,
            smtp_url=f"smtp://127.0.0.1:{sink.sockets[0].getsockname()[1]}",
            smtp_lookup=folder / "mail",
            catalog=catalog or ROOT / "catalog",
            max_cached_workflows=cached,
            smtp_near=near,
            graceful_shutdown_seconds=5,
        )
        client = await connect(settings)
        database = Database(database_url)
        deps = dependencies(settings, database)
        stop = asyncio.Event()
        relay = OutboxRelay(database, client, deps.catalogue, task_queue)
        async with contextlib.AsyncExitStack() as running:
            # A near relay is called inside the step: nothing would come to the queues of slow channels.
            slow = () if near else composition.channel_workers(client, settings, CurrentDependencies(deps))
            for temporal_worker in (composition.worker(client, settings, CurrentDependencies(deps)), *slow):
                await running.enter_async_context(temporal_worker)
            loops: list[Loop] = [relay.run, partial(fan_out_accounts, database)] if relaying else []
            if driving:
                loops.append(clock_driver(database, client, deps, task_queue, nobody_is_reminded).run)
            tasks = [asyncio.create_task(loop(stop)) for loop in loops]
            try:
                yield LiveStack(database, client, deps, settings, Maildir(folder / "mail"))
            finally:
                stop.set()
                await asyncio.gather(*tasks)
        await database.close()


async def nobody_is_reminded(_: Reminder) -> None:
    """A sender of reminders that tells nobody."""


def utc(day: str) -> datetime:
    """An instant from `2026-05-03` or a full ISO text."""
    at = datetime.fromisoformat(day)
    return at if at.tzinfo else at.replace(tzinfo=UTC)
