"""Constraints, indexes and the gate's read use the statuses of `journeys/gate/status.py`."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import asyncpg
import pytest_asyncio

from journeys.gate.status import COUNTED, UNSETTLED, Status, counts
from store.database import plain_url


@pytest_asyncio.fixture
async def db(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(plain_url(database_url))
    yield connection
    await connection.close()


def statuses_in(sql: str) -> set[str]:
    """The statuses that a text of SQL names."""
    return set(re.findall(r"'([a-z]+)'", sql)) & set(Status)


async def test_the_check_constraint_has_exactly_the_statuses(db):
    check = await db.fetchval(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'messages_status_check'"
    )
    assert set(re.findall(r"'([a-z]+)'", check)) == set(Status)


async def test_the_gates_read_counts_the_statuses_that_count_for_caps(db):
    function = await db.fetchval("SELECT pg_get_functiondef('gate_reads'::regproc)")
    (condition,) = re.findall(r"AND \((m\.status IN .*?)\)\)", function, re.DOTALL)
    counted, _, waiting = condition.partition(" OR ")
    assert statuses_in(counted) == COUNTED
    assert waiting.strip("( ") == "m.status = 'deferred' AND m.in_doubt"
    assert {status for status in Status if counts(status, in_doubt=True)} == COUNTED | {Status.DEFERRED}


async def test_the_partial_indexes_cover_the_same_statuses(db):
    async def predicate(index: str) -> str:
        return str(await db.fetchval("SELECT indexdef FROM pg_indexes WHERE indexname = $1", index))

    assert statuses_in(await predicate("messages_counted")) == COUNTED | {Status.DEFERRED}
    assert statuses_in(await predicate("messages_due")) == UNSETTLED
