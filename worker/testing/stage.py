"""Set-up of a rehearsal: worker, driver of the test clock, and mail sink."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

from temporalio.client import Client

from activities.dependencies import CurrentDependencies, Dependencies
from api.events.tracking_plan import EventCheck
from store.clocks import control
from store.database import Database
from worker.composition import worker as composition
from worker.composition.catalog import tracking_plan
from worker.composition.clients import connect_temporal, open_database
from worker.composition.dependencies import dependencies
from worker.composition.loops import clock_driver
from worker.loops.reminders import Reminder
from worker.provider_settings import ProviderSettings
from worker.settings import ROOT, Settings
from worker.stack.mail_sink import MailFaults
from worker.stack.mail_sink import listen_for_mail as mail_server
from worker.stack.maildir import Maildir
from worker.testing.rehearsal import MAIN, Rehearsal


@contextlib.asynccontextmanager
async def rehearsal(
    database_url: str,
    temporal_address: str,
    folder: Path,
    *,
    catalog: Path = ROOT / "catalog",
    cached: int = 100,
    faults: MailFaults = MailFaults(),
    begins: datetime | None = None,
    providers: ProviderSettings | None = None,
) -> AsyncIterator[Rehearsal]:
    """A rehearsal while the body runs. The test clock begins at `begins`, by default now."""
    async with staged(
        database_url, temporal_address, folder, catalog=catalog, cached=cached, faults=faults
    ) as settings:
        database, client = open_database(settings), await connect_temporal(settings)
        deps = dependencies(settings, database, providers=providers)
        handle = await handle_of(settings, deps, database, client, begins or datetime.now(UTC))
        driver = clock_driver(database, client, deps, settings.task_queue, _note_only)
        stop = asyncio.Event()
        async with composition.worker(client, settings, CurrentDependencies(deps)):
            driving = asyncio.create_task(driver.run(stop))
            try:
                yield handle
            finally:
                stop.set()
                await driving
        await close_staged(deps, database)


async def handle_of(
    settings: Settings, deps: Dependencies, database: Database, client: Client, now: datetime
) -> Rehearsal:
    """The handle of a test, on a new clock that stands at `now`. It needs a worker with a driver, in whatever process."""
    async with database.transaction() as connection:
        await control.create_clock(connection, MAIN, now)
    plan = tracking_plan(settings.catalog)
    return Rehearsal(
        database,
        client,
        settings,
        deps.catalogue,
        Maildir(settings.smtp_lookup or settings.home),
        plan,
        EventCheck(plan, deps.catalogue.consent.rules),
        MAIN,
        now,
        len(deps.policy.answered.escalate),
    )


async def _note_only(_: Reminder) -> None:
    """Owners of tasks are reminded in the task's log: the sink's mails are the customers'."""


@contextlib.asynccontextmanager
async def staged(
    database_url: str, temporal_address: str, folder: Path, *, catalog: Path, cached: int, faults: MailFaults
) -> AsyncIterator[Settings]:
    """The settings of a stage, with a mail sink while the body runs."""
    async with await mail_server(folder / "mail", faults=faults) as sink:
        yield Settings(
            database_url=database_url,
            temporal_address=temporal_address,
            task_queue=f"rehearsal-{uuid.uuid4().hex[:12]}",
            smtp_url=f"smtp://127.0.0.1:{sink.sockets[0].getsockname()[1]}",
            smtp_lookup=folder / "mail",
            catalog=catalog,
            max_cached_workflows=cached,
            graceful_shutdown_seconds=5,
        )


async def close_staged(deps: Dependencies, database: Database) -> None:
    """Close what a stage has opened."""
    for channel in deps.channels.values():
        await channel.close()
    await database.close()
