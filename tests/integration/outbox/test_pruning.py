"""Old rows of the outbox go in slices, by a loop of their own; what a member still lacks stays."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from store.database import Database, sql
from store.outbox import pruning
from store.outbox.pruning import prune_delivered
from store.retention.periods import RetentionPeriods
from tests.support.live_stack import until
from tests.support.members import READER, Lanes
from worker.loops.retention import Retention

_FILL = """
    INSERT INTO outbox (recipient, seq, kind, event_id, at, delivered_at)
    SELECT 'u_1', n, 'signal', 'e' || n, now(), now() - CAST(:days AS int) * interval '1 day'
    FROM generate_series(CAST(:first AS int), CAST(:last AS int)) AS n
"""
_COUNT = sql(
    "SELECT count(*) AS n, count(*) FILTER (WHERE delivered_at < now() - interval '7 days') AS old FROM outbox"
)


def a_week_ago() -> datetime:
    return datetime.now(UTC) - timedelta(days=7)


@pytest.fixture
def lanes(database: Database, monkeypatch: pytest.MonkeyPatch) -> Lanes:
    monkeypatch.setattr(pruning, "SLICE", 10)
    return Lanes(database)


async def test_a_slice_is_bounded_and_the_oldest_go_first(lanes: Lanes) -> None:
    await lanes.execute(_FILL, days=8, first=1, last=15)
    await lanes.execute(_FILL, days=9, first=16, last=20)
    async with lanes.database.transaction() as connection:
        assert await prune_delivered(connection, a_week_ago()) == (10, True)
    left = await lanes.rows(sql("SELECT max(seq) AS last FROM outbox"))
    assert left[0]["last"] <= 15


async def test_the_loop_goes_on_until_nothing_old_is_left_though_rows_keep_coming(lanes: Lanes) -> None:
    await lanes.execute(_FILL, days=8, first=1, last=95)
    await lanes.execute(_FILL, days=6, first=101, last=110)
    stop = asyncio.Event()
    loop = asyncio.create_task(Retention(lanes.database, RetentionPeriods()).run(stop, every=3_600))
    for n in range(200, 230):
        await lanes.execute(_FILL, days=0, first=n, last=n)
    await until(lambda: _none_old(lanes))
    stop.set()
    await loop
    assert (await lanes.rows(_COUNT))[0]["n"] == 40


async def _none_old(lanes: Lanes) -> bool:
    return not (await lanes.rows(_COUNT))[0]["old"]


async def test_two_processes_prune_side_by_side(lanes: Lanes) -> None:
    await lanes.execute(_FILL, days=8, first=1, last=30)
    async with lanes.database.transaction() as one, lanes.database.transaction() as other:
        assert (await prune_delivered(one, a_week_ago())).deleted == 10
        assert (await prune_delivered(other, a_week_ago())).deleted == 10


async def test_a_row_that_a_member_lacks_is_kept(lanes: Lanes) -> None:
    await lanes.publish(READER)
    await lanes.joins("ada", plan="trial")
    await lanes.track("ada", "signed_up")
    await lanes.account(plan="paid")
    await lanes.execute("UPDATE outbox SET delivered_at = now() - interval '8 days' WHERE for_members IS NOT NULL")
    async with lanes.database.transaction() as connection:
        assert (await prune_delivered(connection, a_week_ago())).deleted == 1, "the one that she began with"
    await lanes.fan_out()
    assert [row.account for row in await lanes.copies("ada")] == [{"plan": "paid"}]
    async with lanes.database.transaction() as connection:
        assert (await prune_delivered(connection, a_week_ago())).deleted == 1
