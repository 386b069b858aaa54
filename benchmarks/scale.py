"""Cost of loops and lists with a million runs: `python -m benchmarks.scale`.

Only PostgreSQL is started. Each operation is timed in turn with a thousand people and with `--people`, 1,000,000 by
default, and rolled back. All but a hundred lanes rest with a waiting row, so a claim must find those that do not.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog
from rich.console import Console

from benchmarks.measure import ResultRow, Target, compared, interleaved
from benchmarks.report import result_table
from benchmarks.stack.crowd import insert_crowd, settle_tables
from benchmarks.stack.rig import benchmark_catalog
from benchmarks.stack.steps import CrowdSteps
from journeys.gate.policy import SurgeBrake
from journeys.tasks.assignment import Roster
from journeys.tasks.team import RoutingRule, Team, TeamMember
from store.database import Connection, Database, execute, sql
from store.messages.kill_switches import engage_surging
from store.migrate import migrate
from store.operations.reconciliation import open_runs_after, overdue_runs
from store.outbox.claims import claim_lanes, next_ready
from store.outbox.rows import LEAST_URGENCY
from store.reads.definitions import list_journeys
from store.reads.messages import list_messages
from store.reads.runs import list_runs
from store.reads.tasks import list_tasks
from store.tasks.assignment import choose_owner
from worker.composition.dependencies import dependencies
from worker.event_loop import run_until_done
from worker.settings import Settings
from worker.stack.postgres import PostgresServer

FEW: Final = 1_000
ROUNDS: Final = 31
MOST_TIMES: Final = Target(2.0)
PAGE: Final = 50
_WAITING = sql(
    """
    INSERT INTO outbox (recipient, seq, kind, event_id, name, at, rests)
    SELECT 'u_c' || n, 2, 'signal', 'waits-' || n, 'day_used', now(), n % 1000 > 0
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
    "claim_among_resting_lanes": lambda c: claim_lanes(c, LEAST_URGENCY, 1, 20, rested=True),
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


@dataclass(frozen=True, slots=True)
class CrowdDatabase:
    """A database with a crowd, and the operations that are timed on it."""

    database: Database
    operations: Mapping[str, Operation]

    async def milliseconds(self, name: str) -> float:
        """Time of one operation, in a transaction that is rolled back."""
        took = 0.0
        with contextlib.suppress(_RolledBack):
            async with self.database.transaction() as connection:
                began = time.perf_counter()
                await self.operations[name](connection)
                took = (time.perf_counter() - began) * 1_000
                raise _RolledBack
        return took


class _RolledBack(Exception):
    """Ends a measured transaction."""


@contextlib.asynccontextmanager
async def crowd_database(server: PostgresServer, name: str, people: int, catalog: Path) -> AsyncIterator[CrowdDatabase]:
    """A database with so many people."""
    url = await server.create_database(name)
    await migrate(url)
    database = Database(url)
    settings = Settings(database_url=url, catalog=catalog, smtp_url="smtp://127.0.0.1:9")
    steps = CrowdSteps(dependencies(settings, database))
    await steps.publish(database)
    await grow(database, 1, people)
    yield CrowdDatabase(
        database, {**OPERATIONS, "step_with_message": steps.with_message, "due_timer": steps.of_due_timer}
    )
    await database.close()


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
    """A row for each operation: its time with `people` against that with a thousand, measured in turn."""
    rows: list[ResultRow] = []
    with tempfile.TemporaryDirectory(prefix="tenure-bench-", ignore_cleanup_errors=True) as home:
        folder = Path(home)
        catalog = benchmark_catalog(folder / "catalog")
        async with (
            PostgresServer(folder / "postgres") as server,
            crowd_database(server, "few", FEW, catalog) as few,
            crowd_database(server, "many", people, catalog) as many,
        ):
            for name in many.operations:
                for side in (few, many):
                    await side.milliseconds(name)  # it fills the caches
                of_many, of_few = await interleaved(
                    ROUNDS, partial(many.milliseconds, name), partial(few.milliseconds, name)
                )
                rows.append(compared(name, of_many, of_few, "ms", MOST_TIMES))
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    # The gate logs its decisions.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    parser.add_argument("--people", type=int, default=1_000_000, help="people with an open run each")
    people: int = parser.parse_args().people
    rows = run_until_done(measure_scale(people), fast=True)
    title = f"With {people:,} people against {FEW:,}, in turn"
    Console().print(result_table(rows, title, (f"{people:,}", f"{FEW:,}")))


if __name__ == "__main__":
    main()
