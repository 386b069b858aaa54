"""Temporal workers: journeys and outreach, and one per channel queue."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import PollerBehaviorSimpleMaximum, Worker, WorkerDeploymentConfig

from activities.dependencies import CurrentDependencies
from activities.registry import Activities
from journeys.consent.rules import MESSAGED
from journeys.protocol import wire
from worker.sandbox import sandbox
from worker.settings import Settings
from workflows.journey import JourneyWorkflow
from workflows.outreach import OutreachWorkflow
from workflows.probe import ProbeWorkflow

MIN_CACHED_RUNS = 2
"""A run is cached while its local step is in flight. Without a cache it is evicted and the step starts over, endlessly."""

TASKS_AT_ONCE = 16
"""Workflow tasks with their local steps. More would only wait for connections to PostgreSQL, and urgent ones behind them: what
waits in Temporal's queue is given out by priority."""

ACTIVATIONS_AT_ONCE = 4
"""Threads that execute workflow code. Python executes one at a time; more of them would only keep the event loop, and with
it the relay, from its turn. A workflow task that waits for its local activity occupies none."""


def worker(client: Client, settings: Settings, current: CurrentDependencies, **options: Any) -> Worker:
    """A worker for every workflow and activity."""
    cached = max(MIN_CACHED_RUNS, settings.max_cached_workflows)
    return Worker(
        client,
        task_queue=settings.task_queue,
        workflows=[JourneyWorkflow, OutreachWorkflow, ProbeWorkflow],
        activities=Activities(current).all(),
        workflow_runner=sandbox(),
        deployment_config=deployment(settings),
        max_cached_workflows=cached,
        max_concurrent_workflow_tasks=min(TASKS_AT_ONCE, cached),
        workflow_task_executor=ThreadPoolExecutor(ACTIVATIONS_AT_ONCE, "workflows"),
        graceful_shutdown_timeout=timedelta(seconds=settings.graceful_shutdown_seconds),
        **options,
    )


def channel_workers(client: Client, settings: Settings, current: CurrentDependencies) -> list[Worker]:
    """One worker for each channel that may be too slow for a step, on the channel's own queue.

    Queues of fast channels are polled too, and those of channels without a provider: a run keeps the queues with which it
    started, and a provider that is taken away must not stop it.
    """
    activities, channels = Activities(current), current.deps.channels
    inside = {name for name, channel in channels.items() if channel.inside}
    return [
        Worker(
            client,
            task_queue=wire.channel_queue(settings.task_queue, name),
            activities=[activities.apply_step, activities.settle_due],
            activity_task_poller_behavior=PollerBehaviorSimpleMaximum(2),
            graceful_shutdown_timeout=timedelta(seconds=settings.graceful_shutdown_seconds),
        )
        for name in sorted({*channels, *MESSAGED} - inside)
    ]


def deployment(settings: Settings) -> WorkerDeploymentConfig | None:
    """With a deployment and a build id, a run stays on its build until continue-as-new, then takes the current one.

    Without them runs are unversioned: any worker continues them, and changes of workflow code need `patched()`.
    """
    if settings.worker_deployment is None or settings.build_id is None:
        return None
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(settings.worker_deployment, settings.build_id),
        use_worker_versioning=True,
        default_versioning_behavior=VersioningBehavior.PINNED,
    )
