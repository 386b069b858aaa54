"""Replay CPU per history event."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence

from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from benchmarks.contenders.handwritten import BareDaily
from benchmarks.contenders.long_lived import daily
from benchmarks.measure import ResultRow, Target, compared
from benchmarks.run_scale import RunScale
from benchmarks.stack.rig import Rig
from worker.sandbox import sandbox
from workflows.journey import JourneyWorkflow

DAYS = 9
RUNS = 24


async def measure(rig: Rig, scale: RunScale) -> list[ResultRow]:
    """CPU of this process.

    Histories have about 50 events, just short of continue-as-new. One replayer takes many, so that its start does not count.
    """
    ours, bare = daily(rig)
    for side in (ours, bare):
        await side.open(RUNS)
        for _ in range(DAYS):
            await side.signal_all()
    mine, theirs = await ours.histories(), await bare.histories()
    our_replayer = Replayer(
        workflows=[JourneyWorkflow], data_converter=rig.client.data_converter, workflow_runner=sandbox()
    )
    their_replayer = Replayer(workflows=[BareDaily])
    costs_of_sides: tuple[list[float], list[float]] = ([], [])
    for number in range(scale.rounds + 1):
        costs = await _cost(our_replayer, mine), await _cost(their_replayer, theirs)
        if number:  # the first round compiles charts and warms converters
            for values, cost in zip(costs_of_sides, costs, strict=True):
                values.append(cost)
    return [compared("replay_ms_per_event_vs_bare", *costs_of_sides, "ms CPU", Target(1.3))]


async def _cost(replayer: Replayer, histories: Sequence[WorkflowHistory]) -> float:
    async def all_histories() -> AsyncIterator[WorkflowHistory]:
        for history in histories:
            yield history

    began = time.process_time()
    await replayer.replay_workflows(all_histories())
    return (time.process_time() - began) / sum(len(history.events) for history in histories) * 1_000
