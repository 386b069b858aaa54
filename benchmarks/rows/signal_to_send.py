"""Latency from a signal to the provider's receipt, in an open loop."""

from __future__ import annotations

import asyncio
import time

from benchmarks.contenders.load import SIGNALS, Bare, Ours, Side, address
from benchmarks.measure import ResultRow, Target, compared, quantile
from benchmarks.rows.journeys_per_second import journey_rate
from benchmarks.run_scale import RunScale
from benchmarks.stack.rig import Rig

BETWEEN_SIGNALS = 0.7
SHARE = 0.25


async def measure(rig: Rig, scale: RunScale) -> list[ResultRow]:
    """Both sides at the same rate, a quarter of the slower side's maximum; percentiles by round."""
    ours, bare = Ours(rig), Bare(rig)
    full = [await journey_rate(rig, side, scale.warm_up) for side in (ours, bare)]
    rate = min(full) * SHARE
    waits_of_sides: dict[str, list[list[float]]] = {"ours": [], "bare": []}
    for number in range(scale.rounds):
        for side in (ours, bare) if number % 2 == 0 else (bare, ours):
            waits_of_sides[side.name].append(await _waits(rig, side, rate, scale.seconds))
    rows = []
    for label, share in (("p50", 0.5), ("p99", 0.99)):
        mine, theirs = ([quantile(waits, share) * 1_000 for waits in waits_of_sides[name]] for name in ("ours", "bare"))
        rows.append(compared(f"signal_to_send_{label}_vs_bare", mine, theirs, "ms", Target(1.0)))
    return rows


async def _waits(rig: Rig, side: Side, rate: float, seconds: float) -> list[float]:
    """Journeys begin evenly. Each sends its signals on its own schedule, whatever happened to the earlier ones."""
    people = await side.people(max(4, int(rate * seconds)))
    waits: list[float] = []
    await asyncio.gather(*(_journey(rig, side, person, n / rate, waits) for n, person in enumerate(people)))
    await side.settled()
    return waits


async def _journey(rig: Rig, side: Side, person: str, begin: float, waits: list[float]) -> None:
    await asyncio.sleep(begin)
    for name in SIGNALS:
        sent_at = time.monotonic()
        await side.signal(person, name)
        waits.append(await rig.receipts.next(address(person)) - sent_at)
        await asyncio.sleep(max(0.0, BETWEEN_SIGNALS - (time.monotonic() - sent_at)))
    rig.receipts.arrived.pop(address(person))
