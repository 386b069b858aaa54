"""Long form of the kill storm: `python -m benchmarks.chaos`.

By default 10,000 events for 1,000 people under 300 faults. Prints one JSON line; the exit code is 1 if anything was lost,
duplicated or unexpected. `--control` runs it with workers that send before they record, and must find duplicates.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tests.storm.plan import Storm
from tests.storm.run import NAIVE, Report, run_storm
from worker.event_loop import run_until_done


def storm_of(options: argparse.Namespace) -> Storm:
    """The storm of these options."""
    storm = Storm(
        options.seed,
        events=options.events,
        users=options.users,
        faults=options.faults,
        seconds=options.seconds,
        drain_seconds=300.0,
    )
    return replace(storm, worker=NAIVE, delay_ms=300) if options.control else storm


def is_as_promised(report: Report) -> bool:
    """Whether the result is as required. A control must find duplicates."""
    return report.duplicated > 0 if report.worker == NAIVE else report.passed


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="seed of clients and faults")
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--users", type=int, default=1_000)
    parser.add_argument("--faults", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=600.0, help="seconds over which events and faults are spread")
    parser.add_argument("--control", action="store_true", help="send before recording; must find duplicates")
    parser.add_argument("--home", type=Path, help="keep the stack's folder, with its logs, here")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = read_arguments(argv)
    with tempfile.TemporaryDirectory(prefix="tenure-chaos-") as folder:
        report = run_until_done(run_storm(storm_of(options), options.home or Path(folder) / "home"))
    print(report.line())
    if not is_as_promised(report):
        sys.stderr.write("the result is not as required; see the line above\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
