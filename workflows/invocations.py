"""Calls from a workflow: activities by name, and continue-as-new."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NoReturn, TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

with workflow.unsafe.imports_passed_through():
    from journeys.protocol import wire
    from journeys.protocol.envelope import parse_instant
    from workflows import limits

T = TypeVar("T")


class RefusedByActivity(Exception):
    """An activity failed and is not retried. Unless it is caught, it blocks the workflow task.

    An uncaught ActivityError would end the run, and only a decision may do that.
    """


async def run_local(name: str, argument: Any, returns: type[T]) -> T:
    """One local activity, retried until it succeeds: five history events a step instead of ten. Raises RefusedByActivity."""
    try:
        result: T = await workflow.execute_local_activity(
            name,
            argument,
            result_type=returns,
            start_to_close_timeout=limits.STEP_TIMEOUT,
            retry_policy=limits.PATIENT,
            local_retry_threshold=limits.LOCAL_PATIENCE,
        )
    except (ActivityError, ApplicationError) as fault:
        raise RefusedByActivity(f"{name}: {fault.cause or fault}") from None
    return result


async def run_queued(name: str, argument: Any, returns: type[T], queue: str) -> T:
    """One ordinary activity on the queue of a slow channel, retried until it succeeds. Raises RefusedByActivity."""
    try:
        result: T = await workflow.execute_activity(
            name,
            argument,
            result_type=returns,
            task_queue=queue,
            start_to_close_timeout=limits.QUEUED_TIMEOUT,
            retry_policy=limits.PATIENT,
        )
    except (ActivityError, ApplicationError) as fault:
        raise RefusedByActivity(f"{name}: {fault.cause or fault}") from None
    return result


def queue_of(step: wire.StepInput, queues: Mapping[str, str]) -> str | None:
    """The queue of the slow channel that a step sends by; None if a local activity applies it."""
    channels = [channel for effect in step.effects for channel in effect.get("via", ())]
    return next((queues[channel] for channel in channels if channel in queues), None)


async def run_step(step: wire.StepInput, queue: str | None) -> wire.StepResult:
    """Apply a step: local, or as an ordinary activity on a queue."""
    if queue is None:
        return await run_local(wire.APPLY_STEP, step, wire.StepResult)
    return await run_queued(wire.APPLY_STEP, step, wire.StepResult, queue)


async def load_definition(start: wire.RunInput, seqs: dict[str, int]) -> wire.LoadResult:
    """The run's definition and queues; what was accepted for it after `seqs`, if it continues from another workflow."""
    return await run_local(wire.LOAD_DEFINITION, wire.LoadInput(start.definition, start.run, seqs), wire.LoadResult)


async def read_undecided(start: wire.RunInput, seqs: dict[str, int]) -> list[wire.Envelope]:
    """What was accepted for the run after `seqs`, in order, delivered or not."""
    request = wire.LoadInput(start.definition, start.run, dict(seqs))
    return await run_local(wire.READ_UNDECIDED, request, list[wire.Envelope])


async def accept_plain(
    start: wire.RunInput, identity: str, name: str, data: dict[str, Any], seqs: Mapping[str, int]
) -> list[wire.Envelope]:
    """Store a plain signal; what was accepted after `seqs`, the signal included, in order. Raises RefusedByActivity."""
    plain = wire.PlainSignal(
        start.run, start.definition, f"{start.run}!{identity}", name, data, dict(seqs), workflow.now().isoformat()
    )
    return await run_local(wire.ACCEPT_PLAIN, plain, list[wire.Envelope])


async def clock_now(clock: str) -> datetime:
    """The now of a test clock."""
    return parse_instant(await run_local(wire.READ_CLOCK, clock, str))


def first_plain_number(start: wire.RunInput) -> int:
    """The number before the first plain signal without an id. A run that resumes does not repeat earlier numbers."""
    return int(workflow.info().start_time.timestamp() * 1000) if start.carried == wire.RESUMES else 0


def is_newer_version_current() -> bool:
    """Whether a deployment of newer workers has become current since this run began on its version."""
    return workflow.info().is_target_worker_deployment_version_changed()


def continue_as_new(argument: Any, *, on_newer_version: bool) -> NoReturn:
    """Continue the run as new, on the newer workers if there are any."""
    behavior = workflow.ContinueAsNewVersioningBehavior.AUTO_UPGRADE if on_newer_version else None
    workflow.continue_as_new(argument, initial_versioning_behavior=behavior)
