"""The fan-out brings every member up to their account's last rows, in slices, whatever dies or waits meanwhile."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from store.database import Database, sql
from store.outbox import fan_out, queue
from store.people import subjects
from store.runs.lanes import listeners_of
from tests.support.live_stack import until
from tests.support.members import OF_ACCOUNTS, READER, Lanes
from worker.loops.fan_out import fan_out_accounts

_COPIES = sql(
    """
    SELECT s.key, array_agg(a.seq ORDER BY o.seq) FILTER (WHERE a.id IS NOT NULL) AS copied
    FROM subjects s LEFT JOIN outbox o ON o.recipient = s.key LEFT JOIN outbox a ON a.id = o.copy_of
    WHERE s.kind = 'user' GROUP BY s.key ORDER BY s.key
    """
)
_WAITS = sql(
    "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)
COUNT = 25


@pytest.fixture
def lanes(database: Database, monkeypatch: pytest.MonkeyPatch) -> Lanes:
    monkeypatch.setattr(fan_out, "MEMBERS", 4)
    monkeypatch.setattr(fan_out, "ROWS", 2)
    return Lanes(database)


async def many(lanes: Lanes, count: int = COUNT, account: str = "acme") -> None:
    await lanes.publish(READER)
    people = [f"{account}-{n}" for n in range(count)]
    await lanes.accept(*(lanes.call("group", user=person, account=account) for person in people))
    await lanes.accept(*(lanes.call("track", "signed_up", user=person) for person in people))


async def copied(lanes: Lanes) -> list[list[int] | None]:
    return [row["copied"] for row in await lanes.rows(_COPIES)]


async def test_every_member_gets_every_row_once_and_in_order(lanes: Lanes) -> None:
    await many(lanes)
    for plan in ("trial", "paid", "free", "trial", "paid"):
        await lanes.account(plan=plan)
    assert await lanes.fan_out() > COUNT
    assert await copied(lanes) == [[1, 2, 3, 4, 5]] * COUNT
    assert (await lanes.subject("acme"))["behind_since"] is None
    assert await lanes.fan_out() == 0


async def test_an_accounts_lane_is_delivered_to_the_accounts_runs_alone(lanes: Lanes) -> None:
    """However many members it has: each has the row in a lane of their own."""
    await lanes.publish(OF_ACCOUNTS)
    await many(lanes)
    await lanes.happens("contract_started")
    account = await lanes.key("acme")
    async with lanes.database.reading() as connection:
        (run,) = (await listeners_of(connection, [account]))[account]
    assert run["subject_key"] == account


async def test_how_long_the_oldest_account_has_been_behind_is_known(lanes: Lanes) -> None:
    await many(lanes, 1)
    await lanes.account(plan="trial")
    await lanes.execute("UPDATE subjects SET behind_since = behind_since - interval '1 minute' WHERE kind = 'account'")
    await lanes.account(plan="paid")
    async with lanes.database.reading() as connection:
        seconds, accounts = await fan_out.oldest_behind(connection)
    assert (60 <= seconds < 120, accounts) == (True, 1)
    await lanes.fan_out()
    async with lanes.database.reading() as connection:
        assert await fan_out.oldest_behind(connection) == (0.0, 0)


async def test_any_number_of_processes_fan_out_one_account(lanes: Lanes) -> None:
    await many(lanes)
    for plan in ("trial", "paid", "free"):
        await lanes.account(plan=plan)
    await asyncio.gather(*(lanes.fan_out() for _ in range(4)))
    assert await copied(lanes) == [[1, 2, 3]] * COUNT


async def test_a_fan_out_that_dies_in_a_slice_goes_on_where_it_was(
    lanes: Lanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    await many(lanes)
    await lanes.account(plan="paid")
    await fan_out.copy_slice(lanes.database, await lanes.key("acme"))
    enqueue = queue.enqueue

    async def dies(connection, rows):
        await enqueue(connection, rows)
        await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    with monkeypatch.context() as patched:
        patched.setattr(queue, "enqueue", dies)
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
            await lanes.fan_out()
    done = await copied(lanes)
    assert (done.count([1]), done.count(None)) == (4, COUNT - 4)
    assert (await lanes.subject("acme"))["behind_since"] is not None
    await lanes.fan_out()
    assert await copied(lanes) == [[1]] * COUNT


async def test_a_member_whom_somebody_has_locked_holds_up_no_other_and_is_waited_for(lanes: Lanes) -> None:
    await many(lanes)
    await lanes.account(plan="paid")
    held = (await lanes.rows(_COPIES))[0]["key"]
    async with lanes.database.transaction() as holding:
        await subjects.lock_subjects(holding, [held])
        fanning = asyncio.create_task(lanes.fan_out())
        await until(lambda: _waiting(lanes))
        assert await copied(lanes) == [None] + [[1]] * (COUNT - 1)
        assert (await lanes.subject("acme"))["behind_since"] is not None
    await fanning
    assert await copied(lanes) == [[1]] * COUNT
    assert (await lanes.subject("acme"))["behind_since"] is None


async def _waiting(lanes: Lanes) -> bool:
    return bool((await lanes.rows(_WAITS))[0]["n"])


async def test_an_account_that_changes_while_it_is_found_to_be_done_is_behind_again(lanes: Lanes) -> None:
    await many(lanes, 1)
    await lanes.account(plan="trial")
    account = await lanes.key("acme")
    await fan_out.copy_slice(lanes.database, account)
    async with lanes.database.transaction() as changing:
        locked = await subjects.lock_subjects(changing, [account])
        ending = asyncio.create_task(fan_out.copy_slice(lanes.database, account))
        await until(lambda: _waiting(lanes))
        subject = locked[account]
        subject.next_seq()
        subject.members_seq = subject.seq
        await subjects.save_subjects(changing, [subject])
    assert await ending == 0
    assert (await lanes.subject("acme"))["behind_since"] is not None


async def test_the_loop_copies_when_it_is_notified_and_gives_every_account_its_turn(lanes: Lanes) -> None:
    """A small account is done before a large one."""
    await many(lanes)
    await many(lanes, 1, account="west")
    stop = asyncio.Event()
    loop = asyncio.create_task(fan_out_accounts(lanes.database, stop, every=3_600))
    await lanes.accept(
        lanes.call("group", account="acme", plan="paid"), lanes.call("group", account="west", plan="paid")
    )
    await until(lambda: _done(lanes))
    stop.set()
    await loop
    assert await copied(lanes) == [[1]] * (COUNT + 1)
    order = await lanes.rows(sql("SELECT recipient FROM outbox WHERE copy_of IS NOT NULL ORDER BY id"))
    assert [row["recipient"] for row in order].index(await lanes.key("west-0")) <= 4


async def _done(lanes: Lanes) -> bool:
    return not await lanes.rows(sql("SELECT 1 FROM subjects WHERE behind_since IS NOT NULL"))
