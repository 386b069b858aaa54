"""How every process of ours that uses the Temporal client begins and, above all, ends."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run_until_done(main: Coroutine[Any, Any, T], *, fast: bool = False) -> T:
    """`asyncio.run`, then drop what is left of the client while the interpreter is still whole.

    `fast` takes uvloop where there is one: half the cost of every statement and every mail. A client that is freed during finalisation may abort the process (PyGILState_Release … finalizing,
    temporalio/sdk-python#300): a script that did its work would still exit with SIGABRT.
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
