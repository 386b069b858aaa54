"""The SDK's sandbox, without what it does for converters that want to know whose payload they convert: ours do not.

For each payload of a workflow task the SDK runs code inside the sandbox, several times, to learn which activity or child
the payload belongs to. That was a third of what replaying a journey cost. A converter or codec of ours that needs the
context (`WithSerializationContext`) has to take this away.
"""

from __future__ import annotations

from temporalio.converter import SerializationContext, StorageDriverStoreContext
from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

PASSED_THROUGH = ("journeys", "pydantic", "pydantic_core", "cel_expr_python", "yaml", "annotated_types")
"""Imported once and shared by all runs: what is pure, or cannot be imported twice."""


class Sandbox(SandboxedWorkflowRunner):
    """Instances that answer the SDK's question for a context at once: there is none."""

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        """As the SDK does; the two methods are part of `WorkflowInstance`, which anybody may implement."""
        instance = super().create_instance(det)
        for name, answer in (("get_serialization_context", _no_context), ("get_external_store_context", _no_store)):
            setattr(instance, name, answer)
        return instance


def _no_context(_: object) -> SerializationContext | None:
    return None


def _no_store(_: object) -> StorageDriverStoreContext:
    return StorageDriverStoreContext(target=None)


def sandbox() -> Sandbox:
    """On, and cheap: our own pure rooms are passed through."""
    return Sandbox(restrictions=SandboxRestrictions.default.with_passthrough_modules(*PASSED_THROUGH))
