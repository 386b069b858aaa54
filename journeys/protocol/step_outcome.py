"""Outcomes of applying a step, and their form on the wire (`StepResult`).

The four outcomes are a closed union; recorded histories hold the flat form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from journeys.protocol.envelope import parse_instant
from journeys.protocol.wire import Envelope, StepResult


@dataclass(frozen=True, slots=True)
class Applied:
    """The store has the step."""


@dataclass(frozen=True, slots=True)
class Behind:
    """Nothing was applied: these occurrences were accepted before the step's instant and must be decided first."""

    occurrences: Sequence[Envelope]


@dataclass(frozen=True, slots=True)
class TooEarly:
    """Nothing was applied: the run's clock shows `clock_at`. `until` is the real instant of the next attempt."""

    until: datetime
    clock_at: datetime


@dataclass(frozen=True, slots=True)
class AlreadyCommitted:
    """Nothing was applied: a worker committed `step`, which Temporal did not record. `state` is the run's after it.

    What that worker decided may differ from this step.
    """

    step: int
    state: dict[str, Any]


StepOutcome = Applied | Behind | TooEarly | AlreadyCommitted


def result_of(outcome: StepOutcome, waited: int = 0) -> StepResult:
    """The activity's result for an outcome; `waited` in seconds, as in `StepResult`."""
    match outcome:
        case Applied():
            return StepResult(waited=waited)
        case Behind(occurrences):
            return StepResult(behind=list(occurrences), waited=waited)
        case TooEarly(until, clock_at):
            return StepResult(early_until=until.isoformat(), held_at=clock_at.isoformat(), waited=waited)
        case AlreadyCommitted(step, state):
            return StepResult(committed=state, step=step, waited=waited)


def outcome_of(result: StepResult) -> StepOutcome:
    """The outcome in an activity's result."""
    if result.early_until is not None and result.held_at is not None:
        return TooEarly(parse_instant(result.early_until), parse_instant(result.held_at))
    if result.behind:
        return Behind(result.behind)
    if result.committed is not None:
        return AlreadyCommitted(result.step, result.committed)
    return Applied()
