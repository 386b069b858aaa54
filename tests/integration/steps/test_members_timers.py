"""A member's timer locks the member, and reads what is new for its run: not what its account or others have kept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from journeys.decision.chart import Chart
from journeys.decision.decide import decide
from journeys.protocol.envelope import occurrence_of
from journeys.protocol.step_outcome import Applied, Behind
from store.database import Database, sql
from store.outbox import copies
from store.people import subjects
from tests.support.members import OTHER, READER, Lanes

_DECIDED = sql("SELECT decided_at FROM subjects WHERE key = :key")
WAITING = """
journey: waiting
entry: {on: signed_up, again: never}
topic: onboarding
start: here
states:
  here:
    on: {contract_ended: there}
    after: {P1D: there}
  there: {}
"""


@pytest.fixture
def lanes(database: Database) -> Lanes:
    return Lanes(database)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows that each statement has returned since the list was cleared."""
    rows: list[int] = []

    def counting(method: Callable[..., Any]) -> Callable[..., Any]:
        async def counted(connection: Any, query: str, *arguments: Any, **options: Any) -> Any:
            found = await method(connection, query, *arguments, **options)
            rows.append(len(found) if isinstance(found, list) else 1)
            return found

        return counted

    for name in ("fetch", "fetchrow", "execute"):
        monkeypatch.setattr(asyncpg.Connection, name, counting(getattr(asyncpg.Connection, name)))
    return rows


async def rings(lanes: Lanes, name: str = "ada", count: int = 1) -> None:
    """So many timers of the run, each applied to the store."""
    for _ in range(count):
        step = await lanes.timer_step(name, await lanes.decided(name), datetime.now(UTC))
        assert await lanes.apply(step) == Applied()


async def begun(lanes: Lanes, *, retained: int) -> None:
    """A run, and an account with so many rows that its members have had."""
    await lanes.publish(READER)
    await lanes.joins("ada", plan="trial")
    await lanes.track("ada", "signed_up")
    await lanes.account(plan="paid")
    await lanes.fan_out()
    await lanes.execute(
        """
        INSERT INTO outbox (recipient, seq, kind, name, event_id, at, data, facts, for_members, delivered_at)
        SELECT recipient, -n, kind, name, 'kept ' || n, at, data, facts, for_members, now()
        FROM outbox, generate_series(1, CAST(:retained AS int)) AS n
        WHERE for_members IS NOT NULL AND seq = 2
        """,
        retained=retained,
    )
    async with lanes.database.reading() as connection:
        await connection.execute("ANALYZE outbox")


async def cost_of_a_timer(lanes: Lanes, read: list[int], retained: int) -> tuple[int, int]:
    """Statements and rows of the second timer of a run."""
    await begun(lanes, retained=retained)
    await rings(lanes)
    step = await lanes.timer_step("ada", await lanes.decided("ada"), datetime.now(UTC))
    read.clear()
    assert await lanes.apply(step) == Applied()
    return len(read), sum(read)


async def test_a_timer_reads_as_much_of_an_account_with_ten_as_with_twenty_thousand_kept_rows(
    databases: Any, read: list[int]
) -> None:
    costs = []
    for retained in (10, 20_000):
        async with databases.migrated() as url:
            database = Database(url)
            try:
                costs.append(await cost_of_a_timer(Lanes(database), read, retained))
            finally:
                await database.close()
    assert costs[0] == costs[1]
    assert costs[1][1] < 20


async def test_what_is_pending_is_found_without_a_look_at_what_is_kept(lanes: Lanes) -> None:
    await begun(lanes, retained=20_000)
    await lanes.account(plan="free")
    plan: list[dict[str, Any]] = []
    async with lanes.database.reading() as connection:
        arguments = copies._PENDING.arguments({"accounts": [await lanes.key("acme")], "copied": [2], "most": None})
        (row,) = await connection.fetch(f"EXPLAIN (ANALYZE, FORMAT JSON) {copies._PENDING.text}", *arguments)
        plan = [json.loads(row["QUERY PLAN"])[0]["Plan"]]
    for node in plan:
        plan += node.get("Plans", [])
    assert {node["Index Name"] for node in plan if "Index Name" in node} == {"outbox_for_members"}
    (scan,) = [node for node in plan if node.get("Relation Name") == "outbox"]
    assert (scan["Actual Rows"], scan.get("Rows Removed by Filter", 0)) == (1, 0)


