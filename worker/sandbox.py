"""Workflow sandbox of the SDK, with our code passed through and without serialization contexts.

For each payload the SDK runs code inside the sandbox to learn which activity or child workflow it belongs to. That was a third
of the cost of replaying a journey, and our converter has no use for it. A converter or codec that needs the context
(`WithSerializationContext`) must remove this.
"""

from __future__ import annotations

from temporalio.converter import SerializationContext, StorageDriverStoreContext
from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

PASSED_THROUGH = ("journeys", "workflows", "pydantic", "pydantic_core", "cel_expr_python", "yaml", "annotated_types")
"""Modules imported once and shared by all runs: they are pure, or cannot be imported twice.

`journeys` and `workflows` are proved pure by `tests/architecture/test_purity.py` (record 0028). Importing the workflows again
for each run was half the cost of a replay.
"""


class Sandbox(SandboxedWorkflowRunner):
    """A sandbox whose workflow instances return no serialization context."""

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        """The SDK's instance with two methods replaced; both are part of the public interface `WorkflowInstance`."""
        instance = super().create_instance(det)
        for name, answer in (("get_serialization_context", _no_context), ("get_external_store_context", _no_store)):
            setattr(instance, name, answer)
        return instance


def _no_context(_: object) -> SerializationContext | None:
    return None


def _no_store(_: object) -> StorageDriverStoreContext:
    return StorageDriverStoreContext(target=None)


def sandbox() -> Sandbox:
    """The sandbox, with our pure packages passed through."""
    return Sandbox(restrictions=SandboxRestrictions.default.with_passthrough_modules(*PASSED_THROUGH))
