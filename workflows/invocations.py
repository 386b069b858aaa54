"""Calling the world from a workflow: local activities by name, and a run's test clock."""

from __future__ import annotations

from typing import Any, TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

with workflow.unsafe.imports_passed_through():
    from journeys.calendar.test_clock import TestClock
    from journeys.protocol.envelope import parse_instant
    from journeys.protocol.wire import APPLY_STEP, ClockSpec, StepInput, StepResult
    from workflows import limits

T = TypeVar("T")

EVENTS_QUEUED = 5
"""History events of an ordinary activity and its workflow task, over those of a local one."""
EVENTS_A_MINUTE = 24
"""Of a workflow task that a local activity keeps waiting: three every eight seconds (80 % of a task's ten)."""


class RefusedByActivity(Exception):
    """An activity said no for good. Not a failure in Temporal's sense: unless somebody expects it, it blocks the task.

    An ActivityError that nobody catches would end the run, and only a decision may do that.
    """


async def run_local(name: str, argument: Any, returns: type[T]) -> T:
    """One local activity, retried until it succeeds: five history events a step instead of ten."""
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
    """One ordinary activity on the queue of a slow channel, retried until it succeeds."""
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


def queue_of(step: StepInput, queues: dict[str, str]) -> str | None:
    """The queue of the slow channel that a step sends by; None for a local one. Never both."""
    channels = [channel for effect in step.effects for channel in effect.get("via", ())]
    return next((queues[channel] for channel in channels if channel in queues), None)


async def run_step(step: StepInput, queue: str | None) -> StepResult:
    """Apply a step: local, or as an ordinary activity on a queue."""
    if queue is None:
        return await run_local(APPLY_STEP, step, StepResult)
    return await run_queued(APPLY_STEP, step, StepResult, queue)


def clock_without_limit(spec: ClockSpec | None) -> TestClock | None:
    """A run's test clock without its limit: the limit moves, so only the store knows it."""
    return (
        None
        if spec is None
        else TestClock(spec.id, parse_instant(spec.origin), parse_instant(spec.started), spec.speed)
    )
