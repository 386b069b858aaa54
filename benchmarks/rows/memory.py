"""Worker memory of a cached run."""

from __future__ import annotations

from benchmarks.contenders.long_lived import BareSteady, OursSteady, tips
from benchmarks.measure import ResultRow, Target, compared
from benchmarks.run_scale import RunScale
from benchmarks.stack.rig import Rig

WARM = 30


async def measure(rig: Rig, scale: RunScale) -> list[ResultRow]:
    """Runs that wait for their first signal, on new workers that have handled a few runs before."""
    mine: list[float] = []
    theirs: list[float] = []
    for _ in range(2):
        ours, bare = tips(rig)
        await rig.start_ours()
        mine.append(await _kilobytes(rig, "worker", ours, scale.cached))
        await rig.start_bare()
        theirs.append(await _kilobytes(rig, "bare", bare, scale.cached))
    return [compared("worker_kb_per_journey_vs_bare", mine, theirs, "KB", Target(1.25))]


async def _kilobytes(rig: Rig, part: str, side: OursSteady | BareSteady, count: int) -> float:
    await side.open(WARM)
    await rig.quiet(part)
    before = rig.process(part).memory_info().rss
    await side.open(count)
    await rig.quiet(part)
    return float(rig.process(part).memory_info().rss - before) / 1024 / count
