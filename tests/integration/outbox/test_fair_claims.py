"""Fair claims: no lane blocks the others, whether it is long, resting or claimed by another relay."""

from __future__ import annotations

from store.database import Connection, Database, execute, sql
from store.outbox import claims
from store.outbox.undecided import rows_after

_LANES = sql("INSERT INTO lanes (recipient) SELECT unnest(CAST(:keys AS text[]))")
_FILL = sql(
    """
    INSERT INTO outbox (recipient, seq, kind, event_id, at)
    SELECT :key, n, 'signal', 'e' || n, now() FROM generate_series(1, CAST(:many AS int)) AS n
    """
)


async def _insert_rows(database: Database, many: dict[str, int]) -> None:
    async with database.transaction() as connection:
        await execute(connection, _LANES, keys=list(many))
        for key, rows_of_it in many.items():
            await execute(connection, _FILL, key=key, many=rows_of_it)


async def _claimed_counts(connection: Connection, past: str = "", lanes: int = 64) -> dict[str, int]:
    claimed = await claims.claim_lanes(connection, past, lanes, 32)
    return {lane: len(waiting) for lane, waiting in claimed.items()}


async def test_a_resting_lane_with_thousands_of_rows_does_not_block_others(database: Database) -> None:
    await _insert_rows(database, {"u_resting": 3_000, "u_well": 1})
    async with database.transaction() as connection:
        await claims.rest_lane(connection, "u_resting", "RPCError")
    async with database.transaction() as connection:
        assert await _claimed_counts(connection) == {"u_well": 1}


async def test_a_lane_with_thousands_of_rows_gets_only_its_share_of_a_batch(database: Database) -> None:
    await _insert_rows(database, {"u_a": 5_000, "u_b": 3, "u_c": 40})
    async with database.transaction() as connection:
        claimed = await claims.claim_lanes(connection, "", 64, 32)
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


async def test_every_lane_gets_a_turn_before_any_gets_a_second(database: Database) -> None:
    await _insert_rows(database, dict.fromkeys(["a_1", "u_1", "u_2", "u_3", "u_4"], 500))
    past, claimed_lanes = "u_2", list[str]()
    for _ in range(5):
        async with database.transaction() as connection:
            claimed_lanes += await _claimed_counts(connection, past, lanes=2)
        past = claimed_lanes[-1]
    assert claimed_lanes == ["u_3", "u_4", "a_1", "u_1", "u_2", "u_3", "u_4", "a_1", "u_1", "u_2"]


async def test_a_lane_where_something_else_than_a_copy_waits_is_claimed_apart_from_thousands_of_copies(
    database: Database,
) -> None:
    copied = [f"u_copied{n:03}" for n in range(200)]
    await _insert_rows(database, dict.fromkeys(copied, 1))
    async with database.transaction() as connection:
        await execute(connection, sql("UPDATE outbox SET copy_of = 1"))
    await _insert_rows(database, {"a_1": 1, "u_alone": 1, "u_zoe": 1})
    async with database.transaction() as connection:
        assert list(await claims.claim_lanes(connection, "u_b", 64, 32, own=True)) == ["u_zoe", "a_1", "u_alone"]
    async with database.transaction() as connection:
        assert list(await claims.claim_lanes(connection, "u_copied150", 64, 32)) == [
            *copied[151:], "u_zoe", "a_1", "u_alone", *copied[:12]
        ]  # fmt: skip


async def test_the_rows_read_for_a_run_are_limited_in_bytes_and_at_least_one(database: Database) -> None:
    await _insert_rows(database, {"u_a": 40})
    async with database.transaction() as connection:
        await execute(connection, sql("UPDATE outbox SET data = jsonb_build_object('text', repeat('x', 100000))"))
        first = await rows_after(connection, "u_a", 0, 0, "run")
        assert [item.seq for item in first] == [1, 2, 3, 4, 5]
        await execute(connection, sql("UPDATE outbox SET data = jsonb_build_object('text', repeat('x', 1000000))"))
        assert [item.seq for item in await rows_after(connection, "u_a", 5, 0, "run")] == [6]
