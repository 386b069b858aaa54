"""Fair claims: no lane blocks the others, whether it is long, resting or claimed by another relay."""

from __future__ import annotations

import json
from typing import Any

import pytest

from store.database import Connection, Database, execute, fetch_all, sql
from store.outbox import claims
from store.outbox.rows import LEAST_URGENCY, PRESSING_URGENCY, USUAL_URGENCY, urgency_of
from store.outbox.undecided import rows_after

_LANES = sql("INSERT INTO lanes (recipient) SELECT unnest(CAST(:keys AS text[])) ON CONFLICT DO NOTHING")
_FILL = sql(
    """
    INSERT INTO outbox (recipient, seq, kind, event_id, at, urgency, turn_at)
    SELECT :key, coalesce((SELECT max(seq) FROM outbox WHERE recipient = :key), 0) + n, 'signal', 'e' || n, now(), :urgency,
      now() - CAST(:age AS int) * interval '1 second'
    FROM generate_series(1, CAST(:many AS int)) AS n
    """
)


async def _insert_rows(database: Database, many: dict[str, int], urgency: int = USUAL_URGENCY, age: int = 0) -> None:
    async with database.transaction() as connection:
        await execute(connection, _LANES, keys=list(many))
        for key, rows_of_it in many.items():
            await execute(connection, _FILL, key=key, many=rows_of_it, urgency=urgency, age=age)


async def _rest(connection: Connection, lane: str) -> None:
    """Let a lane rest for longer than a test takes."""
    for _ in range(9):
        await claims.rest_lane(connection, lane, "RPCError")


async def _claimed_counts(connection: Connection, lanes: int = 64) -> dict[str, int]:
    claimed = await claims.claim_lanes(connection, LEAST_URGENCY, lanes, 32, rested=True)
    return {lane: len(waiting) for lane, waiting in claimed.items()}


async def test_a_resting_lane_with_thousands_of_rows_does_not_block_others(database: Database) -> None:
    await _insert_rows(database, {"u_resting": 3_000, "u_well": 1})
    async with database.transaction() as connection:
        await _rest(connection, "u_resting")
    async with database.transaction() as connection:
        assert await _claimed_counts(connection) == {"u_well": 1}


async def test_a_lane_with_thousands_of_rows_gets_only_its_share_of_a_batch(database: Database) -> None:
    await _insert_rows(database, {"u_a": 5_000, "u_b": 3, "u_c": 40})
    async with database.transaction() as connection:
        claimed = await claims.claim_lanes(connection, LEAST_URGENCY, 64, 32)
    assert {lane: [item.seq for item in waiting][-1] for lane, waiting in claimed.items()} == {
        "u_a": 32,
        "u_b": 3,
        "u_c": 32,
    }


async def test_a_lane_claimed_by_another_relay_is_skipped_without_waiting(database: Database) -> None:
    await _insert_rows(database, {"u_a": 3_000, "u_b": 1})
    async with database.transaction() as first, database.transaction() as second:
        assert await _claimed_counts(first, lanes=1) == {"u_a": 32}
        assert await _claimed_counts(second) == {"u_b": 1}


async def test_lanes_are_claimed_by_the_most_urgent_row_that_they_carry_then_by_age(database: Database) -> None:
    lifecycle, copy = urgency_of("lifecycle"), urgency_of("lifecycle", is_copy=True)
    await _insert_rows(database, dict.fromkeys([f"u_burst{n:03}" for n in range(100)], 1), age=60)
    await _insert_rows(database, {"a_copied": 1}, copy, age=600)
    await _insert_rows(database, {"u_old": 1}, lifecycle, age=90)
    await _insert_rows(database, {"u_burst099": 1, "u_urgent": 2}, urgency_of("urgent_support"))
    await _insert_rows(database, {"u_paid": 1, "u_paid_before": 1}, urgency_of("transactional"))
    await _insert_rows(database, {"u_offer": 1}, urgency_of("promotional"), age=900)
    async with database.transaction() as connection:
        pressing = await claims.claim_lanes(connection, PRESSING_URGENCY, 64, 32)
        assert list(pressing) == ["u_burst099", "u_urgent", "u_paid", "u_paid_before"]
        assert [row.urgency for row in pressing["u_burst099"]] == [4, 0], "a lane's rows keep their order"
    async with database.transaction() as connection:
        ahead = ["u_burst099", "u_urgent", "u_paid", "u_paid_before", "u_old"]
        assert list(await _claimed_counts(connection))[:6] == [*ahead, "u_burst000"]
    async with database.transaction() as connection:
        assert list(await _claimed_counts(connection, lanes=200))[-2:] == ["a_copied", "u_offer"]


