"""Cancel requests of Temporal: they interrupt nothing, and become a command of the workflow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from temporalio import workflow

T = TypeVar("T")


async def uninterrupted(work: Coroutine[Any, Any, T], on_cancel: Callable[[], None]) -> T:
    """The result of `work`, which a cancel request does not interrupt: it calls `on_cancel` once instead.

    An interrupted step would be in PostgreSQL and not in the workflow, or in neither. Eviction from the cache cancels
    every task; then there is no request, or a second cancellation.
    """
    task, is_requested = asyncio.ensure_future(work), False
    while True:
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if is_requested or task.done() or workflow.cancellation_reason() is None:
                raise
            is_requested = True
            on_cancel()
