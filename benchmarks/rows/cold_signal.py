"""CPU of a daily signal on the 180th day, with an empty cache."""

from __future__ import annotations

import asyncio
from statistics import mean

from benchmarks.contenders.long_lived import BareSteady, OursSteady, daily
from benchmarks.measure import ResultRow, Target
from benchmarks.run_scale import RunScale
from benchmarks.stack.rig import Rig

CACHED = 2
"""The fewest cached runs that Tenure's worker allows. The bare worker gets the same number."""
MONTH = 30
DAYS = 180
LATE_BARE = 4
"""Cold signals measured on the bare side. Its history grows, so more would measure later days."""


async def measure(rig: Rig, scale: RunScale) -> list[ResultRow]:
    """Ours over whole months, because its history's length goes up and down between continue-as-news."""
    ours, bare = daily(rig)
    await bare.open(scale.cold)
    await ours.open(scale.cold)
    await rig.start_ours(cached=CACHED)
    first = [await _cold(rig, "worker", ours, scale.cold) for _ in range(MONTH)]
    await rig.start_ours()
    for _ in range(DAYS - 2 * MONTH + MONTH // 2):
        await ours.signal_all()
    for _ in range(DAYS - LATE_BARE):
        await bare.signal_all()
    await rig.start_ours(cached=CACHED)
    await rig.start_bare(cached=CACHED)
    late = [await _cold(rig, "worker", ours, scale.cold) for _ in range(MONTH)]
    theirs = [await _cold(rig, "bare", bare, scale.cold) for _ in range(LATE_BARE)]
    await rig.start_ours()
    await rig.start_bare()
    return [
        _row("cold_signal_cpu_vs_bare", late, theirs, Target(0.15)),
        _row("cold_signal_cpu_vs_first_month", late, first, Target(1.2)),
    ]


async def _cold(rig: Rig, part: str, side: OursSteady | BareSteady, runs: int) -> float:
    """Milliseconds of the worker's CPU per signal."""
    before = rig.cpu_seconds(part)
    await side.signal_all()
    await asyncio.sleep(0.05)
    return (rig.cpu_seconds(part) - before) / runs * 1_000


def _row(name: str, ours: list[float], theirs: list[float], target: Target) -> ResultRow:
    """Means over the days; low and high from the thirds of ours, so that they span a whole cycle of continue-as-new."""
    third = len(ours) // 3
    parts = [mean(ours[n * third : (n + 1) * third]) for n in range(3)]
    other = mean(theirs)
    return ResultRow(
        name, mean(ours) / other, min(parts) / other, max(parts) / other, mean(ours), other, "ms CPU", target
    )
