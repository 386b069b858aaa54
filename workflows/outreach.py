"""Workflow of one person's deferred messages: settle due ones, wait for the next."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RawValue

with workflow.unsafe.imports_passed_through():
    from journeys.protocol import wire
    from journeys.protocol.envelope import Unreadable, parse_instant
    from workflows.arrivals import Arrival
    from workflows.cancellation import uninterrupted
    from workflows.invocations import continue_as_new, is_newer_version_current, run_local, run_queued
    from workflows.limits import QUIET_EVENTS, HistoryMeter


@workflow.defn(name=wire.OUTREACH_WORKFLOW)
class OutreachWorkflow:
    """Started through the outbox when a message is deferred; ends when none is left. Any signal settles again."""

    @workflow.init
    def __init__(self, start: wire.OutreachInput) -> None:
        self.start = start
        self.woken = True
        self.message: int | None = None
        self.meter = HistoryMeter()

    @workflow.signal(dynamic=True)
    def wake(self, name: str, args: Sequence[RawValue]) -> None:
        """A message was deferred, or the reason of a deferral has ended; on a test clock the driver may name a due message."""
        self.woken = True
        with contextlib.suppress(Unreadable):
            message = Arrival(name, args).data().get("message")
            self.message = message if isinstance(message, int) else self.message

    @workflow.run
    async def run(self, start: wire.OutreachInput) -> None:
        """Settle due messages, and wait for the next due instant. A cancel request in Temporal only wakes it."""
        await uninterrupted(self._settle_to_end(start), self._request_settling)

    def _request_settling(self) -> None:
        self.woken = True

    async def _settle_to_end(self, start: wire.OutreachInput) -> None:
        while True:
            self.woken = False
            self.meter.count_settling()
            request = wire.SettleInput(start.subject_key, workflow.now().isoformat(), self.message)
            self.message = None
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
        newer = is_newer_version_current()
        if newer or self.meter.length >= QUIET_EVENTS:
            continue_as_new(start, on_newer_version=newer)

    async def _wait(self, delay: timedelta) -> None:
        try:
            await workflow.wait_condition(lambda: self.woken, timeout=delay)
        except TimeoutError:
            return
