"""Operator commands of a run: pause, resume and cancel; queries of its state.

A cancel request in Temporal is a command too.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from journeys.decision.chart import Chart
    from journeys.decision.occurrences import Cancelled, Paused, Resumed
    from journeys.decision.state import RunState, state_to_json
    from journeys.decision.summary import describe_run
    from journeys.protocol import wire
    from journeys.protocol.envelope import parse_instant
    from workflows import invocations
    from workflows.inbox import Inbox, OperatorOccurrence
    from workflows.limits import HistoryMeter


LATEST: Final = datetime.max.replace(tzinfo=UTC)
"""The instant of a command on a test clock until its now is read from the store."""


class OperatorCommands:
    """The updates and queries of a journey's workflow. A command is queued in the inbox, like a signal."""

    start: wire.RunInput
    state: RunState
    steps: int
    inbox: Inbox
    meter: HistoryMeter
    chart: Chart | None

    @workflow.update(name=wire.UPDATE_PAUSE)
    async def pause(self, request: dict[str, Any]) -> str:
        """Hold effects and timers; signals are still decided."""
        return await self._command(Paused(self._requested_at(request), str(request.get("by", ""))))

    @pause.validator
    def _may_pause(self, request: dict[str, Any]) -> None:
        self._refuse_unless(self.state.is_open and self.state.paused_at is None, "it is already paused, or has ended")
        self._requested_at(request)

    @workflow.update(name=wire.UPDATE_RESUME)
    async def resume(self, request: dict[str, Any]) -> str:
        """End the pause. `mode` decides about the timers that did not fire."""
        mode = request.get("mode", "shift")
        return await self._command(Resumed(self._requested_at(request), mode, str(request.get("by", ""))))

    @resume.validator
    def _may_resume(self, request: dict[str, Any]) -> None:
        # A run that resumes from the store has no state yet: the command waits until it has.
        self._refuse_unless(self.state.paused_at is not None or not self.state.state, "it is not paused")
        known = request.get("mode", "shift") in {"shift", "catch_up", "expire"}
        self._refuse_unless(known, "mode must be shift, catch_up or expire")
        self._requested_at(request)

    @workflow.update(name=wire.UPDATE_CANCEL)
    async def cancel(self, request: dict[str, Any]) -> str:
        """End the run; `by` and `reason` are kept in its timeline."""
        at = self._requested_at(request)
        return await self._command(Cancelled(at, str(request.get("by", "")), str(request.get("reason", ""))))

    @cancel.validator
    def _may_cancel(self, request: dict[str, Any]) -> None:
        self._refuse_unless(self.state.is_open, "it has ended")
        self._requested_at(request)

    async def _command(self, occurrence: OperatorOccurrence) -> str:
        """Queue a command behind what has arrived, and return the run's status once it is decided."""
        ticket = self.inbox.add_command(occurrence)
        await workflow.wait_condition(lambda: self.inbox.done >= ticket)
        return self.state.outcome or ("paused" if self.state.paused_at else "running")

    def cancel_from_temporal(self) -> None:
        """Queue the cancellation that somebody has requested in Temporal itself."""
        now = workflow.now() if self.start.clock is None else LATEST
        self.inbox.add_command(Cancelled(now, "somebody", "its cancellation was requested in Temporal"))

    def _requested_at(self, request: dict[str, Any]) -> datetime:
        """The request's `at`, never later than now: no timer is decided ahead of its time. See `_by_clock`."""
        at = request.get("at")
        now = workflow.now() if self.start.clock is None else LATEST
        return now if at is None else min(parse_instant(at), now)

    async def _by_clock(self, command: OperatorOccurrence) -> OperatorOccurrence:
        """An operator's command at the now of the run's test clock, which is read from the store."""
        if self.start.clock is None:
            return command
        self.meter.count_call()
        now = await invocations.clock_now(self.start.clock)
        return replace(command, at=min(command.at, now))

    def _refuse_unless(self, allowed: bool, why: str) -> None:
        if not allowed:
            raise ApplicationError(f"run {self.start.run}: {why}", type="tenure.Refused", non_retryable=True)

    @workflow.query(name=wire.QUERY_STATE)
    def query_state(self) -> dict[str, Any]:
        """The run's state inside the workflow, which may be ahead of its row in Postgres."""
        return {
            "run": self.start.run,
            "definition": self.start.definition,
            "step": self.steps,
            "state": state_to_json(self.state),
            "inbox": self.inbox.length,
        }

    @workflow.query(name=wire.QUERY_EXPLAIN)
    def query_explain(self) -> list[str]:
        """The run's position and what it waits for, in sentences."""
        return describe_run(self.chart, self.state) if self.chart else ["the run is being loaded"]
