"""`python -m worker`: Temporal workers and background loops in one process.

SIGTERM and SIGINT drain it: no new work is taken, the steps in hand are finished, and the process ends with 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from datetime import timedelta

import structlog
from temporalio.client import Client

from activities.metrics import show_classes
from store.process_clock import CLOCK, measure_on_connect
from store.timeouts import limit_lock_time
from worker import event_loop
from worker.composition import worker as composition
from worker.composition.clients import NO_TEMPORAL, connect_temporal, open_database
from worker.composition.current_catalogue import CurrentCatalogue, current_catalogue
from worker.composition.loops import background_loops
from worker.health import health_port
from worker.logs.configuration import configure_logging
from worker.loops.loop import sleep_or_stop
from worker.probe import until_answered
from worker.provider_settings import load_providers
from worker.settings import Settings, SettingsError, load_settings

log = structlog.get_logger()

POOL = 20
RECONNECT_SECONDS = 0.5
HOLDING_SECONDS = 60.0
"""Longest silence inside a transaction. A relay's batch (20 s) and its last call (10 s) take less; a step takes far less."""


async def run_worker(settings: Settings) -> None:
    """Work until a signal, then drain. Raises SettingsError."""
    if settings.temporal_address is None:
        raise SettingsError(NO_TEMPORAL)
    database = open_database(settings, pool=POOL)
    limit_lock_time(database, HOLDING_SECONDS)
    measure_on_connect(database)
    CLOCK.offset = timedelta(seconds=settings.clock_offset_seconds)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    client = await _connected(settings, stop)
    if client is None:
        return
    async with current_catalogue(settings, database, stop) as catalogue:
        if catalogue is not None:
            await _work(catalogue, client, stop)
    await database.close()
    log.info("worker.stopped")


async def _work(catalogue: CurrentCatalogue, client: Client, stop: asyncio.Event) -> None:
    """Run activities and loops until `stop`, with the newest version of the catalogue."""
    settings, current = catalogue.settings, catalogue.current
    show_classes(current.deps.channels)
    answered = asyncio.Event()
    health = health_port(
        settings.worker_port, lambda: answered.is_set() and not stop.is_set(), host=settings.worker_host
    )
    workers = (composition.worker(client, settings, current), *composition.channel_workers(client, settings, current))
    async with contextlib.AsyncExitStack() as running:
        await running.enter_async_context(health)
        for worker in workers:
            await running.enter_async_context(worker)
        probing = asyncio.create_task(_probe(client, settings, stop, answered))
        while not stop.is_set():
            await _run_loops(catalogue, client, stop)
        await probing
    for channel in current.deps.channels.values():
        await channel.close()


async def _run_loops(catalogue: CurrentCatalogue, client: Client, stop: asyncio.Event) -> None:
    """Run the background loops until `stop`, or until there is a newer version of the catalogue."""
    background = background_loops(
        catalogue.settings, load_providers(), catalogue.database, client, catalogue.current.deps
    )
    ended = asyncio.Event()
    tasks = background.start(ended)
    await catalogue.next_version(stop)
    if stop.is_set():
        log.info("worker.draining")
    ended.set()
    await asyncio.gather(*tasks)
    await background.close()


async def _probe(client: Client, settings: Settings, stop: asyncio.Event, answered: asyncio.Event) -> None:
    """Set `answered` when this worker's build has answered a probe workflow: only then is anything decided."""
    deployment = composition.deployment(settings)
    await until_answered(client, settings.task_queue, stop, build=deployment.version if deployment else None)
    answered.set()
    log.info("worker.started", task_queue=settings.task_queue)


async def _connected(settings: Settings, stop: asyncio.Event) -> Client | None:
    """A client, waited for as long as Temporal is down: a restart would take longer. None after a signal."""
    while not stop.is_set():
        try:
            return await connect_temporal(settings)
        except RuntimeError as error:
            log.warning("worker.temporal_unreachable", error=str(error)[:200])
        await sleep_or_stop(stop, RECONNECT_SECONDS)
    return None


def main() -> int:
    """Exit code of the process: 2 when a setting is wrong or missing."""
    try:
        settings = load_settings()
        configure_logging(settings.log_format)
        event_loop.run_until_done(run_worker(settings), fast=True)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
