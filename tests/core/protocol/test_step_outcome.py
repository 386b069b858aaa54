"""A step's outcome travels as the flat `StepResult` that recorded histories contain."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from journeys.protocol.step_outcome import (
    AlreadyCommitted,
    Applied,
    Behind,
    StepOutcome,
    TooEarly,
    outcome_of,
    result_of,
)
from journeys.protocol.wire import Envelope, StepResult

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
EARLIER = Envelope("e", "u_1", 3, NOON.isoformat(), name="paid")
EMPTY: dict[str, object] = {
    "behind": [],
    "early_until": None,
    "held_at": None,
    "committed": None,
    "step": 0,
    "waited": 0,
}


@pytest.mark.parametrize(
    ("outcome", "more"),
    [
        (Applied(), {}),
        (Behind([EARLIER]), {"behind": [asdict(EARLIER)]}),
        (
            TooEarly(NOON, NOON - timedelta(hours=1)),
            {"early_until": "2026-05-04T12:00:00+00:00", "held_at": "2026-05-04T11:00:00+00:00"},
        ),
        (AlreadyCommitted(4, {"state": "waiting"}), {"committed": {"state": "waiting"}, "step": 4}),
    ],
)
def test_each_outcome_sets_its_fields_of_the_result_and_round_trips(outcome: StepOutcome, more: dict[str, Any]) -> None:
    result = result_of(outcome, waited=12)
    assert asdict(result) == {**EMPTY, "waited": 12, **more}
    assert outcome_of(result) == outcome


def test_an_empty_result_means_that_the_step_was_applied() -> None:
    assert outcome_of(StepResult()) == Applied()
