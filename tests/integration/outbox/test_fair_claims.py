"""The relay goes round the lanes: none stops the others, however much waits in it, rests, or is another relay's."""

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


async def _waiting(database: Database, many: dict[str, int]) -> None:
    async with database.transaction() as connection:
        await execute(connection, _LANES, keys=list(many))
        for key, rows_of_it in many.items():
            await execute(connection, _FILL, key=key, many=rows_of_it)


async def _claimed(connection: Connection, past: str = "", lanes: int = 64) -> dict[str, int]:
    found = await claims.claim_lanes(connection, past, lanes, 32)
    return {lane: len(waiting) for lane, waiting in found.items()}


async def test_a_lane_that_rests_with_thousands_of_rows_takes_nobodys_place(database: Database) -> None:
    await _waiting(database, {"u_resting": 3_000, "u_well": 1})
    async with database.transaction() as connection:
        await claims.rest_lane(connection, "u_resting", "RPCError")
    async with database.transaction() as connection:
        assert await _claimed(connection) == {"u_well": 1}


async def test_a_lane_with_thousands_of_rows_leaves_room_for_the_others_of_its_batch(database: Database) -> None:
    await _waiting(database, {"u_a": 5_000, "u_b": 3, "u_c": 40})
    async with database.transaction() as connection:
        found = await claims.claim_lanes(connection, "", 64, 32)
    assert {lane: [item.seq for item in waiting][-1] for lane, waiting in found.items()} == {
        "u_a": 32,
        "u_b": 3,
        "u_c": 32,
    }


async def test_what_another_relay_has_claimed_is_passed_over_and_not_waited_for(database: Database) -> None:
    await _waiting(database, {"u_a": 3_000, "u_b": 1})
    async with database.transaction() as first, database.transaction() as second:
        assert await _claimed(first, lanes=1) == {"u_a": 32}
        assert await _claimed(second) == {"u_b": 1}


async def test_every_lane_has_its_turn_before_any_has_a_second_one(database: Database) -> None:
    await _waiting(database, dict.fromkeys(["a_1", "u_1", "u_2", "u_3", "u_4"], 500))
    past, met = "u_2", list[str]()
    for _ in range(5):
        async with database.transaction() as connection:
            met += await _claimed(connection, past, lanes=2)
        past = met[-1]
    assert met == ["u_3", "u_4", "a_1", "u_1", "u_2", "u_3", "u_4", "a_1", "u_1", "u_2"]


async def test_what_is_read_for_a_run_at_once_is_bounded_in_bytes_and_never_nothing(database: Database) -> None:
    await _waiting(database, {"u_a": 40})
    async with database.transaction() as connection:
        await execute(connection, sql("UPDATE outbox SET data = jsonb_build_object('text', repeat('x', 100000))"))
        first = await rows_after(connection, "u_a", 0, 0, "run")
        assert [item.seq for item in first] == [1, 2, 3, 4, 5]
        await execute(connection, sql("UPDATE outbox SET data = jsonb_build_object('text', repeat('x', 1000000))"))
        assert [item.seq for item in await rows_after(connection, "u_a", 5, 0, "run")] == [6]
