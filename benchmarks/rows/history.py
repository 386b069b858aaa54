"""History events per signal that leads to a message."""

from __future__ import annotations

import asyncio

from benchmarks.contenders.load import SIGNALS, Bare, Ours
from benchmarks.contenders.long_lived import events_of, tips
from benchmarks.measure import ResultRow, Target
from benchmarks.rows.journeys_per_second import journey_rate
from benchmarks.run_scale import RunScale
from benchmarks.stack.rig import Rig

PAUSE = 0.3
MESSAGES = 6


async def measure(rig: Rig, scale: RunScale) -> list[ResultRow]:
    """Counts, not times: the spread is over the histories."""
    return [await _mails(rig, scale), await _in_app(rig, scale)]


async def _mails(rig: Rig, scale: RunScale) -> ResultRow:
    """Whole journeys of three mails, start and end included, per signal."""
    events_per_signal = {}
    for side, client, kind in (
        (Ours(rig), rig.client, "JourneyWorkflow"),
        (Bare(rig), rig.bare_client, "BareJourney"),
    ):
        await journey_rate(rig, side, scale.histories, users=4, pause=PAUSE)
        await asyncio.sleep(1.0)  # closed workflows are listed a little later
        query = f"WorkflowType = '{kind}' AND ExecutionStatus = 'Completed'"
        closed = [execution async for execution in client.list_workflows(query, limit=scale.histories)]
        lengths = [len((await client.get_workflow_handle(w.id).fetch_history()).events) for w in closed]
        events_per_signal[side.name] = [length / len(SIGNALS) for length in lengths]
    return _row("history_events_per_step_vs_bare", events_per_signal["ours"], events_per_signal["bare"], Target(0.85))


async def _in_app(rig: Rig, scale: RunScale) -> ResultRow:
    """Events that one more signal adds to a waiting run."""
    added = {}
    for side in tips(rig):
        await side.open(scale.histories // 2)
        before = events_of(await side.histories())
        for _ in range(MESSAGES):
            await side.signal_all()
        after = events_of(await side.histories())
        added[side.name] = [(end - begin) / MESSAGES for begin, end in zip(before, after, strict=True)]
    return _row("history_events_per_step_in_app_vs_bare", added["ours"], added["bare"], Target(0.5))


def _row(name: str, ours: list[float], theirs: list[float], target: Target) -> ResultRow:
    mean, other = sum(ours) / len(ours), sum(theirs) / len(theirs)
    return ResultRow(
        name, mean / other, min(ours) / max(theirs), max(ours) / min(theirs), mean, other, "events", target
    )
