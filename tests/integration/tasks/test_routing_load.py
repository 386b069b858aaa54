"""Routing of tasks: teams do not wait for each other, and a load counts up to a limit."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from journeys.tasks.assignment import Roster
from journeys.tasks.team import RoutingRule, Team, TeamMember
from store.database import Connection, Database
from store.tasks import assignment

ROSTER = Roster(
    Team(
        people={"ada": TeamMember(team=("success",)), "ben": TeamMember(team=("success",)), "eve": TeamMember(team=("sales",))},
        teams={"success": RoutingRule(by=("load",)), "sales": RoutingRule(by=("load",))},
    )
)  # fmt: skip
_TASKS = """
    INSERT INTO tasks (key, run, subject_key, journey, action, task, owner, opened_at, status, clock)
    SELECT concat($1::text, $3::text, $4::text, n), 'r', 'u', 'j', 'a', 'call', $1::text, now(), $3::text, $4::text FROM generate_series(1, $2::int) AS n
"""


async def route(connection: Connection, named: str) -> str:
    chosen = await assignment.choose_owner(
        connection, ROSTER, task="call", named=named, account=None, at=datetime.now(UTC), clock=None, scope="u"
    )
    return chosen.owner


async def test_a_team_does_not_wait_for_another(database: Database) -> None:
    async with database.transaction() as first, database.transaction() as second:
        assert await route(first, "success") == "ada"
        assert await asyncio.wait_for(route(second, "sales"), 10) == "eve"


@pytest.mark.parametrize("named", ["success", "ada"])
async def test_a_task_of_the_same_team_waits_for_the_one_before(database: Database, named: str) -> None:
    async with database.transaction() as second:
        async with database.transaction() as first:
            await route(first, "success")
            waiting = asyncio.ensure_future(route(second, named))
            done, _ = await asyncio.wait([waiting], timeout=0.3)
            assert not done
            await first.execute(_TASKS, "ada", 1, "open", None)
        assert await waiting == ("ben" if named == "success" else "ada")


async def test_open_tasks_of_the_real_clock_count_up_to_a_limit(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with database.transaction() as connection:
        await connection.execute(_TASKS, "ada", 30, "open", None)
        await connection.execute(_TASKS, "ben", 29, "open", None)
        await connection.execute(_TASKS, "ben", 50, "closed", None)
        await connection.execute(_TASKS, "ben", 50, "open", "clock")
        assert await route(connection, "success") == "ben"
        monkeypatch.setattr(assignment, "MOST_COUNTED", 20)
        assert await route(connection, "success") == "ada", "both have as many as are counted: their capacity, 25"
