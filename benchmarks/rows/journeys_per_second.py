"""Whole journeys per second, and their CPU."""

from __future__ import annotations

import asyncio
import time

from benchmarks.contenders.load import SIGNALS, Bare, Ours, Side, address, in_turn
from benchmarks.measure import ResultRow, compared, interleaved, target_on
from benchmarks.run_scale import RunScale
from benchmarks.stack.rig import Rig

USERS = 32


async def measure(rig: Rig, scale: RunScale) -> list[ResultRow]:
    """Closed loop: each user waits for a signal's mail before the next signal, and takes the next person at the end."""
    ours, bare = Ours(rig), Bare(rig)
    for side in (ours, bare):
        await journey_rate(rig, side, scale.warm_up)
    costs: dict[str, list[float]] = {side.name: [] for side in (ours, bare)}

    async def measure_once(side: Side) -> float:
        before = rig.all_cpu_seconds()
        rate = await journey_rate(rig, side, scale.journeys)
        costs[side.name].append((rig.all_cpu_seconds() - before) / scale.journeys * 1_000)
        return rate

    mine, theirs = await interleaved(scale.rounds, lambda: measure_once(ours), lambda: measure_once(bare))
    return [
        compared(
            "journeys_per_s_vs_bare",
            mine,
            theirs,
            "journeys/s",
            target_on(rig.store, sqlite=0.95, postgres=1.2, at_least=True),
        ),
        compared(
            "cpu_ms_per_journey_vs_bare",
            costs["ours"],
            costs["bare"],
            "ms, all processes",
            target_on(rig.store, sqlite=1.1, postgres=0.95),
        ),
    ]


async def journey_rate(rig: Rig, side: Side, count: int, users: int = USERS, pause: float = 0.0) -> float:
    """Journeys a second, counted when all is settled."""
    people = in_turn(await side.people(count))
    began = time.monotonic()
    await asyncio.gather(*(_user(rig, side, people, pause) for _ in range(users)))
    await side.settled()
    return count / (time.monotonic() - began)


async def _user(rig: Rig, side: Side, people: asyncio.Queue[str], pause: float) -> None:
    while not people.empty():
        person = people.get_nowait()
        for name in SIGNALS:
            await side.signal(person, name)
            await rig.receipts.next(address(person))
            if pause:
                await asyncio.sleep(pause)
        rig.receipts.arrived.pop(address(person))
