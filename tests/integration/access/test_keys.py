"""API keys: only their digests are stored, a rotated one overlaps, and a revoked one is found no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest
import pytest_asyncio

from journeys.access.callers import CallerKind, Scope
from store.access import keys
from store.database import Connection, Database
from tests.support.live_stack import until

READ = frozenset({Scope.READ})
_WAITING = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest_asyncio.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    database = Database(database_url)
    async with database.reading() as made:
        yield made
    await database.close()


async def made(connection: Connection, name: str, kind: CallerKind = CallerKind.SECRET, scopes=frozenset()):
    return await keys.make_key(connection, name=name, kind=kind, scopes=scopes, source=name, by="dana")


async def found(connection: Connection, secret: str):
    return (await keys.keys_in_force(connection)).get(keys.key_digest(secret))


async def test_a_key_is_shown_once_and_stored_as_a_digest(connection) -> None:
    for kind, prefix in keys.PREFIXES.items():
        scopes = READ if kind is CallerKind.OPERATOR else frozenset()
        issued = await made(connection, f"of-{kind}", kind, scopes)
        assert issued.secret.startswith(prefix)
        assert len(issued.secret) == len(prefix) + 40
        key = await found(connection, issued.secret)
        assert (key.id, key.name, key.kind, key.scopes) == (issued.row["id"], f"of-{kind}", kind, scopes)
        dump = await connection.fetch("SELECT CAST(k AS text) FROM api_keys k")
        assert not any(issued.secret[len(prefix) :] in str(row) for row in dump)
    assert len(await keys.list_keys(connection, None, 10)) == 3


async def test_names_in_force_are_unique_and_free_again_after_a_revocation(connection) -> None:
    first = await made(connection, "server")
    with pytest.raises(keys.NameTaken):
        await made(connection, "server")
    await keys.revoke_key(connection, first.row["id"], by="erin")
    second = await made(connection, "server")
    assert second.row["id"] != first.row["id"]


async def test_a_rotated_key_and_its_old_secret_are_valid_until_the_overlap_ends(connection) -> None:
    first = await made(connection, "server")
    second = await keys.rotate_key(connection, first.row["id"], overlap=timedelta(hours=1), by="erin")
    old, new = await found(connection, first.secret), await found(connection, second.secret)
    assert old == new
    assert (new.id, new.source, new.generations) == (first.row["id"], "server", (2, 1))
    await connection.execute("UPDATE api_keys SET previous_until = now() - interval '1 second'")
    assert await found(connection, first.secret) is None
    assert (await found(connection, second.secret)).generations == (2,)
    third = await keys.rotate_key(connection, first.row["id"], overlap=timedelta(0), by="erin")
    assert await found(connection, second.secret) is None
    assert (third.row["generation"], third.row["rotated_by"]) == (3, "erin")


async def test_a_revoked_key_is_valid_no_more_with_its_old_secret_and_is_not_rotated(connection) -> None:
    first = await made(connection, "server")
    second = await keys.rotate_key(connection, first.row["id"], overlap=timedelta(hours=1), by="erin")
    for by in ("erin", "dana"):
        row = await keys.revoke_key(connection, first.row["id"], by=by)
        assert row is not None
        assert row["revoked_by"] == "erin"
    assert [await found(connection, issued.secret) for issued in (first, second)] == [None, None]
    assert await keys.rotate_key(connection, first.row["id"], overlap=timedelta(0), by="dana") is None
    assert await keys.revoke_key(connection, "k_none", by="dana") is None


async def test_only_an_operators_key_has_scopes_and_it_has_some(connection) -> None:
    for kind, scopes in ((CallerKind.SECRET, READ), (CallerKind.OPERATOR, frozenset())):
        with pytest.raises(asyncpg.CheckViolationError):
            await made(connection, "odd", kind, scopes)


async def test_the_number_of_keys_is_bounded(connection, monkeypatch) -> None:
    monkeypatch.setattr(keys, "MOST_KEYS", 1)
    first = await made(connection, "one")
    with pytest.raises(keys.TooManyKeys):
        await made(connection, "two")
    await keys.revoke_key(connection, first.row["id"], by="dana")
    await made(connection, "two")


async def test_pages_of_keys_neither_skip_nor_repeat(connection) -> None:
    for n in range(5):
        await made(connection, f"key-{n}")
    names, after = [], None
    while page := await keys.list_keys(connection, after, 2):
        names += [row["name"] for row in page]
        after = page[-1]["made_at"], page[-1]["id"]
    assert names == [f"key-{n}" for n in (4, 3, 2, 1, 0)]


async def test_two_keys_made_at_once_do_not_share_a_source_across_kinds(database: Database) -> None:
    async def make(kind: CallerKind, name: str) -> None:
        async with database.transaction() as connection:
            await keys.make_key(connection, name=name, kind=kind, scopes=frozenset(), source="shop", by="dana")

    async with database.transaction() as first:
        await keys.make_key(first, name="website", kind=CallerKind.PUBLIC, scopes=frozenset(), source="shop", by="dana")
        second = asyncio.create_task(make(CallerKind.SECRET, "server"))
        await until(lambda: _is_done_or_waits(database, second))
    with pytest.raises(keys.SourceTaken):
        await second


async def _is_done_or_waits(database: Database, task: asyncio.Task[None]) -> bool:
    async with database.reading() as connection:
        return task.done() or bool(await connection.fetch(_WAITING))
