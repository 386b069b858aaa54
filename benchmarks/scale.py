"""How much is measured. Nothing here runs without an end: counts are fixed, and so is what they take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """Counts for one kind of run."""

    rounds: int
    warm_up: int
    journeys: int
    seconds: float
    histories: int
    months: int
    cached: int
    events: int
    signalled: int
    live: tuple[int, ...]
    reads: int


FULL = Scale(5, 60, 120, 6.0, 20, 6, 200, 40_000, 1_500, (100, 10_000, 1_000_000), 2_000)
QUICK = Scale(3, 40, 80, 4.0, 10, 6, 120, 10_000, 600, (100, 10_000), 600)
