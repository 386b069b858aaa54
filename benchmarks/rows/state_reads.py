"""Reads of a run's state over HTTP, against Temporal queries."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from urllib.parse import quote

from benchmarks.contenders.handwritten import BareDaily
from benchmarks.contenders.load import in_turn
from benchmarks.contenders.long_lived import daily
from benchmarks.measure import ResultRow, Target, compared, interleaved
from benchmarks.run_scale import RunScale
from benchmarks.stack.rig import Rig

READERS = 8
RUNS = 20


async def measure(rig: Rig, scale: RunScale) -> list[ResultRow]:
    """Closed loop over a few runs."""
    ours, bare = daily(rig)
    await ours.open(RUNS)
    await bare.open(RUNS)
    paths = [f"/v1/runs/{quote(run, safe='')}" for run in await ours.ids()]

    async def read(n: int) -> None:
        await rig.web.get(paths[n % RUNS])

    async def query(n: int) -> None:
        await bare.handles[n % RUNS].query(BareDaily.counted)

    await _rate(scale.reads // 10, read)
    mine, theirs = await interleaved(
        scale.rounds, lambda: _rate(scale.reads, read), lambda: _rate(scale.reads // 8, query)
    )
    return [compared("state_reads_per_s_vs_query", mine, theirs, "reads/s", Target(10, at_least=True))]


async def _rate(count: int, read: Callable[[int], Awaitable[None]]) -> float:
    remaining = in_turn([str(n) for n in range(count)])

    async def reader() -> None:
        while not remaining.empty():
            await read(int(remaining.get_nowait()))

    began = time.monotonic()
    await asyncio.gather(*(reader() for _ in range(READERS)))
    return count / (time.monotonic() - began)
