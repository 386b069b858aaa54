"""Cost of loops and lists with a million runs: `python -m benchmarks.scale`.

Only PostgreSQL is started. Each operation is timed with a thousand people and with `--people`, 1,000,000 by default, and
rolled back. All but a hundred lanes rest with a waiting row, so a claim must find those that do not.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any, Final

from rich.console import Console

from benchmarks.measure import ResultRow, Target
from benchmarks.report import result_table
from benchmarks.stack.crowd import insert_crowd, settle_tables
from journeys.gate.policy import SurgeBrake
from journeys.tasks.assignment import Roster
from journeys.tasks.team import RoutingRule, Team, TeamMember
from store.database import Connection, Database, execute, sql
from store.messages.kill_switches import engage_surging
from store.migrate import migrate
from store.operations.reconciliation import open_runs_after, overdue_runs
from store.outbox.claims import claim_lanes, next_ready
from store.reads.definitions import list_journeys
from store.reads.messages import list_messages
from store.reads.runs import list_runs
from store.reads.tasks import list_tasks
from store.tasks.assignment import choose_owner
from worker.event_loop import run_until_done
from worker.stack.postgres import PostgresServer

FEW: Final = 1_000
ROUNDS: Final = 15
MOST_TIMES: Final = Target(2.0)
PAGE: Final = 50
_JOURNEY = sql(
    """
    WITH d AS (INSERT INTO definitions (hash, journey, version, artifact, source, published_by)
      VALUES ('none', 'daily', 1, '{}', '', 'benchmarks') RETURNING hash)
    INSERT INTO journeys (key, hash) SELECT 'daily', hash FROM d
    """
)
_WAITING = sql(
    """
    INSERT INTO outbox (recipient, seq, kind, event_id, name, at)
    SELECT 'u_c' || n, 2, 'signal', 'waits-' || n, 'day_used', now()
    FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS n
    """
)
_REST = sql(
    """
    UPDATE lanes SET attempts = 3, ready_at = now() + interval '1 hour'
    FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS n WHERE recipient = 'u_c' || n AND n % 1000 > 0
    """
)
_ROSTER = Roster(
    Team(
        people={name: TeamMember(team=("success",)) for name in ("ada", "ben", "eve", "joe", "kim")},
        teams={"success": RoutingRule(by=("load",))},
    )
)
Operation = Callable[[Connection], Awaitable[Any]]
LATE: Final = timedelta(minutes=5)


async def _owner(connection: Connection) -> Any:
    now = datetime.now(UTC)
    return await choose_owner(
        connection, _ROSTER, task="call", named="success", account=None, at=now, clock=None, scope="u_c1"
    )


OPERATIONS: Mapping[str, Operation] = {
    "sweep_page": lambda c: open_runs_after(c, LATE, LATE, "journey/daily/u_c5", 200),
    "overdue_page": lambda c: overdue_runs(c, LATE, (datetime.fromtimestamp(0, UTC), ""), 200),
    "claim_among_resting_lanes": lambda c: claim_lanes(c, "u_c5", 1, 20),
    "next_resting_lane": next_ready,
    "journeys_page": lambda c: list_journeys(c, "", PAGE),
    "surge_brake": lambda c: engage_surging(c, SurgeBrake()),
    "task_routing": _owner,
    "messages_page": lambda c: list_messages(c, limit=PAGE),
    "failed_messages_page": lambda c: list_messages(c, status="failed", limit=PAGE),
    "withheld_messages_page": lambda c: list_messages(c, status="withheld", limit=PAGE),
    "messages_of_run_page": lambda c: list_messages(c, run="journey/daily/u_c5/-/1", limit=PAGE),
    "runs_page": lambda c: list_runs(c, ["u_c5"], None, None, PAGE),
    "tasks_page": lambda c: list_tasks(c, now=datetime.now(UTC), limit=PAGE),
}


async def milliseconds(database: Database, operation: Operation) -> float:
    """Median of some rounds, each in a transaction that is rolled back."""
    times: list[float] = []
    for _ in range(ROUNDS):
        with contextlib.suppress(_RolledBack):
            async with database.transaction() as connection:
                began = time.perf_counter()
                await operation(connection)
                times.append((time.perf_counter() - began) * 1_000)
                raise _RolledBack
    return median(times)


class _RolledBack(Exception):
    """Ends a measured transaction."""


async def grow(database: Database, first: int, last: int) -> None:
    """Add people up to `last`, whose lanes rest."""
    for start in range(first, last + 1, 100_000):
        end = min(last, start + 99_999)
        async with database.transaction() as connection:
            await insert_crowd(connection, start, end)
            await execute(connection, _WAITING, first=start, last=end)
            await execute(connection, _REST, first=start, last=end)
    async with database.reading() as connection:
        await settle_tables(connection)


async def measure_scale(people: int) -> list[ResultRow]:
    """A row for each operation: its time with `people` against that with a thousand."""
    with tempfile.TemporaryDirectory(prefix="tenure-bench-", ignore_cleanup_errors=True) as folder:
        async with PostgresServer(Path(folder) / "postgres") as server:
            url = await server.create_database("tenure")
            await migrate(url)
            database = Database(url)
            async with database.transaction() as connection:
                await execute(connection, _JOURNEY)
            await grow(database, 1, FEW)
            few = {name: await milliseconds(database, operation) for name, operation in OPERATIONS.items()}
            await grow(database, FEW + 1, people)
            many = {name: await milliseconds(database, operation) for name, operation in OPERATIONS.items()}
            await database.close()
    return [_row(f"{name}_at_{people}_vs_{FEW}", many[name], few[name]) for name in OPERATIONS]


def _row(name: str, many: float, few: float) -> ResultRow:
    ratio = many / few
    return ResultRow(name, ratio, ratio, ratio, many, few, "ms", MOST_TIMES)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--people", type=int, default=1_000_000, help="people with an open run each")
    rows = run_until_done(measure_scale(parser.parse_args().people), fast=True)
    Console().print(result_table(rows))


if __name__ == "__main__":
    main()
