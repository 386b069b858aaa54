"""Probe workflow: its answer shows that a worker decides workflow tasks."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from journeys.protocol import wire


@workflow.defn(name=wire.PROBE_WORKFLOW)
class ProbeWorkflow:
    """Ends with its first workflow task. It has no activity, so it needs no database."""

    @workflow.run
    async def run(self) -> None:
        """Return at once: the completed workflow is the answer."""
