"""The worker's process: Temporal worker and relay under one roof, drained on SIGTERM. `python -m worker`."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys

import structlog
from temporalio.client import Client

from store.database import Database
from store.timeouts import limit_lock_time
from worker import event_loop, temporal
from worker.composition import worker as composition
from worker.composition.crm import crm_sync
from worker.composition.providers import load_providers
from worker.health import health_port
from worker.logs import configure_logging
from worker.loops import surge_brake
from worker.loops.audiences import audience_loop
from worker.loops.escalations import escalate_answers
from worker.loops.feed_push import feed_loop
from worker.loops.loop import sleep_or_stop
from worker.loops.reconciliation import Reconciler
from worker.loops.reminder_mail import reminder_mail
from worker.loops.reminders import Reminders
from worker.relay.relay import OutboxRelay
from worker.settings import Settings, SettingsError, load_settings

log = structlog.get_logger()

RECONNECT_SECONDS = 0.5
HOLDING_SECONDS = 60.0
"""More than a relay's batch (20 s) and its last call (10 s) take; a step's transaction is short."""


async def run_worker(settings: Settings) -> None:
    """Work until told to stop: then no new work, the steps in hand are finished, and the process ends with 0."""
    if settings.database_url is None:
        raise SettingsError("TENURE_DATABASE_URL is not set: give the database, or run `make up`")
    if settings.temporal_address is None:
        raise SettingsError(
            "TENURE_TEMPORAL_ADDRESS is not set: give host:port of a Temporal frontend, or run `make up`"
        )
    stop = asyncio.Event()
    for sig in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sig, stop.set)
    database = Database(settings.database_url, pool=20)
    limit_lock_time(database, HOLDING_SECONDS)
    client = await _connected(settings, stop)
    if client is None:
        return
    deps = composition.dependencies(settings, database)
    given = load_providers()
    audiences = audience_loop(database, settings, given, deps.catalogue.consent)
    feeding = feed_loop(database, given)
    reminding = reminder_mail(settings, given, deps.roster)
    relay = OutboxRelay(database, client, deps.catalogue, settings.task_queue)
    health = health_port(settings.worker_port, lambda: not stop.is_set(), host=settings.worker_host)
    async with contextlib.AsyncExitStack() as running:
        await running.enter_async_context(health)
        for each in (
            composition.worker(client, settings, deps),
            *composition.channel_workers(client, settings, deps),
        ):
            await running.enter_async_context(each)
        log.info("worker.started", task_queue=settings.task_queue)
        reconciler = Reconciler(database, client, relay)
        braking = surge_brake.engage_surge_brake(database, deps.policy.brake, stop)
        rounds = (
            relay.run(stop),
            reconciler.run(stop),
            audiences.run(stop),
            Reminders(database, reminding).run(stop),
            escalate_answers(database, deps.policy.answered, deps.roster, stop),
            braking,
            feeding.run(stop),
            crm_sync(database, deps.roster, given, stop),
        )
        loops = [asyncio.create_task(each) for each in rounds]
        await stop.wait()
        log.info("worker.draining")
        await asyncio.gather(*loops)
    for channel in deps.channels.values():
        await channel.close()
    await reminding.close()
    await database.close()
    log.info("worker.stopped")


async def _connected(settings: Settings, stop: asyncio.Event) -> Client | None:
    """Wait for Temporal as long as it takes: to end and be started again would take longer. None when told to stop."""
    while not stop.is_set():
        try:
            return await temporal.connect_temporal(settings)
        except RuntimeError as fault:
            log.warning("worker.temporal_unreachable", error=str(fault)[:200])
        await sleep_or_stop(stop, RECONNECT_SECONDS)
    return None


def main() -> int:
    """Entry point."""
    try:
        settings = load_settings()
        configure_logging(settings.log_format)
        event_loop.run_until_done(run_worker(settings), fast=True)
    except SettingsError as fault:
        sys.stderr.write(f"{fault}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
