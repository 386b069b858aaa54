"""The storm in its long form: `python -m benchmarks.chaos`. Postgres is killed as well.

By default 10,000 events for 1,000 people under 300 faults; one JSON line, and exit code 1 if anything was lost, doubled
or unexpected. `--control` runs the same storm with workers that send, then record: it must double.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tests.storm.plan import KILLS, Storm
from tests.storm.run import Report, run_storm
from worker.event_loop import run_until_done

EVERYTHING: Mapping[str, int] = {**KILLS, "postgres": 5}


def storm_of(options: argparse.Namespace) -> Storm:
    """What was asked for."""
    storm = Storm(
        options.seed,
        events=options.events,
        users=options.users,
        faults=options.faults,
        seconds=options.seconds,
        drain_seconds=300.0,
        kills=EVERYTHING,
    )
    return replace(storm, ledger=False, delay_ms=300) if options.control else storm


def is_as_promised(report: Report) -> bool:
    """A control that finds nothing proves nothing."""
    return report.passed if report.ledger else report.duplicated > 0


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the same seed: the same clients and faults")
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--users", type=int, default=1_000)
    parser.add_argument("--faults", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=600.0, help="over which events and faults are spread")
    parser.add_argument("--control", action="store_true", help="without the ledger: must double")
    parser.add_argument("--home", type=Path, help="keep the stack's folder here, to look at its logs")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = read_arguments(argv)
    with tempfile.TemporaryDirectory(prefix="tenure-chaos-") as folder:
        Path(folder).chmod(0o755)  # under root PostgreSQL is another user
        report = run_until_done(run_storm(storm_of(options), options.home or Path(folder) / "home"))
    print(report.line())
    if not is_as_promised(report):
        sys.stderr.write("the storm found what it must not find; see the line above\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
