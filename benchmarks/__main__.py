"""Entry point of the benchmarks: `python -m benchmarks [--temporal STORE] [--only NAME] [--quick]`."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import get_args

import structlog
from rich.console import Console

from benchmarks.measure import ResultRow
from benchmarks.report import conditions, result_table
from benchmarks.rows import (
    cold_signal,
    events_in,
    gate,
    history,
    journeys_per_second,
    memory,
    replay,
    signal_to_send,
    state_reads,
    whole_backtest,
)
from benchmarks.run_scale import FULL, QUICK, RunScale
from benchmarks.stack.rig import Rig
from worker.event_loop import run_until_done
from worker.stack.temporal.store import StoreName

Measure = Callable[[Rig, RunScale], Awaitable[list[ResultRow]]]

RESULTS = Path(__file__).parent / "results" / "latest.json"
MOST_SECONDS = 300.0
"""Limit of one measurement. A longer one waits for something that was lost."""
MEASURES: Mapping[str, Measure] = {
    "journeys_per_s": journeys_per_second.measure,
    "signal_to_send": signal_to_send.measure,
    "history": history.measure,
    "gate": gate.measure,
    "state_reads": state_reads.measure,
    "replay": replay.measure,
    "worker_kb": memory.measure,
    "cold_signal": cold_signal.measure,
    "backtest": whole_backtest.measure,
    "events_in": events_in.measure,  # last: it leaves a million people behind
}


async def main(names: list[str], scale: RunScale, console: Console, store: StoreName) -> list[ResultRow]:
    """Measure one after the other on one rig, and print each row as soon as it is known."""
    results: list[ResultRow] = []
    async with Rig(store=store) as rig:
        for name in names:
            began = time.monotonic()
            async with asyncio.timeout(MOST_SECONDS):
                rows = await MEASURES[name](rig, scale)
            console.print(f"{name}: {time.monotonic() - began:.0f} s", style="dim")
            for row in rows:
                console.print(f"  {row.name}  {row.ratio:.2f}  ({row.low:.2f} to {row.high:.2f})", highlight=False)
            results += rows
    return results


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only", choices=sorted(MEASURES), action="append", help="measure only this one; may be repeated"
    )
    parser.add_argument(
        "--temporal", choices=get_args(StoreName), default="sqlite", help="store of the Temporal server"
    )
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds, within three minutes")
    return parser.parse_args()


def _write(rows: list[ResultRow], store: StoreName) -> None:
    """Write the rows. Rows that were not measured this time, or on the other store, are kept."""
    known = (
        {(result["name"], result["store"]): result for result in json.loads(RESULTS.read_text())}
        if RESULTS.exists()
        else {}
    )
    known |= {(row.name, store): row.json(store) for row in rows}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(list(known.values()), indent=1) + "\n")


if __name__ == "__main__":
    options = _arguments()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    screen = Console()
    work = main(options.only or list(MEASURES), QUICK if options.quick else FULL, screen, options.temporal)
    measured = run_until_done(work, fast=True)
    if not options.quick:
        _write(measured, options.temporal)
    screen.print(result_table(measured))
    screen.print(conditions(options.temporal), style="dim")
    sys.exit(0)
