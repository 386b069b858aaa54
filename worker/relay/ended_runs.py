"""Closing of the rows of runs whose workflow has ended in Temporal.

Somebody terminated it by hand, or its last step was never recorded. Left open, its row would take events for ever, and begin
again once Temporal has forgotten the workflow.
"""

from __future__ import annotations

from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowHistoryEventFilterType,
)
from temporalio.service import RPCError, RPCStatusCode

from store.database import Database
from store.operations.closing import close_run
from store.process_clock import current_instant
from store.retry import retry_transaction

RUNNING = WorkflowExecutionStatus.RUNNING


class EndedRuns:
    """Compares a run's row with its workflow."""

    def __init__(self, database: Database, client: Client) -> None:
        self._database, self._client = database, client

    async def described(self, run: str) -> WorkflowExecutionDescription | None:
        """The run's workflow; None if Temporal has none. Raises RPCError."""
        try:
            return await self._client.get_workflow_handle(run).describe()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return None
            raise

    async def close(self, run: str, workflow: WorkflowExecutionDescription | None = None) -> bool:
        """Close the row of a run if its workflow has ended; whether it was closed now. Raises RPCError."""
        workflow = workflow or await self.described(run)
        if workflow is None or workflow.status in (None, RUNNING):
            return False
        outcome, why = await self._end_of(run, workflow)
        at = workflow.close_time or current_instant()
        return await retry_transaction(self._database, lambda connection: close_run(connection, run, outcome, why, at))

    async def _end_of(self, run: str, workflow: WorkflowExecutionDescription) -> tuple[str, str]:
        """How a workflow has ended: the outcome, and the sentence that says so."""
        status = workflow.status.name.lower() if workflow.status else "lost"
        handle = self._client.get_workflow_handle(run, run_id=workflow.run_id, result_type=str)
        if workflow.status is WorkflowExecutionStatus.COMPLETED:
            outcome = await handle.result(follow_runs=False)
            return outcome, f"its workflow has ended in Temporal: {outcome}"
        why = f"its workflow has ended in Temporal: {status}"
        if workflow.status is WorkflowExecutionStatus.TERMINATED:
            closing = WorkflowHistoryEventFilterType.CLOSE_EVENT
            async for event in handle.fetch_history_events(event_filter_type=closing):
                end = event.workflow_execution_terminated_event_attributes
                why = f"its workflow was terminated in Temporal by {end.identity or 'somebody'}"
                why += f": {end.reason}" if end.reason else ", without a reason"
        return status, why
