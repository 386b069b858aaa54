"""Counts and durations of full and quick benchmark runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RunScale:
    """Counts for one kind of run."""

    rounds: int
    warm_up: int
    journeys: int
    seconds: float
    histories: int
    cold: int
    cached: int
    events: int
    signalled: int
    live: tuple[int, ...]
    reads: int
    backtests: int


FULL = RunScale(5, 60, 120, 6.0, 20, 6, 200, 400_000, 1_500, (100, 10_000, 1_000_000), 2_000, 3)
QUICK = RunScale(3, 30, 50, 3.0, 8, 4, 100, 60_000, 600, (100, 10_000), 600, 1)
