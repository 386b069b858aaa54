"""Probe of a task queue: whether a worker decides workflow tasks now.

A Temporal server may answer health checks and accept workflows long before it hands out tasks, for example while its
services wait for members of an earlier start. Only a completed workflow shows that runs are decided.
"""

from __future__ import annotations

import asyncio
import secrets
from datetime import timedelta
from typing import Final

from temporalio.client import Client, WorkflowFailureError
from temporalio.common import PinnedVersioningOverride, WorkerDeploymentVersion
from temporalio.service import RPCError

from journeys.protocol import wire

ANSWER_SECONDS: Final = 2.0
"""Longest wait for one answer. A worker that polls answers within milliseconds."""
PROBE_LIFE: Final = timedelta(seconds=10)
"""Temporal ends a probe that nobody has answered by then."""
PAUSE_SECONDS: Final = 0.1


async def is_answered(
    client: Client, task_queue: str, *, build: WorkerDeploymentVersion | None = None, seconds: float = ANSWER_SECONDS
) -> bool:
    """Whether a worker of the queue answers a probe within that many seconds; with `build` one of that build. Never raises."""
    pinned = PinnedVersioningOverride(build) if build is not None else None
    try:
        async with asyncio.timeout(seconds):
            await client.execute_workflow(
                wire.PROBE_WORKFLOW,
                id=f"probe/{task_queue}/{secrets.token_hex(8)}",
                task_queue=task_queue,
                execution_timeout=PROBE_LIFE,
                versioning_override=pinned,
            )
    except (RPCError, WorkflowFailureError, TimeoutError):
        return False
    return True


async def until_answered(
    client: Client, task_queue: str, stop: asyncio.Event, *, build: WorkerDeploymentVersion | None = None
) -> None:
    """Return when a worker has answered a probe, or when `stop` is set."""
    while not stop.is_set() and not await is_answered(client, task_queue, build=build):
        await asyncio.sleep(PAUSE_SECONDS)
