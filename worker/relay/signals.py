"""Signals to workflows from the relay and clock drivers; a missing workflow is started.

A journey's workflow id that has closed is never opened again; every wake may start an outreach again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from temporalio.client import Client
from temporalio.common import Priority, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from journeys.language.actions import PRIORITIES
from journeys.protocol import wire
from worker.relay.failures import RunHasEnded

CALLS_AT_ONCE: Final = 24
"""Calls to Temporal in flight at a time; more would only queue inside the server."""
LIFECYCLE: Final = PRIORITIES.index("lifecycle")
RPC_TIMEOUT: Final = timedelta(seconds=10)
HEALTH_TIMEOUT: Final = timedelta(seconds=2)


class WorkflowSignals:
    """Signals by one client, to workflows on one task queue."""

    def __init__(self, client: Client, task_queue: str) -> None:
        self._client, self._task_queue = client, task_queue
        self._slots = asyncio.Semaphore(CALLS_AT_ONCE)

    async def send_events(self, run: Mapping[str, Any], subject: str, envelopes: Sequence[wire.Envelope]) -> None:
        """Signal a run with events. Raises RPCError.

        A run that has made a step nearly always runs, and a plain signal costs a third less than signal-with-start.
        """
        await self._signal(run, subject, wire.SIGNAL_EVENT, envelopes)

    async def send_tick(self, run: Mapping[str, Any], subject: str, due: datetime) -> None:
        """Signal a run on a test clock that its deadline has come. Raises RPCError."""
        await self._signal(run, subject, wire.SIGNAL_TICK, ({"due": due.isoformat()},))

    async def _signal(self, run: Mapping[str, Any], subject: str, name: str, arguments: Sequence[object]) -> None:
        if not (run["resumes"] and await self._signalled(run["id"], name, arguments)):
            await self.start_run(run, subject, name, arguments)

    async def start_run(self, run: Mapping[str, Any], subject: str, signal: str, arguments: Sequence[object]) -> None:
        """Signal a run; where no workflow runs, start it from nothing or from the state in its row.

        Temporal's queue gives the tasks of a run with a more urgent priority to workers first. Raises RPCError, and
        RunHasEnded for a workflow that has ended.
        """
        start = wire.RunInput(
            run=run["id"],
            definition=run["definition"],
            subject_kind=subject,
            subject_key=run["subject_key"],
            entered_at=run["started_at"].isoformat(),
            clock=run["clock"],
            carried=wire.RESUMES if run["resumes"] else None,
        )
        reuse = WorkflowIDReusePolicy.REJECT_DUPLICATE
        try:
            await self._signal_with_start(
                wire.JOURNEY_WORKFLOW, run["id"], start, signal, arguments, reuse, run["priority"]
            )
        except WorkflowAlreadyStartedError:
            raise RunHasEnded(run["id"]) from None

    async def wake_outreach(self, person: str, message: int | None = None, *, priority: int = LIFECYCLE) -> None:
        """Wake the outreach of a person; on a test clock with the number of the due message to settle. Raises RPCError.

        `priority`, a position in `PRIORITIES`, counts if the outreach is started.
        """
        start = wire.OutreachInput(person)
        arguments = () if message is None else ({"message": message},)
        reuse = WorkflowIDReusePolicy.ALLOW_DUPLICATE
        identity = wire.outreach_id(person)
        await self._signal_with_start(
            wire.OUTREACH_WORKFLOW, identity, start, wire.SIGNAL_WAKE, arguments, reuse, priority
        )

    async def is_reachable(self) -> bool:
        """Whether Temporal's frontend answers now. Never raises."""
        try:
            return await self._client.service_client.check_health(timeout=HEALTH_TIMEOUT)
        except RPCError:
            return False

    async def _signalled(self, run: str, name: str, arguments: Sequence[object]) -> bool:
        """Whether a workflow was there to take the signal."""
        async with self._slots:
            try:
                await self._client.get_workflow_handle(run).signal(name, args=arguments, rpc_timeout=RPC_TIMEOUT)
            except RPCError as error:
                if error.status is not RPCStatusCode.NOT_FOUND:
                    raise
                return False
        return True

    async def _signal_with_start(
        self,
        workflow: str,
        identity: str,
        start: object,
        signal: str,
        arguments: Sequence[object],
        reuse: WorkflowIDReusePolicy,
        priority: int,
    ) -> None:
        async with self._slots:
            await self._client.start_workflow(
                workflow,
                start,
                id=identity,
                task_queue=self._task_queue,
                id_reuse_policy=reuse,
                start_signal=signal,
                start_signal_args=arguments,
                priority=Priority(priority_key=1 + priority),
                rpc_timeout=RPC_TIMEOUT,
            )
