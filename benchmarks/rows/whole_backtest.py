"""Backtest of all 69,659 CDNOW orders, as a command."""

from __future__ import annotations

import asyncio
import sys
import time

from benchmarks.measure import ResultRow, Target
from benchmarks.run_scale import RunScale
from benchmarks.stack.rig import Rig
from cli.demonstration.cdnow import CdnowUnavailable, cdnow_file
from worker.settings import ROOT

JOURNEY = "win-back-and-replenishment"


async def measure(_rig: Rig, scale: RunScale) -> list[ResultRow]:
    """The command as a person types it, the start of Python included. On a busy machine `low` is the best estimate."""
    try:
        cdnow_file()
    except CdnowUnavailable as fault:
        print(f"backtest_seconds: skipped, {fault}", file=sys.stderr)
        return []
    seconds = sorted([await _once() for _ in range(scale.backtests)])
    return [
        ResultRow(
            "backtest_seconds",
            seconds[len(seconds) // 2],
            seconds[0],
            seconds[-1],
            seconds[len(seconds) // 2],
            None,
            "s",
            Target(6),
        )
    ]


async def _once() -> float:
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli", "backtest", JOURNEY, "--events", "cdnow"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"the backtest failed:\n{output.decode()[-1_000:]}")
    return time.monotonic() - began
