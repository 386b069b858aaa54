"""A definition that this version cannot read stops nothing but itself (A5)."""

from __future__ import annotations

from typing import Any

import pytest

from journeys.events.inbound import InboundEvent
from store.database import Database, execute, fetch_all, sql
from store.definitions.registry import DefinitionRegistry, UnreadableDefinition
from store.events import ingest
from tests.support.steps import publish

READABLE = """
journey: readable
entry: {on: signed_up, again: never}
topic: onboarding
start: here
states:
  here: {on: {left: done}}
  done: {final: done}
"""
FOREIGN = READABLE.replace("readable", "foreign")
_BREAK = sql("UPDATE definitions SET artifact = '{\"from\": \"a newer version\"}' WHERE journey = 'foreign'")


async def _accept(database: Database, catalogue: DefinitionRegistry, identity: str, name: str, **data: Any) -> None:
    event = InboundEvent("track", identity, name, user_id="ada", data=data)
    await ingest.accept(database, catalogue, [event], source="test")


async def _rows(database: Database, statement: str) -> list[dict[str, Any]]:
    async with database.reading() as connection:
        return [dict(row) for row in await fetch_all(connection, sql(statement))]


async def test_A5_events_are_accepted_and_other_journeys_go_on(database: Database) -> None:
    for journey in (READABLE, FOREIGN):
        await publish(database, journey)
    await _accept(database, DefinitionRegistry(), "e1", "signed_up")
    async with database.transaction() as connection:
        await execute(connection, _BREAK)
    catalogue = DefinitionRegistry()  # of a process that begins now
    await _accept(database, catalogue, "e2", "left")
    assert [run["journey"] for run in await _rows(database, "SELECT journey FROM runs ORDER BY journey")] == [
        "foreign",
        "readable",
    ]
    assert len(catalogue.unreadable) == 1
    (waiting,) = await _rows(database, "SELECT count(*) FROM outbox WHERE name = 'left'")
    assert waiting["count"] == 1


async def test_A5_a_signal_that_only_an_unreadable_run_may_read_waits_for_it_with_all_its_data(
    database: Database,
) -> None:
    await publish(database, FOREIGN)
    await _accept(database, DefinitionRegistry(), "e1", "signed_up")
    async with database.transaction() as connection:
        await execute(connection, _BREAK)
    await _accept(database, DefinitionRegistry(), "e2", "anything", depth=7)
    (row,) = await _rows(database, "SELECT data->>'depth' AS depth FROM outbox WHERE name = 'anything'")
    assert row["depth"] == "7"


async def test_A5_an_unreadable_definition_is_read_once(database: Database) -> None:
    await publish(database, FOREIGN)
    async with database.transaction() as connection:
        await execute(connection, _BREAK)
    catalogue = DefinitionRegistry()
    (definition,) = await _rows(database, "SELECT hash FROM definitions")
    async with database.reading() as connection:
        assert await catalogue.readable(connection, definition["hash"]) is None
        await execute(connection, sql("UPDATE definitions SET artifact = 'not read again'"))
        with pytest.raises(UnreadableDefinition, match="KeyError"):
            await catalogue.chart(connection, definition["hash"])
        with pytest.raises(UnreadableDefinition, match="JSONDecodeError"):
            await DefinitionRegistry().chart(connection, definition["hash"])
