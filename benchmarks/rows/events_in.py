"""Events accepted per second, against one signal per event.

The crowd are rows inserted into PostgreSQL directly (`benchmarks/stack/crowd.py`), so that the index and the locks see a
million live runs. They get the events that change nothing; decisive events go to people with running workflows.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from typing import NamedTuple

from temporalio.client import WorkflowHandle

from benchmarks.contenders.handwritten import QUEUE
from benchmarks.contenders.load import in_turn
from benchmarks.contenders.long_lived import OursSteady, daily
from benchmarks.contenders.signal_all import SignalAll
from benchmarks.measure import ResultRow, Target, compared, interleaved, target_on
from benchmarks.run_scale import RunScale
from benchmarks.stack.crowd import LIVE_RUNS, insert_crowd, settle_tables
from benchmarks.stack.rig import Rig

BATCH = 100
RELEVANT = 2
SENDERS = 6
ALIVE = 100

_number = itertools.count(1)
_turn = itertools.count()
"""Index of the next person to get a decisive event: people take turns."""


class LoadRate(NamedTuple):
    """Events a second, and milliseconds of CPU: for a signal, or for a decisive event with the 49 beside it."""

    rate: float
    cost: float


async def measure(rig: Rig, scale: RunScale) -> list[ResultRow]:
    """Compare with one signal per event, then with more and more live runs."""
    ours, _ = daily(rig)
    await ours.open(ALIVE)
    sizes = sorted(scale.live)
    await _grow(rig, 0, sizes[0])
    people = [await _entity(rig) for _ in range(ALIVE)]
    await _sent(rig, ours, sizes[0], scale.events // 10)
    mine, theirs = await interleaved(
        scale.rounds,
        lambda: _sent(rig, ours, sizes[0], scale.events // scale.rounds),
        lambda: _signalled(rig, people, scale.signalled),
    )
    rows = [
        compared(
            "events_in_per_s_vs_signal_all",
            _rates(mine),
            _rates(theirs),
            "events/s",
            target_on(rig.store, sqlite=25, postgres=35, at_least=True),
        ),
        compared(
            "decisive_event_cpu_vs_signal",
            _costs(mine),
            _costs(theirs),
            "ms, all processes",
            target_on(rig.store, sqlite=2.0, postgres=1.6),
        ),
    ]
    for before, size in itertools.pairwise(sizes):
        await _grow(rig, before, size)
        more = [(await _sent(rig, ours, size, scale.events // scale.rounds)).rate for _ in range(scale.rounds)]
        name = f"events_in_per_s_at_{size}_live_vs_{sizes[0]}"
        rows.append(compared(name, more, _rates(mine), "events/s", Target(0.9, at_least=True)))
    return rows


async def _grow(rig: Rig, before: int, size: int) -> None:
    """Insert the crowd up to `size`. Vacuum and checkpoint follow, so that they do not fall into the measured time."""
    async with rig.database.transaction() as connection:
        await insert_crowd(connection, before + 1, size, LIVE_RUNS)
    async with rig.database.reading() as connection:
        await settle_tables(connection)


async def _sent(rig: Rig, ours: OursSteady, crowd: int, count: int) -> LoadRate:
    """Send `count` events, until every decisive one is a committed step of its run. The cost is per decisive event."""
    chance = random.Random(crowd)
    batches = in_turn([str(n) for n in range(count // BATCH)])

    async def sender() -> None:
        while not batches.empty():
            batches.get_nowait()
            await rig.web.post("/v1/batch", {"batch": [_event(ours, crowd, n, chance) for n in range(BATCH)]})

    wanted = await ours.total() + count // BATCH * RELEVANT
    used, began = _used(rig), time.monotonic()
    await asyncio.gather(*(sender() for _ in range(SENDERS)))
    while await ours.total() < wanted:
        await asyncio.sleep(0.02)
    rate = count / (time.monotonic() - began)
    return LoadRate(rate, (_used(rig) - used) / (count // BATCH * RELEVANT) * 1_000)


def _event(ours: OursSteady, crowd: int, index: int, chance: random.Random) -> dict[str, object]:
    number = next(_number)
    if index < RELEVANT:
        return {
            "type": "track",
            "userId": ours.people[next(_turn) % ALIVE],
            "event": ours.name_of_signal,
            "messageId": f"e{number}",
            "properties": {},
        }
    return {
        "type": "track",
        "userId": f"c{chance.randint(1, crowd)}",
        "event": "page_viewed",
        "messageId": f"e{number}",
        "properties": {"path": "/pricing"},
    }


async def _entity(rig: Rig) -> WorkflowHandle[SignalAll, int]:
    return await rig.bare_client.start_workflow(SignalAll.run, id=f"entity-{next(_number)}", task_queue=QUEUE)


async def _signalled(rig: Rig, people: list[WorkflowHandle[SignalAll, int]], count: int) -> LoadRate:
    """Send `count` events as one signal each, until every workflow has taken all of its own."""
    before = sum(await asyncio.gather(*(handle.query(SignalAll.count) for handle in people)))
    remaining = in_turn([str(n) for n in range(count)])

    async def sender() -> None:
        while not remaining.empty():
            number = int(remaining.get_nowait())
            event = {"event": "page_viewed", "messageId": f"s{number}", "properties": {"path": "/pricing"}}
            await people[number % len(people)].signal(SignalAll.happened, event)

    used, began = _used(rig), time.monotonic()
    await asyncio.gather(*(sender() for _ in range(4 * SENDERS)))
    # All events are taken now, as on the other side: a query is answered after all signals before it.
    assert sum(await asyncio.gather(*(handle.query(SignalAll.count) for handle in people))) == before + count
    rate = count / (time.monotonic() - began)
    return LoadRate(rate, (_used(rig) - used) / count * 1_000)


def _used(rig: Rig) -> float:
    """Seconds of CPU so far, of every process and of this one, which sends."""
    return rig.all_cpu_seconds() + time.process_time()


def _rates(loads: list[LoadRate]) -> list[float]:
    return [load.rate for load in loads]


def _costs(loads: list[LoadRate]) -> list[float]:
    return [load.cost for load in loads]
