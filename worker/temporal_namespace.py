"""Namespace of a Temporal cluster, registered where there is none.

A deployment runs `python -m worker.temporal_namespace` once before its first worker. It changes nothing where the namespace exists.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from datetime import timedelta
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    ListNamespacesRequest,
    RegisterNamespaceRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from worker.event_loop import run_until_done
from worker.settings import Settings, SettingsError, load_settings

NAMESPACE: Final = "default"
RETENTION: Final = timedelta(days=3)
POLL_SECONDS: Final = 0.5


async def namespace_ready(
    address: str, namespace: str = NAMESPACE, *, retention: timedelta = RETENTION, **connection: Any
) -> bool:
    """Whether workflows can be started in the namespace, which is registered where the plain server has none.

    `retention` is for a new one; `connection` has options of `Client.connect`.
    """
    try:
        client = await Client.connect(address, namespace=namespace, **connection)
        known = await client.workflow_service.list_namespaces(ListNamespacesRequest(page_size=100))
        if namespace not in {item.namespace_info.name for item in known.namespaces}:
            period = Duration()
            period.FromTimedelta(retention)
            request = RegisterNamespaceRequest(namespace=namespace, workflow_execution_retention_period=period)
            await client.workflow_service.register_namespace(request)
        # Counting uses the caches of frontend and visibility: once it answers, both know the namespace.
        await client.count_workflows()
        return await _history_answers(client)
    except RuntimeError:  # the SDK's answer to a refused connection
        return False
    except RPCError as error:
        if error.status is RPCStatusCode.ALREADY_EXISTS:
            return False  # another process has just registered it
        if error.status in _NOT_YET:
            return False
        raise


async def _history_answers(client: Client) -> bool:
    """Whether the history service has joined: it knows that there is no such workflow. The frontend may join before it."""
    missing = WorkflowExecution(workflow_id="is-there-a-history-service")
    request = DescribeWorkflowExecutionRequest(namespace=client.namespace, execution=missing)
    try:
        await client.workflow_service.describe_workflow_execution(request)
    except RPCError as error:
        return error.status is RPCStatusCode.NOT_FOUND
    return True


_NOT_YET = frozenset(
    {
        RPCStatusCode.UNAVAILABLE,
        RPCStatusCode.NOT_FOUND,
        RPCStatusCode.DEADLINE_EXCEEDED,
        RPCStatusCode.CANCELLED,
        RPCStatusCode.FAILED_PRECONDITION,
        RPCStatusCode.UNKNOWN,
        RPCStatusCode.INTERNAL,
    }
)


async def until_ready(settings: Settings, retention: timedelta, seconds: float) -> bool:
    """Wait until the namespace of the settings can be used; False after that many seconds. Raises SettingsError."""
    if settings.temporal_address is None:
        raise SettingsError("TENURE_TEMPORAL_ADDRESS is not set: give host:port of a Temporal frontend")
    key = settings.temporal_api_key
    connection = {"tls": settings.temporal_tls, "api_key": key.get_secret_value() if key else None}
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if await namespace_ready(
            settings.temporal_address, settings.temporal_namespace, retention=retention, **connection
        ):
            return True
        await asyncio.sleep(POLL_SECONDS)
    return False


def main(argv: list[str] | None = None) -> int:
    """Exit code: 1 if the namespace cannot be used in time, 2 for a wrong setting."""
    parser = argparse.ArgumentParser(prog="python -m worker.temporal_namespace", description=__doc__)
    parser.add_argument("--retention-days", type=int, default=7, help="retention of ended workflows in a new namespace")
    parser.add_argument("--timeout", type=float, default=120, help="seconds to wait for Temporal")
    given = parser.parse_args(argv)
    try:
        settings = load_settings()
        is_ready = run_until_done(until_ready(settings, timedelta(days=given.retention_days), given.timeout))
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if not is_ready:
        sys.stderr.write(f"Temporal at {settings.temporal_address} is not ready after {given.timeout:.0f} s\n")
    return 0 if is_ready else 1


if __name__ == "__main__":
    raise SystemExit(main())
