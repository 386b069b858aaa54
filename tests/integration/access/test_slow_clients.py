"""A thousand slow clients beside honest traffic: nobody else is refused or delayed, and little memory is taken."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.integration.access.test_attacker import FLOOR_SECONDS, Deployment, deployment, honest_p99
from worker.settings import DEV_WRITE_KEY, ROOT

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.usefixtures("clean_environment")]

CLIENTS, WINDOWS = 1_000, 3
MEMORY = 60 * 1024 * 1024
"""Bytes that the API may grow by under the slow clients: about 60 KB for each connection and its request."""

__all__ = ["deployment"]


class SlowProcess:
    """The process of the slow clients."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def turn(self, command: str) -> int:
        """Turn them `on` or `off`; the number of their connections after it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command}\n".encode())
        return int(await self._process.stdout.readline())


@asynccontextmanager
async def slow_clients(deployment: Deployment) -> AsyncIterator[SlowProcess]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.slow_clients",
        deployment.url, deployment.public.secret, DEV_WRITE_KEY, str(CLIENTS),
        cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield SlowProcess(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()


async def test_a_thousand_slow_clients_shut_nobody_out_and_at_most_double_the_p99(deployment: Deployment) -> None:
    """Connections begin over four seconds in each window: all at once would be a burst."""
    await honest_p99(deployment)  # its people become known
    quiet: list[float] = []
    beside: list[float] = []
    async with slow_clients(deployment) as slow:
        memory = deployment.process.memory_info().rss
        for _ in range(WINDOWS):
            quiet.append(await honest_p99(deployment))
            assert await slow.turn("on") >= CLIENTS * 0.9
            beside.append(await honest_p99(deployment))
            grown = deployment.process.memory_info().rss - memory
            assert grown < MEMORY, f"{grown / CLIENTS:.0f} bytes for each"
            assert await slow.turn("off") == 0
    print(json.dumps({"p99_quiet": quiet, "p99_slow": beside, "grown": grown}))
    ratios = [with_slow / max(without, FLOOR_SECONDS) for with_slow, without in zip(beside, quiet, strict=True)]
    assert sorted(ratios)[1] <= 2, (
        "what else this machine does delays single windows, slow clients would delay them all"
    )
