"""Main coroutine of a process, and the release of its Temporal client."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run_until_done(main: Coroutine[Any, Any, T], *, fast: bool = False) -> T:
    """`asyncio.run`, followed by a garbage collection. `fast` uses uvloop where it is installed: half the cost of I/O.

    A client that is freed while the interpreter ends may abort the process with SIGABRT (PyGILState_Release … finalizing,
    temporalio/sdk-python#300), after the work is done.
    """
    try:
        with asyncio.Runner(loop_factory=_uvloop() if fast else None) as runner:
            return runner.run(main)
    finally:
        gc.collect()


def _uvloop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 — platform: there is none for Windows
    except ImportError:
        return None
    return uvloop.new_event_loop
