"""The backlog: a share and a median over lanes that wait and do not rest."""

from __future__ import annotations

import json
from typing import Any

from store.database import Database, execute, sql
from store.outbox import backlog as backlogs
from store.outbox import claims
from store.outbox.backlog import Backlog, read_backlog
from store.outbox.rows import LEAST_URGENCY

_WAITS = sql(
    "INSERT INTO outbox (recipient, seq, kind, event_id, at, created_at) "
    "VALUES (:key, :seq, :kind, 'e', now(), now() - CAST(:age AS int) * interval '1 second')"
)
HOURS = 7 * 3600


async def _wait(database: Database, key: str, age: int, seq: int = 1, kind: str = "signal") -> None:
    async with database.transaction() as connection:
        await execute(connection, sql("INSERT INTO lanes (recipient) VALUES (:key) ON CONFLICT DO NOTHING"), key=key)
        await execute(connection, _WAITS, key=key, seq=seq, kind=kind, age=age)


async def _rest(database: Database, key: str) -> None:
    async with database.transaction() as connection:
        await claims.rest_lane(connection, key, "RPCError")


async def _backlog(database: Database) -> Backlog:
    async with database.reading() as connection:
        return await read_backlog(connection)


async def test_A1_a_resting_lane_says_nothing_about_the_others(database: Database) -> None:
    await _wait(database, "u_sick", HOURS)
    await _rest(database, "u_sick")
    backlog = await _backlog(database)
    assert (backlog.waiting, backlog.resting, backlog.median_seconds, backlog.late_share) == (1, 1, 0, 0)
    assert backlog.oldest_seconds >= HOURS, "the oldest row is still shown"


async def test_A1_a_lane_behind_a_resting_lane_of_a_former_visitor_rests_too(database: Database) -> None:
    await _wait(database, "u_visitor", HOURS)
    await _wait(database, "u_user", HOURS)
    async with database.transaction() as connection:
        for key in ("u_user", "u_visitor"):
            await execute(connection, sql("INSERT INTO subjects (key, kind) VALUES (:key, 'user')"), key=key)
        await execute(connection, sql("UPDATE subjects SET merged_into = 'u_user' WHERE key = 'u_visitor'"))
    assert (await _backlog(database)).median_seconds >= HOURS
    await _rest(database, "u_visitor")
    assert (await _backlog(database)).median_seconds == 0


async def test_A1_the_backlog_is_the_median_and_the_late_share_of_waiting_lanes(database: Database) -> None:
    for n, age in enumerate([1, 2, 30, 90, 7200]):
        await _wait(database, f"u_{n}", age)
        await _wait(database, f"u_{n}", 0, seq=2)
    await _wait(database, "u_0", 0, seq=-9, kind="wake")
    backlog = await _backlog(database)
    assert 30 <= backlog.median_seconds < 40
    assert round(backlog.late_share, 2) == 0.4


async def test_A1_many_rows_of_one_lane_are_one_lane(database: Database) -> None:
    for n in range(20):
        await _wait(database, "u_busy", HOURS, seq=n + 1)
    for n in range(3):
        await _wait(database, f"u_{n}", 1)
    assert (await _backlog(database)).median_seconds < 10


async def test_A1_ending_all_rests_keeps_how_often_each_lane_has_failed(database: Database) -> None:
    for key in ("u_a", "u_b"):
        await _wait(database, key, 1)
        for _ in range(8):
            await _rest(database, key)
    async with database.transaction() as connection:
        assert await claims.claim_lanes(connection, LEAST_URGENCY, 64, 32, rested=True) == {}
        assert (await claims.next_ready(connection) or 0) > 5
    async with database.transaction() as connection:
        await claims.end_rests(connection)
    async with database.transaction() as connection:
        assert list(await claims.claim_lanes(connection, LEAST_URGENCY, 64, 32, rested=True)) == ["u_a", "u_b"]
    assert (await _backlog(database)).resting == 2


_MANY_WAIT = (
    "INSERT INTO subjects (key, kind) SELECT 'u_w' || n, 'user' FROM generate_series(1, 300) n",
    "INSERT INTO lanes (recipient) SELECT 'u_w' || n FROM generate_series(1, 300) n",
    "INSERT INTO outbox (recipient, seq, kind, event_id, at) SELECT 'u_w' || n, 1, 'signal', 'e', now() FROM generate_series(1, 300) n",
)
_MANY_REST = "INSERT INTO lanes (recipient, attempts) SELECT 'u_r' || n, 1 FROM generate_series(1, 15000) n"


async def test_A1_many_resting_lanes_cost_the_sample_no_more(database: Database) -> None:
    async with database.transaction() as connection:
        for statement in (*_MANY_WAIT, _MANY_REST):
            await execute(connection, sql(statement))
    async with database.reading() as connection:
        await connection.execute("ANALYZE lanes, subjects, outbox")
        values = {"past": "u_w5", "most": backlogs.SAMPLE, "late": backlogs.LATE_SECONDS}
        (row,) = await connection.fetch(
            f"EXPLAIN (ANALYZE, FORMAT JSON) {backlogs._BACKLOG.text}", *backlogs._BACKLOG.arguments(values)
        )
    plan: list[dict[str, Any]] = [json.loads(row["QUERY PLAN"])[0]["Plan"]]
    for node in plan:
        plan += node.get("Plans", [])
    scans = [node for node in plan if node.get("Relation Name") == "lanes"]
    walked = sum(node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) for node in scans)
    assert walked <= 10_001 + 300 + 2 * backlogs.SAMPLE, "the count's, those that it passes, and the sample's"
    backlog = await _backlog(database)
    assert (backlog.waiting, backlog.resting) == (300, 10_001)
