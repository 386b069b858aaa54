"""The constraints of the database for tasks and conversations."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from store.database import plain_url

CONVERSATION = """
    INSERT INTO conversations (run, recipient, message_id, journey, template, channel, owner, opened_at, last_at, until)
    VALUES ('r', 'u', 1, 'j', 't', 'email', 'dana', now(), now(), now())
"""
TASK = """
    INSERT INTO tasks (key, run, subject_key, journey, action, task, owner, opened_at, scope_key, reason)
    VALUES ($1, 'r', 'u', 'j', 'call', 'call', 'dana', now(), 'a_1', 'churn')
"""


@pytest_asyncio.fixture
async def db(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(plain_url(database_url))
    yield connection
    await connection.close()


async def test_a_run_and_person_have_at_most_one_open_conversation(db: asyncpg.Connection) -> None:
    await db.execute(CONVERSATION)
    with pytest.raises(asyncpg.UniqueViolationError):
        await db.execute(CONVERSATION)
    await db.execute("UPDATE conversations SET closed_at = now()")
    await db.execute(CONVERSATION)
    assert await db.fetchval("SELECT count(*) FROM conversations") == 2


async def test_an_account_and_reason_have_at_most_one_open_task(db: asyncpg.Connection) -> None:
    await db.execute(TASK, "first")
    with pytest.raises(asyncpg.UniqueViolationError):
        await db.execute(TASK, "second")
    await db.execute("UPDATE tasks SET status = 'closed'")
    await db.execute(TASK, "second")


async def test_a_task_with_requests_cannot_be_deleted(db: asyncpg.Connection) -> None:
    await db.execute(TASK, "first")
    await db.execute(
        "INSERT INTO task_asks (key, task_id, run, action, asked_at) SELECT key, id, run, action, now() FROM tasks"
    )
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await db.execute("DELETE FROM tasks")
