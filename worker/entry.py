"""How every process of ours that uses the Temporal client begins and, above all, ends."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run`, then drop what is left of the client while the interpreter is still whole.

    A client that is freed during finalisation may abort the process (PyGILState_Release … finalizing,
    temporalio/sdk-python#300): a script that did its work would still exit with SIGABRT.
    """
    try:
        return asyncio.run(main)
    finally:
        gc.collect()
