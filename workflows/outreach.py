"""What one person is owed and not yet due: one durable timer for the earliest, ended when nothing is left."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RawValue

with workflow.unsafe.imports_passed_through():
    from journeys.protocol import wire
    from journeys.protocol.envelope import parse_instant
    from workflows.invocations import run_local, run_queued
    from workflows.limits import QUIET_EVENTS

EVENTS_A_LOOK = 7
"""A wake or a ring, its workflow task, what was settled, and the timer for what is due next."""


@workflow.defn(name=wire.OUTREACH_WORKFLOW)
class OutreachWorkflow:
    """Started on demand through the outbox; every wake is a reason to look again, whatever it says."""

    @workflow.init
    def __init__(self, start: wire.OutreachInput) -> None:
        self.start = start
        self.woken = True
        self.looks = 0

    @workflow.signal(dynamic=True)
    def wake(self, name: str, args: Sequence[RawValue]) -> None:  # noqa: ARG002 -- any signal wakes
        """Something was deferred, or what held it has ended."""
        self.woken = True

    @workflow.run
    async def run(self, start: wire.OutreachInput) -> None:
        """Settle what is due, wait for what is due next."""
        while True:
            self.woken = False
            self.looks += 1
            request = wire.SettleInput(start.subject_key, workflow.now().isoformat())
            settled = await run_local(wire.SETTLE_DUE, request, wire.SettleResult)
            if settled.queue is not None:
                settled = await run_queued(wire.SETTLE_DUE, request, wire.SettleResult, settled.queue)
            if self.woken:
                continue
            if settled.next_due is None:
                return
            self._renew(start)
            await self._wait(max(timedelta(milliseconds=1), parse_instant(settled.next_due) - workflow.now()))

    def _renew(self, start: wire.OutreachInput) -> None:
        info = workflow.info()
        moved = info.is_target_worker_deployment_version_changed()
        # Counted, never read from the history: how long that is a replay may tell at another time (record 0013).
        if moved or EVENTS_A_LOOK * self.looks >= QUIET_EVENTS:
            newest = workflow.ContinueAsNewVersioningBehavior.AUTO_UPGRADE if moved else None
            workflow.continue_as_new(start, initial_versioning_behavior=newest)

    async def _wait(self, delay: timedelta) -> None:
        try:
            await workflow.wait_condition(lambda: self.woken, timeout=delay)
        except TimeoutError:
            return
