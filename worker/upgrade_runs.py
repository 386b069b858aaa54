"""`python -m worker.upgrade_runs`: wake open runs, so that they continue on the current build.

With worker deployments a run stays on the build on which it began until it continues as new, and a run that sleeps for half
a year does not. A nudge changes nothing else: it costs a run four events, and one on the current build only those.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from store.database import Database
from store.operations.reconciliation import open_runs_after
from worker.composition.clients import connect_temporal, open_database
from worker.loops.reconciliation import nudge
from worker.relay.ended_runs import EndedRuns
from worker.relay.signals import WorkflowSignals
from worker.settings import Settings, SettingsError, load_settings

RATE: Final = 20.0
"""Runs a second, by default: a small part of what a Temporal server of one machine takes."""
PAGE: Final = 500
EVER: Final = timedelta(days=36_500)
"""Nothing is overdue by more, and no run was admitted longer ago."""


@dataclass(slots=True)
class Progress:
    """How many runs were woken, and the id of the last one: where a later call goes on."""

    last: str = ""
    count: int = 0


async def nudge_open_runs(
    database: Database, signals: WorkflowSignals, ended: EndedRuns, rate: float, progress: Progress
) -> None:
    """Nudge open runs by id, after the last of `progress`, that many a second; count them there. Raises RPCError.

    Runs that never made a step are left alone: they begin on the current build.
    """
    while True:
        async with database.reading() as connection:
            page = await open_runs_after(connection, EVER, EVER, progress.last, PAGE)
        for run in page:
            await nudge(run, signals, ended)
            progress.count, progress.last = progress.count + 1, run["id"]
            await asyncio.sleep(1 / rate)
        if len(page) < PAGE:
            return


async def upgrade(settings: Settings, rate: float, after: str) -> None:
    """Nudge every open run at this rate; say how many and the last one, also when it is cut short. Raises SettingsError."""
    database, client = open_database(settings), await connect_temporal(settings)
    progress = Progress(after)
    try:
        signals = WorkflowSignals(client, settings.task_queue)
        await nudge_open_runs(database, signals, EndedRuns(database, client), rate, progress)
    finally:
        sys.stdout.write(f"{progress.count} open runs were woken; the last was {progress.last or 'none'}\n")
        await database.close()


def _rate(given: str) -> float:
    rate = float(given)
    if not rate > 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return rate


def main() -> int:
    """Exit code of the process: 2 when a setting is wrong or missing."""
    parser = argparse.ArgumentParser(
        prog="python -m worker.upgrade_runs", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--rate", type=_rate, default=RATE, help="runs a second")
    parser.add_argument("--after", default="", help="id of the last run of an earlier call that was interrupted")
    given = parser.parse_args()
    try:
        asyncio.run(upgrade(load_settings(), given.rate, given.after))
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
