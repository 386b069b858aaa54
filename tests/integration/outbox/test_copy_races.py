"""A slice, a member's own event and a timer's step at one time: each row is copied once and in order; without locks it is not."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from journeys.protocol.step_outcome import Applied
from store.database import Database, SqlStatement, sql
from store.outbox import copies, fan_out
from store.people import subjects
from tests.support.live_stack import until
from tests.support.members import READER, Lanes

Work = Callable[[Lanes], Coroutine[Any, Any, None]]
_WAITS = sql(
    "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)
_SEQS = sql("SELECT seq FROM outbox WHERE recipient = :key AND kind <> 'wake' ORDER BY seq")


async def slice_of(lanes: Lanes) -> None:
    await fan_out.copy_slice(lanes.database, await lanes.key("acme"))


async def event_of(lanes: Lanes) -> None:
    await lanes.track("ada", "limit_reached")


async def timer_of(lanes: Lanes) -> None:
    step = await lanes.timer_step("ada", await lanes.decided("ada"), datetime.now(UTC))
    await lanes.apply(step)


WORKS: dict[str, Work] = {"slice": slice_of, "event": event_of, "timer": timer_of}


class Paused:
    """Whoever copies first stops when it has read what is pending, until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reading, self.go = asyncio.Event(), asyncio.Event()
        read = copies.pending_rows

        async def pending(*given: Any, **options: Any) -> Any:
            found = await read(*given, **options)
            if not self.reading.is_set():
                self.reading.set()
                await self.go.wait()
            return found

        for module in ("store.outbox.copies", "store.outbox.fan_out", "store.events.admission"):
            monkeypatch.setattr(f"{module}.pending_rows", pending)


@pytest.fixture
def lanes(database: Database) -> Lanes:
    return Lanes(database)


async def begun(lanes: Lanes) -> None:
    """Ada's run, and two rows of her account that she lacks."""
    await lanes.publish(READER)
    await lanes.joins("ada", plan="trial")
    await lanes.track("ada", "signed_up")
    await lanes.account(plan="paid")
    await lanes.account(plan="free")


async def _waiting(lanes: Lanes) -> bool:
    return bool((await lanes.rows(_WAITS))[0]["n"])


@pytest.mark.parametrize("second", WORKS)
@pytest.mark.parametrize("first", WORKS)
async def test_whoever_is_second_copies_nothing_twice_and_loses_nothing(
    lanes: Lanes, monkeypatch: pytest.MonkeyPatch, first: str, second: str
) -> None:
    await begun(lanes)
    paused = Paused(monkeypatch)
    one = asyncio.create_task(WORKS[first](lanes))
    await paused.reading.wait()
    other = asyncio.create_task(WORKS[second](lanes))
    if second == "slice":  # it leaves out who is locked
        await other
    else:
        await until(lambda: _waiting(lanes))
    paused.go.set()
    await asyncio.gather(one, other)
    await lanes.fan_out()
    assert [row.account for row in await lanes.copies("ada")] == [{"plan": "paid"}, {"plan": "free"}]
    seqs = [row["seq"] for row in await lanes.rows(_SEQS, key=await lanes.key("ada"))]
    assert seqs == list(range(1, len(seqs) + 1))
    own = [row.name for row in await lanes.lane("ada") if row.copy_of is None]
    assert own == ["signed_up"] + ["limit_reached"] * [first, second].count("event")


@pytest.mark.parametrize("second", ["event", "timer"])
async def test_without_the_lock_the_same_rows_would_be_copied_twice(
    lanes: Lanes, monkeypatch: pytest.MonkeyPatch, second: str
) -> None:
    """The control: only the number of a row in its lane stops the second."""
    await begun(lanes)
    for name in ("_LOCK", "_LOCK_BEHIND"):
        monkeypatch.setattr(subjects, name, _without_lock(getattr(subjects, name)))
    paused = Paused(monkeypatch)
    one = asyncio.create_task(slice_of(lanes))
    await paused.reading.wait()
    await WORKS[second](lanes)
    paused.go.set()
    with pytest.raises(asyncpg.UniqueViolationError):
        await one


def _without_lock(statement: SqlStatement) -> SqlStatement:
    unlocked = sql("")
    text = re.sub(r"FOR NO KEY UPDATE( SKIP LOCKED)?", "", statement.text)
    unlocked.__dict__["_compiled"] = (text, statement.names)
    return unlocked


async def test_what_an_account_commits_after_a_timer_has_looked_comes_after_it(
    lanes: Lanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step has decided up to its deadline, so what it could not see has not happened before it."""
    await begun(lanes)
    await lanes.fan_out()
    due, earlier = datetime.now(UTC), datetime.now(UTC) - timedelta(minutes=10)
    step = await lanes.timer_step("ada", await lanes.decided("ada"), due)
    looked, go = asyncio.Event(), asyncio.Event()
    decided_until = subjects.decided_until

    async def stops(*given: Any) -> None:
        looked.set()
        await go.wait()
        await decided_until(*given)

    monkeypatch.setattr(subjects, "decided_until", stops)
    deciding = asyncio.create_task(lanes.apply(step))
    await looked.wait()
    await lanes.accept(lanes.call("track", "contract_ended", account="acme", at=earlier))
    go.set()
    assert await deciding == Applied()
    await lanes.fan_out()
    assert [(row.name, row.at >= due) for row in await lanes.copies("ada")][-1] == ("contract_ended", True)