async def test_what_another_journey_of_the_person_was_told_is_read_once(lanes: Lanes, read: list[int]) -> None:
    await lanes.publish(WAITING, OTHER)
    await lanes.track("ada", "signed_up")
    key = await lanes.key("ada")
    await lanes.execute(
        """
        INSERT INTO outbox (recipient, seq, kind, name, event_id, at, delivered_at)
        SELECT :key, 1 + n, 'signal', 'limit_reached', 'e' || n, now(), now() FROM generate_series(1, 2000) AS n
        """,
        key=key,
    )
    await lanes.execute("UPDATE subjects SET seq = 2001 WHERE key = :key", key=key)
    totals = []
    for _ in range(2):
        step = await lanes.timer_step("ada", await lanes.decided("ada"), datetime.now(UTC))
        read.clear()
        assert await lanes.apply(step) == Applied()
        totals.append(sum(read))
    assert totals[0] > 2_000
    assert totals[1] < 20
    state = await lanes.decided("ada")
    await lanes.track("ada", "contract_ended")
    outcome = await lanes.apply(await lanes.timer_step("ada", state, datetime.now(UTC)))
    assert isinstance(outcome, Behind), "what is for it is found all the same"


async def test_a_timer_waits_for_nobody_who_holds_the_account(lanes: Lanes) -> None:
    await begun(lanes, retained=0)
    await lanes.account(plan="free")
    step = await lanes.timer_step("ada", await lanes.decided("ada"), datetime.now(UTC))
    async with lanes.database.transaction() as holding:
        await subjects.lock_subjects(holding, [await lanes.key("acme")])
        outcome = await asyncio.wait_for(lanes.apply(step), 10)
    assert isinstance(outcome, Behind)
    assert [envelope.facts["account"] for envelope in outcome.occurrences if envelope.facts] == [{"plan": "free"}]
    decided = (await lanes.rows(_DECIDED, key=await lanes.key("acme")))[0]["decided_at"]
    assert decided is None, "nothing of the account is decided"


async def test_fields_of_an_account_whose_row_is_pruned_are_known_to_a_timer(lanes: Lanes) -> None:
    """A change that decides nothing by itself is not signalled; its row is kept for a week."""
    await begun(lanes, retained=0)
    state = await lanes.decided("ada")
    await lanes.account(plan="free", seats=3)
    await lanes.fan_out()
    await lanes.execute("DELETE FROM outbox WHERE copy_of IS NOT NULL OR for_members IS NOT NULL")
    outcome = await lanes.apply(await lanes.timer_step("ada", state, datetime.now(UTC)))
    assert isinstance(outcome, Behind)
    (envelope,) = outcome.occurrences
    assert (envelope.kind, envelope.facts) == ("facts", {"account": {"plan": "free"}})
    after = decide(await chart(lanes), state, occurrence_of(envelope)).state
    assert await lanes.apply(await lanes.timer_step("ada", after, datetime.now(UTC))) == Applied()


async def test_fields_whose_row_is_pruned_are_known_before_a_later_signal(lanes: Lanes) -> None:
    """An overdue deadline before the signal has them, not only the signal itself."""
    await begun(lanes, retained=0)
    state = await lanes.decided("ada")
    await lanes.account(plan="free")
    await lanes.fan_out()
    await lanes.execute("DELETE FROM outbox WHERE copy_of IS NOT NULL OR for_members IS NOT NULL")
    await lanes.track("ada", "contract_ended")
    outcome = await lanes.apply(await lanes.timer_step("ada", state, datetime.now(UTC)))
    assert isinstance(outcome, Behind)
    fields, signal = outcome.occurrences
    assert (fields.kind, signal.kind) == ("facts", "signal")
    assert fields.facts == signal.facts == {"profile": {}, "account": {"plan": "free"}}
    after = decide(await chart(lanes), state, occurrence_of(fields)).state
    assert (after.last_at, after.facts["account.plan"]) == (state.last_at, "free")
    assert await lanes.heard("ada", after.seqs) == [signal]


async def chart(lanes: Lanes) -> Chart:
    async with lanes.database.reading() as connection:
        return await lanes.catalogue.chart(connection, (await lanes.run("ada"))["definition"])
