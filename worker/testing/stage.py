"""Set-up of a rehearsal: worker, relay and mail sink on time-skipping servers."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from temporalio.client import Client, Interceptor, OutboundInterceptor, StartWorkflowInput, WorkflowHandle
from temporalio.testing import TimeSkipper, TimeSkippingConfig

from activities.outgoing.guarded_channel import GuardedChannel
from journeys.protocol.wire import RunInput
from store.people.test_clocks import set_clock
from worker.composition import worker as composition
from worker.composition.catalog import tracking_plan
from worker.composition.clients import connect_temporal, open_database
from worker.composition.dependencies import dependencies
from worker.loops.fan_out import fan_out_accounts
from worker.provider_settings import ProviderSettings
from worker.relay.relay import OutboxRelay
from worker.settings import ROOT, Settings
from worker.stack.mail_sink import MailFaults
from worker.stack.mail_sink import listen_for_mail as mail_server
from worker.stack.maildir import Maildir
from worker.testing.rehearsal import AHEAD, MAIN, Rehearsal


class _OwnClocks(Interceptor):
    """Starts runs without the store's test clock: theirs is the server's clock, which skips time."""

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        return _WithoutClock(next)


class _WithoutClock(OutboundInterceptor):
    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
        input.args = [dataclasses.replace(arg, clock=None) if isinstance(arg, RunInput) else arg for arg in input.args]
        return await super().start_workflow(input)


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
    async with await mail_server(folder / "mail", faults=faults) as sink:
        settings = Settings(
            database_url=database_url,
            temporal_address=temporal_address,
            task_queue=f"rehearsal-{uuid.uuid4().hex[:12]}",
            smtp_url=f"smtp://127.0.0.1:{sink.sockets[0].getsockname()[1]}",
            smtp_lookup=folder / "mail",
            catalog=catalog,
            max_cached_workflows=cached,
            graceful_shutdown_seconds=5,
        )
        database, client = open_database(settings), await connect_temporal(settings)
        deps = dependencies(settings, database, clock="workflow", providers=providers)
        now = begins or datetime.now(UTC)
        async with database.transaction() as connection:
            await set_clock(connection, MAIN, now + AHEAD, 1.0, now)
        plan = tracking_plan(catalog)
        starting = Client(**{**client.config(), "interceptors": [_OwnClocks()]})  # type: ignore[arg-type]
        relay = OutboxRelay(database, starting, deps.catalogue, settings.task_queue)
        skipper = TimeSkipper(client, config=TimeSkippingConfig(enabled=False))
        stop = asyncio.Event()
        async with composition.worker(client, settings, deps):
            delivering = [asyncio.create_task(loop) for loop in (relay.run(stop), fan_out_accounts(database, stop))]
            try:
                handle = Rehearsal(
                    database, client, skipper, settings, relay, Maildir(folder / "mail"), plan, MAIN, now
                )
                for channel in deps.channels.values():
                    if isinstance(channel, GuardedChannel):
                        channel.clock = handle.moment  # a circuit stays open for virtual minutes
                yield handle
            finally:
                stop.set()
                await asyncio.gather(*delivering)
        for channel in deps.channels.values():
            await channel.close()
        await database.close()
