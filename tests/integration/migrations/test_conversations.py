"""Conversations come and go with their revision: what the gate reads is whole before, after, and after the way back."""

from __future__ import annotations

import asyncpg

from tests.integration.migrations.test_tasks import connected, revise

READ = "SELECT * FROM gate_reads('u_1', NULL, now(), ARRAY['d'], now())"


async def columns(url: str) -> list[str]:
    db = await connected(url)
    await db.execute("INSERT INTO subjects (key, kind) VALUES ('u_1', 'user') ON CONFLICT DO NOTHING")
    (found,) = await db.fetch(READ)
    await db.close()
    return list(found.keys())


async def test_the_gates_function_is_whole_before_after_and_after_the_way_back(empty_database_url: str) -> None:
    await revise(empty_database_url, "0011")
    before = await columns(empty_database_url)
    await revise(empty_database_url, "0012")
    assert await columns(empty_database_url) == [*before, "talks"]
    await revise(empty_database_url, "0011", back=True)
    assert await columns(empty_database_url) == before
    db = await connected(empty_database_url)
    assert await db.fetchval("SELECT to_regclass('conversations')") is None
    await db.close()
    await revise(empty_database_url, "0012")
    assert await columns(empty_database_url) == [*before, "talks"]


async def test_of_one_run_and_person_one_conversation_is_open(empty_database_url: str) -> None:
    await revise(empty_database_url, "0012")
    db = await connected(empty_database_url)
    put = """INSERT INTO conversations (run, recipient, message_id, journey, template, channel, owner, opened_at, last_at, until)
             VALUES ('r', 'u', 1, 'j', 't', 'email', 'dana', now(), now(), now())"""
    await db.execute(put)
    try:
        await db.execute(put)
    except asyncpg.UniqueViolationError:
        await db.execute("UPDATE conversations SET closed_at = now()")
        await db.execute(put)
        assert await db.fetchval("SELECT count(*) FROM conversations") == 2
    else:
        raise AssertionError("two are open at once")
    finally:
        await db.close()