async def test_a_lane_whose_visitor_has_undelivered_rows_takes_no_place_of_others(database: Database) -> None:
    await _insert_rows(database, {"u_visitor": 1, "u_user": 1}, age=60)
    await _insert_rows(database, {"u_other": 1})
    async with database.transaction() as connection:
        merged = "INSERT INTO subjects (key, kind, merged_into) VALUES ('u_user', 'user', NULL), ('u_visitor', 'user', 'u_user')"
        await execute(connection, sql(merged))
        await _rest(connection, "u_visitor")
    async with database.transaction() as connection:
        assert await _claimed_counts(connection, lanes=1) == {"u_other": 1}


async def test_the_rows_of_a_resting_lane_are_marked_until_a_delivery_after_its_rest(database: Database) -> None:
    await _insert_rows(database, {"u_sick": 3})
    async with database.transaction() as connection:
        await _rest(connection, "u_sick")
    await _insert_rows(database, {"u_sick": 1})
    async with database.transaction() as connection:
        assert await _marks(connection) == [True, True, True, False]
        assert await _claimed_counts(connection) == {}
        await claims.end_rests(connection)
    async with database.transaction() as connection:
        assert list(await claims.claim_lanes(connection, LEAST_URGENCY, 64, 32)) == ["u_sick"], "by its new row"
    async with database.transaction() as connection:
        claimed = await claims.claim_lanes(connection, LEAST_URGENCY, 64, 2, rested=True)
        await claims.mark_delivered(connection, [row.id for row in claimed["u_sick"]], ["u_sick"])
        assert (await _marks(connection))[2:] == [False, False]


async def test_lanes_whose_rest_has_ended_leave_places_to_others(database: Database) -> None:
    await _insert_rows(database, {f"u_sick{n:03}": 1 for n in range(100)}, age=60)
    async with database.transaction() as connection:
        for n in range(100):
            await claims.rest_lane(connection, f"u_sick{n:03}", "RPCError")
        await claims.end_rests(connection)
    await _insert_rows(database, {"u_well": 1})
    async with database.transaction() as connection:
        claimed = await _claimed_counts(connection)
        assert (len(claimed), "u_well" in claimed) == (claims.MOST_RESTED + 1, True)


_MANY_REST = (
    "INSERT INTO lanes (recipient, attempts, ready_at) SELECT 'u_r' || n, 3, now() + interval '1 hour' FROM generate_series(1, 20000) n",
    """INSERT INTO outbox (recipient, seq, kind, event_id, at, turn_at, rests)
    SELECT 'u_r' || n, 1, 'signal', 'e', now(), now() - interval '1 hour', true FROM generate_series(1, 20000) n""",
)


@pytest.mark.parametrize("statement", ["_WAITING", "_RESTED"])
async def test_a_claim_walks_past_no_resting_lane(database: Database, statement: str) -> None:
    async with database.transaction() as connection:
        for rows in _MANY_REST:
            await execute(connection, sql(rows))
    await _insert_rows(database, {f"u_well{n}": 2 for n in range(5)})
    async with database.transaction() as connection:
        await connection.execute("ANALYZE lanes, subjects, outbox")
        claim = getattr(claims, statement)
        values = {"urgency": LEAST_URGENCY, "lanes": 64}
        (row,) = await connection.fetch(f"EXPLAIN (ANALYZE, FORMAT JSON) {claim.text}", *claim.arguments(values))
    plan: list[dict[str, Any]] = [json.loads(row["QUERY PLAN"])[0]["Plan"]]
    for node in plan:
        plan += node.get("Plans", [])
    scans = [node for node in plan if "Relation Name" in node]
    walked = sum(node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) for node in scans)
    assert walked <= (5 * 4 if statement == "_WAITING" else 0)


async def _marks(connection: Connection) -> list[bool]:
    return [row["rests"] for row in await fetch_all(connection, sql("SELECT rests FROM outbox ORDER BY seq"))]


async def test_the_rows_read_for_a_run_are_limited_in_bytes_and_at_least_one(database: Database) -> None:
    await _insert_rows(database, {"u_a": 40})
    async with database.transaction() as connection:
        await execute(connection, sql("UPDATE outbox SET data = jsonb_build_object('text', repeat('x', 100000))"))
        first = await rows_after(connection, "u_a", 0, 0, "run")
        assert [item.seq for item in first] == [1, 2, 3, 4, 5]
        await execute(connection, sql("UPDATE outbox SET data = jsonb_build_object('text', repeat('x', 1000000))"))
        assert [item.seq for item in await rows_after(connection, "u_a", 5, 0, "run")] == [6]
