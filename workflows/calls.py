"""Calling the world from a workflow: local activities by name, and a run's test clock."""

from __future__ import annotations

from typing import Any, TypeVar

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from journeys.clock import TestClock
    from journeys.envelope import instant
    from journeys.wire import APPLY_STEP, ClockSpec, StepInput, StepResult
    from workflows import options

T = TypeVar("T")


async def run_local(name: str, argument: Any, returns: type[T]) -> T:
    """One local activity, retried until it succeeds: five history events a step instead of ten."""
    result: T = await workflow.execute_local_activity(
        name,
        argument,
        result_type=returns,
        start_to_close_timeout=options.STEP_TIMEOUT,
        retry_policy=options.PATIENT,
        local_retry_threshold=options.LOCAL_PATIENCE,
    )
    return result


async def run_step(step: StepInput, queues: dict[str, str]) -> StepResult:
    """Apply a step: local, or as an ordinary activity on the queue of a slow channel that it sends by; never both."""
    channels = [channel for effect in step.effects for channel in effect.get("via", ())]
    queue = next((queues[channel] for channel in channels if channel in queues), None)
    if queue is None:
        return await run_local(APPLY_STEP, step, StepResult)
    result: StepResult = await workflow.execute_activity(
        APPLY_STEP,
        step,
        result_type=StepResult,
        task_queue=queue,
        start_to_close_timeout=options.QUEUED_TIMEOUT,
        retry_policy=options.PATIENT,
    )
    return result


def clock_of(spec: ClockSpec | None) -> TestClock | None:
    """A run's test clock without its limit: the limit moves, so only the store knows it."""
    return None if spec is None else TestClock(spec.id, instant(spec.origin), instant(spec.started), spec.speed)
