"""Workflows that another worker process may have in its cache.

Temporal gives the next task of a workflow to the worker that has it cached, and waits ten seconds for that worker if it is dead.
A clock stands all that time. So a driver frees each workflow that it did not begin itself, once, before it signals it.
"""

from __future__ import annotations

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetStickyTaskQueueRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from worker.relay.signals import RPC_TIMEOUT


class OtherCaches:
    """Frees workflows from the caches of other processes. What is remembered only saves calls."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._ours: set[str] = set()
        """Workflows whose next task any worker may have had since this process began."""

    async def free(self, workflow: str, *, begun: bool = True) -> None:
        """Let any worker have the next task of a workflow, which has `begun` before or is started now. Raises RPCError."""
        if workflow in self._ours:
            return
        if begun:
            await self._reset(workflow)
        self._ours.add(workflow)

    async def _reset(self, workflow: str) -> None:
        execution = WorkflowExecution(workflow_id=workflow)
        request = ResetStickyTaskQueueRequest(namespace=self._client.namespace, execution=execution)
        try:
            await self._client.workflow_service.reset_sticky_task_queue(request, timeout=RPC_TIMEOUT)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
