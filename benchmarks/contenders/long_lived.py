"""Long-lived runs of both contenders, signalled one spaced signal at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from temporalio.client import WorkflowHandle, WorkflowHistory
from temporalio.common import WorkflowIDReusePolicy

from benchmarks.contenders.handwritten import QUEUE, BareDaily, BarePerson, BareTips
from benchmarks.contenders.load import Bare, Ours, address
from benchmarks.stack.rig import Rig
from store.database import fetch_all, fetch_one, sql

STARTS_AT_ONCE = 24
"""Bare workflows that are started at a time, as many as the relay's calls."""
SAMPLE = 500
_RUN_OF = sql(
    """
    SELECT i.value AS person, r.id, r.subject_key FROM identities i JOIN runs r ON r.subject_key = i.subject_key
    WHERE i.kind = 'user_id' AND i.value = ANY(CAST(:people AS text[]))
    """
)
_DECIDED = sql(
    """
    SELECT min(r.step) AS least, sum(CAST(r.memory->'variables'->>'days' AS int)) AS total FROM runs r JOIN identities i ON r.subject_key = i.subject_key
    WHERE i.kind = 'user_id' AND i.value = ANY(CAST(:people AS text[]))
    """
)


class OursSteady:
    """Runs of `tips` or `daily`, through the API."""

    name = "ours"

    def __init__(self, rig: Rig, begin: str, signal: str) -> None:
        self.rig, self.begin, self.name_of_signal = rig, begin, signal
        self.side = Ours(rig)
        self.people: list[str] = []
        self.steps = 0

    async def open(self, count: int) -> None:
        """Start this many runs, and wait until they wait for a signal."""
        self.people = await self.side.people(count)
        await asyncio.gather(*(self.side.signal(person, self.begin) for person in self.people))
        await self.side.settled(journey="none")
        await asyncio.sleep(1.0)
        self.steps = await self._least()

    async def signal_all(self) -> None:
        """Signal each run once, and wait until every run has decided it."""
        await asyncio.gather(*(self.side.signal(person, self.name_of_signal) for person in self.people))
        self.steps += 1
        await self._wait_for_step(self.steps)

    async def ids(self) -> list[str]:
        """Ids of the runs."""
        async with self.rig.database.reading() as connection:
            return [item["id"] for item in await fetch_all(connection, _RUN_OF, people=self.people)]

    async def histories(self) -> list[WorkflowHistory]:
        """History of each run since its last continue-as-new."""
        return [await self.rig.client.get_workflow_handle(run).fetch_history() for run in await self.ids()]

    async def _wait_for_step(self, step: int) -> None:
        while await self._least() < step:
            await asyncio.sleep(0.01)

    async def _least(self) -> int:
        """The step that every run has reached; every signal is one step."""
        return (await self._steps())[0]

    async def total(self) -> int:
        """Days committed for these runs; signals that wait together share a step."""
        return (await self._steps())[1]

    async def _steps(self) -> tuple[int, int]:
        async with self.rig.database.reading() as connection:
            row = await fetch_one(connection, _DECIDED, people=self.people)
        return (int(row["least"] or 0), int(row["total"] or 0)) if row is not None else (0, 0)


class BareSteady:
    """Hand-written workflows of `tips` or `daily`."""

    name = "bare"

    def __init__(self, rig: Rig, workflow: Any, signal: str) -> None:
        self.rig, self.workflow, self.signal = rig, workflow, signal
        self.handles: list[WorkflowHandle[Any, Any]] = []
        self.sent = 0

    async def open(self, count: int) -> None:
        """Start this many workflows, and wait until they wait for a signal."""
        self.sent, self.handles = 0, []
        arguments = [] if self.workflow is BareDaily else [BarePerson(address("someone"), "Ada")]
        people = iter(await Bare(self.rig).people(count))

        async def start() -> None:
            for person in people:
                self.handles.append(
                    await self.rig.bare_client.start_workflow(
                        self.workflow.run,
                        args=arguments,
                        id=f"bare-{person}",
                        task_queue=QUEUE,
                        id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                    )
                )

        await asyncio.gather(*(start() for _ in range(STARTS_AT_ONCE)))
        await asyncio.sleep(0.3)

    async def signal_all(self) -> None:
        """Signal each workflow once, and wait until each has taken the signal."""
        await asyncio.gather(*(handle.signal(self.signal) for handle in self.handles))
        self.sent += 1
        await asyncio.gather(*(self._wait_until_taken(handle) for handle in self.handles))

    async def histories(self) -> list[WorkflowHistory]:
        """Complete history of each workflow."""
        return [await handle.fetch_history() for handle in self.handles]

    async def wait_for_sample(self) -> None:
        """Wait until a sample of the workflows, evenly spaced, has taken every signal: asking all of thousands is a load."""
        for handle in self.handles[:: -max(1, len(self.handles) // SAMPLE)]:
            await self._wait_until_taken(handle)

    async def _wait_until_taken(self, handle: WorkflowHandle[Any, Any]) -> None:
        """Wait until no workflow task is pending. The description shows this without waking the worker."""
        while True:
            description = (await handle.describe()).raw_description
            if not description.HasField("pending_workflow_task") and not description.pending_activities:
                return
            await asyncio.sleep(0.01)


def tips(rig: Rig) -> tuple[OursSteady, BareSteady]:
    """An in-app message for every signal."""
    return OursSteady(rig, "trial_started", "tip_wanted"), BareSteady(rig, BareTips, "on_tip_wanted")


def daily(rig: Rig) -> tuple[OursSteady, BareSteady]:
    """A signal a day."""
    return OursSteady(rig, "habit_begun", "day_used"), BareSteady(rig, BareDaily, "on_day_used")


def events_of(histories: Sequence[WorkflowHistory]) -> list[int]:
    """Number of events of each history."""
    return [len(history.events) for history in histories]
