"""Temporal activities by name, with their dependencies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from temporalio import activity

from activities.delivery import outreach
from activities.dependencies import CurrentDependencies, Dependencies
from activities.metrics import count_decision
from activities.steps import apply as steps
from activities.steps import plain_signals
from journeys.protocol import wire
from journeys.protocol.step_outcome import Applied, result_of
from store.definitions import registry
from store.outbox.undecided import undecided_of_run
from store.people.test_clocks import now_for

HEARTBEAT_SECONDS = 8
"""A workflow task that waits longer than this for a local activity adds an event to the history."""


class Activities:
    """The activities that workflows call."""

    def __init__(self, current: CurrentDependencies) -> None:
        self._current = current

    @property
    def deps(self) -> Dependencies:
        """Of the newest version; read it once in an activity."""
        return self._current.deps

    def all(self) -> Sequence[Callable[..., Any]]:
        """All activities, for `Worker(activities=…)`."""
        return [
            self.load_definition,
            self.read_undecided,
            self.apply_step,
            self.accept_plain,
            self.settle_due,
            self.read_clock,
        ]

    @activity.defn(name=wire.LOAD_DEFINITION)
    async def load_definition(self, request: wire.LoadInput) -> wire.LoadResult:
        """The artifact of a definition, and the channels with a queue of their own."""
        async with self.deps.database.reading() as connection:
            loaded = wire.LoadResult(await registry.read_artifact(connection, request.definition), self._slow())
            if request.seqs:
                chart = await self.deps.catalogue.chart(connection, request.definition)
                loaded.behind = await undecided_of_run(connection, chart, request.run, request.seqs)
        return loaded

    @activity.defn(name=wire.READ_UNDECIDED)
    async def read_undecided(self, request: wire.LoadInput) -> list[wire.Envelope]:
        """What was accepted for a run after the `seqs` of the request, in order."""
        async with self.deps.database.reading() as connection:
            chart = await self.deps.catalogue.chart(connection, request.definition)
            return await undecided_of_run(connection, chart, request.run, request.seqs)

    @activity.defn(name=wire.APPLY_STEP)
    async def apply_step(self, request: wire.StepInput) -> wire.StepResult:
        """Apply one step of a run, once."""
        outcome = await steps.apply_step(self.deps, request)
        if isinstance(outcome, Applied):
            count_decision(request.run)
        info = activity.info()
        waited = int((datetime.now(UTC) - info.scheduled_time).total_seconds())
        return result_of(outcome, waited if info.is_local and waited >= HEARTBEAT_SECONDS else 0)

    @activity.defn(name=wire.ACCEPT_PLAIN)
    async def accept_plain(self, request: wire.PlainSignal) -> list[wire.Envelope]:
        """Store a signal that bypassed the API; returns it after the signals accepted before it."""
        return await plain_signals.accept_plain_signal(self.deps, request)

    @activity.defn(name=wire.SETTLE_DUE)
    async def settle_due(self, request: wire.SettleInput) -> wire.SettleResult:
        """Settle the due messages of one person, here or on the queue of a slow channel."""
        return await outreach.settle_due(self.deps, request, self._slow() if activity.info().is_local else {})

    @activity.defn(name=wire.READ_CLOCK)
    async def read_clock(self, clock: str) -> str:
        """The now of a test clock, for a command to a run on it."""
        async with self.deps.database.reading() as connection:
            return (await now_for(connection, clock)).isoformat()

    def _slow(self) -> dict[str, str]:
        queue = activity.info().task_queue
        return {
            name: wire.channel_queue(queue, name) for name, channel in self.deps.channels.items() if not channel.local
        }
