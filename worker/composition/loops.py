"""Background loops of a worker process, from settings."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from temporalio.client import Client

from activities.dependencies import Dependencies
from store.database import Database
from store.process_clock import keep_measured
from worker.clock_driver.group import DriverParts
from worker.clock_driver.loop import ClockDriver
from worker.clock_driver.other_caches import OtherCaches
from worker.composition.audiences import audience_loop
from worker.composition.catalog import tracking_plan
from worker.composition.crm import crm_sync
from worker.composition.feed import feed_loop
from worker.composition.reminder_mail import reminder_mail
from worker.loops.escalations import escalate_answers
from worker.loops.fan_out import fan_out_accounts
from worker.loops.field_filling import fields_of, fill_declared_fields
from worker.loops.parked_rows import replay_readable_rows
from worker.loops.reconciliation import Reconciler
from worker.loops.reminders import Reminders, ReminderSender
from worker.loops.retention import Retention
from worker.loops.sender_refusals import watch_sender_refusals
from worker.loops.surge_brake import engage_surge_brake
from worker.loops.urgent_tickets import watch_urgent_tickets
from worker.operations.operation_metrics import publish_counts
from worker.provider_settings import ProviderSettings
from worker.relay.ended_runs import EndedRuns
from worker.relay.relay import OutboxRelay
from worker.relay.signals import WorkflowSignals
from worker.retention_settings import retention_periods
from worker.settings import Settings

Loop = Callable[[asyncio.Event], Coroutine[Any, Any, None]]
"""Runs until the event is set, then finishes the work in hand."""


@dataclass(frozen=True, slots=True)
class BackgroundLoops:
    """The loops, not yet started; `close` is called once all have ended."""

    loops: tuple[Loop, ...]
    close: Callable[[], Awaitable[None]]

    def start(self, stop: asyncio.Event) -> list[asyncio.Task[None]]:
        """One task for each loop; all end after `stop` is set."""
        return [asyncio.create_task(loop(stop)) for loop in self.loops]


def clock_driver(
    database: Database, client: Client, deps: Dependencies, task_queue: str, send: ReminderSender
) -> ClockDriver:
    """The loop that drives test clocks; owners of tasks are reminded by `send`."""
    parts = DriverParts(
        database,
        deps.catalogue,
        WorkflowSignals(client, task_queue),
        OtherCaches(client),
        Reminders(database, send),
        deps.roster,
        tuple(deps.policy.answered.escalate),
        EndedRuns(database, client),
    )
    return ClockDriver(parts)


def _field_filling(settings: Settings, database: Database, deps: Dependencies) -> Loop:
    """The loop that fills newly declared fields; without a tracking plan it ends at once. Raises SettingsError."""
    has_plan = (settings.catalog / "tracking-plan.yaml").exists()
    fields = fields_of(tracking_plan(settings.catalog)) if has_plan else ()
    return partial(fill_declared_fields, database, deps.catalogue, fields)


def background_loops(
    settings: Settings, providers: ProviderSettings, database: Database, client: Client, deps: Dependencies
) -> BackgroundLoops:
    """Every loop, those without configuration included: they end at once. Raises SettingsError."""
    relay = OutboxRelay(database, client, deps.catalogue, settings.task_queue)
    reminders = reminder_mail(settings, providers, deps.roster)
    periods = replace(retention_periods(), tickets=deps.policy.urgent_ticket.longest.at_most())
    loops: tuple[Loop, ...] = (
        relay.run,
        partial(fan_out_accounts, database),
        partial(keep_measured, database),
        partial(watch_urgent_tickets, database),
        Retention(database, periods, pushes_feed=bool(providers.feed_url)).run,
        partial(replay_readable_rows, database, deps.catalogue),
        _field_filling(settings, database, deps),
        clock_driver(database, client, deps, settings.task_queue, reminders).run,
        Reconciler(database, client, relay.signals).run,
        audience_loop(database, settings, providers, deps.catalogue.consent).run,
        Reminders(database, reminders).run,
        partial(escalate_answers, database, deps.policy.answered, deps.roster),
        partial(publish_counts, database),
        partial(engage_surge_brake, database, deps.policy.brake),
        partial(watch_sender_refusals, database, deps.channels),
        feed_loop(database, providers).run,
        partial(crm_sync, database, deps.roster, providers),
    )
    return BackgroundLoops(loops, reminders.close)
