"""The parts of a live stack: a test starts and stops workers and relays by itself."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from temporalio.worker import Worker

from activities.dependencies import CurrentDependencies
from store.database import Database
from tests.support.forked import ForkedProcess
from tests.support.live_stack import LiveStack
from worker.composition import worker as composition
from worker.composition.clients import connect_temporal
from worker.composition.dependencies import dependencies
from worker.loops.fan_out import fan_out_accounts
from worker.relay.relay import OutboxRelay
from worker.settings import Settings
from worker.stack.components import python_module
from worker.stack.mail_sink import MailFaults
from worker.stack.mail_sink import listen_for_mail as mail_server
from worker.stack.maildir import Maildir
from worker.testing.rehearsal import Rehearsal


@contextlib.asynccontextmanager
async def stack_without_workers(
    database_url: str,
    temporal_address: str,
    task_queue: str,
    folder: Path,
    *,
    faults: MailFaults = MailFaults(),
    **options: Any,
) -> AsyncIterator[LiveStack]:
    """A live stack without a worker and a relay."""
    async with await mail_server(folder / "mail", faults=faults) as sink:
        settings = Settings(
            database_url=database_url,
            temporal_address=temporal_address,
            task_queue=task_queue,
            smtp_url=f"smtp://127.0.0.1:{sink.sockets[0].getsockname()[1]}",
            smtp_lookup=folder / "mail",
            graceful_shutdown_seconds=5,
            **options,
        )
        client = await connect_temporal(settings)
        database = Database(database_url)
        yield LiveStack(database, client, dependencies(settings, database), settings, Maildir(folder / "mail"))
        await database.close()


@contextlib.asynccontextmanager
async def running_relay(stack: LiveStack) -> AsyncIterator[None]:
    """Run a relay and the fan-out for as long as the body runs."""
    stop = asyncio.Event()
    relay = OutboxRelay(stack.database, stack.client, stack.deps.catalogue, stack.settings.task_queue)
    tasks = [asyncio.create_task(loop) for loop in (relay.run(stop), fan_out_accounts(stack.database, stop))]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*tasks)


def worker(stack: LiveStack, **settings: Any) -> Worker:
    """A worker with some settings replaced, to be used as a context."""
    return composition.worker(stack.client, stack.settings.model_copy(update=settings), CurrentDependencies(stack.deps))


@contextlib.asynccontextmanager
async def worker_process(
    stack: LiveStack | Rehearsal, module: str = "worker", **environ: str
) -> AsyncIterator[ForkedProcess]:
    """A worker in a process of its own. At the end it gets SIGTERM, if it still runs, and must exit with 0."""
    log = Path(stack.settings.smtp_lookup or stack.settings.home).parent / f"worker-{uuid.uuid4().hex[:8]}.log"
    environment = {**stack.settings.environ(worker_port=0), **environ}
    process = ForkedProcess(python_module([module], log, environment))
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 60) == 0, log.read_text(errors="replace")
