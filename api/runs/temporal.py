"""Temporal client of the API: queries and operator commands of one run."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, Protocol

from temporalio.client import (
    Client,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.service import RPCError, RPCStatusCode

from api.http.problems import ProblemError
from journeys.protocol import wire

RPC_TIMEOUT = timedelta(seconds=5)
TERMINATE_TIMEOUT = timedelta(seconds=1)
"""It follows an update that was waited for, within the 10 s of one request."""
CLOSED_BY_OPERATOR = "an operator has closed this run; its timeline says who and why"
"""Temporal keeps reasons in clear, so an operator's own words are not among them."""
UNDECIDED = frozenset({RPCStatusCode.NOT_FOUND, RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED})
"""Answers that say that no workflow decides now. Others, such as a denied permission, say nothing of the workflow."""
CONNECT_SECONDS = 3.0


class NotDecided(ProblemError):
    """No workflow has decided or answered: there is none, its workers do not answer, or Temporal does not."""


class RunCommands(Protocol):
    """Queries and commands of runs. Every method but `answers`, `decides` and `abandon` raises ProblemError."""

    async def state(self, run: str) -> Mapping[str, Any]:
        """The state inside the workflow."""
        ...

    async def explain(self, run: str) -> list[str]:
        """What the run waits for, as sentences."""
        ...

    async def command(self, run: str, update: str, arguments: Mapping[str, Any]) -> None:
        """Pause, resume or cancel a run; returns when the run has decided it. Raises NotDecided."""
        ...

    async def abandon(self, run: str) -> None:
        """Terminate the workflow of a run whose row is closed. Never raises: the workflow's next step ends it too."""
        ...

    async def answers(self) -> bool:
        """Whether Temporal can be reached now. Never raises."""
        ...

    async def decides(self) -> bool:
        """Whether a worker answers a probe workflow now. Never raises."""
        ...


class TemporalRunCommands:
    """Connects on first use, so that the API starts, and accepts events, while Temporal is down."""

    def __init__(self, connect: Callable[[], Awaitable[Client]], probe: Callable[[Client], Awaitable[bool]]) -> None:
        self._connect, self._probe = connect, probe
        self._client: Client | None = None
        self._connecting = asyncio.Lock()

    async def state(self, run: str) -> Mapping[str, Any]:
        state: Mapping[str, Any] = await self._query(run, wire.QUERY_STATE)
        return state

    async def explain(self, run: str) -> list[str]:
        return list(await self._query(run, wire.QUERY_EXPLAIN))

    async def _query(self, run: str, name: str) -> Any:
        handle = await self._handle(run)
        try:
            return await handle.query(name, rpc_timeout=RPC_TIMEOUT)
        except RPCError as error:
            raise _refusal(error) from error
        except (WorkflowQueryFailedError, WorkflowQueryRejectedError) as error:
            raise ProblemError("engine-unavailable", "The run cannot answer now. Try again in a moment.") from error

    async def command(self, run: str, update: str, arguments: Mapping[str, Any]) -> None:
        try:
            handle = await self._handle(run)
            await handle.execute_update(update, dict(arguments), rpc_timeout=RPC_TIMEOUT)
        except WorkflowUpdateFailedError as error:
            raise ProblemError("conflict", f"The run rejected this: {_words(error.cause)}.") from error
        except WorkflowUpdateRPCTimeoutOrCancelledError as error:
            raise NotDecided(
                "engine-unavailable", "No worker decided this in time. It may still take effect."
            ) from error
        except RPCError as error:
            raise _refusal(error) from error

    async def abandon(self, run: str) -> None:
        with contextlib.suppress(ProblemError, RPCError):
            await (await self._handle(run)).terminate(reason=CLOSED_BY_OPERATOR, rpc_timeout=TERMINATE_TIMEOUT)

    async def answers(self) -> bool:
        try:
            client = await self._connected()
            return await client.service_client.check_health(timeout=timedelta(seconds=2))
        except (ProblemError, RPCError):
            return False

    async def decides(self) -> bool:
        try:
            return await self._probe(await self._connected())
        except ProblemError:
            return False

    async def _handle(self, run: str) -> WorkflowHandle[Any, Any]:
        return (await self._connected()).get_workflow_handle(run)

    async def _connected(self) -> Client:
        async with self._connecting:
            if self._client is None:
                try:
                    self._client = await asyncio.wait_for(self._connect(), CONNECT_SECONDS)
                except (RuntimeError, RPCError, OSError, TimeoutError) as error:
                    raise NotDecided(
                        "engine-unavailable", "This needs Temporal, which cannot be reached. Events are still accepted."
                    ) from error
            return self._client


def _words(cause: BaseException | None) -> str:
    return str(getattr(cause, "message", None) or cause or "without a reason").rstrip(".")


def _refusal(error: RPCError) -> ProblemError:
    if error.status is RPCStatusCode.NOT_FOUND:
        return NotDecided(
            "conflict", "Temporal has no open run with this id: it has ended, or its first event is not delivered yet."
        )
    kind = NotDecided if error.status in UNDECIDED else ProblemError
    return kind("engine-unavailable", f"Temporal answers {error.status.name}.")
