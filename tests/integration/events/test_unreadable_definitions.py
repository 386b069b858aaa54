"""A definition that this version cannot read stops nothing but itself (A5)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from activities.channels.in_app import InAppChannel
from activities.delivery import outreach
from activities.dependencies import Dependencies
from activities.steps import apply as steps
from journeys.events.inbound import InboundEvent
from journeys.gate.policy import load_policy
from journeys.protocol import wire
from store.database import Database, execute, fetch_all, sql
from store.definitions.registry import DefinitionRegistry, UnreadableDefinition
from store.events import ingest
from tests.support.provider import templates
from tests.support.steps import first_steps, publish

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


MESSAGES = """
journey: {name}
entry: {{on: signed_up, again: never}}
priority: {priority}
topic: notices
start: here
states:
  here: {{do: [{{send: export/ready, name: it, via: [in_app]}}], on: {{it.sent: done, it.withheld: done}}}}
  done: {{final: done}}
"""
_UNREADABLE_LATER = sql(
    """
    WITH broken AS (UPDATE definitions SET artifact = '{"from": "a newer version"}' WHERE journey = 'urgent')
    UPDATE messages SET sent_at = sent_at - interval '1 day', due_at = clock_timestamp(),
           expires_at = CASE WHEN journey = 'urgent' THEN clock_timestamp() + CAST(:left AS interval) END
    """
)


async def _settled_when_unreadable(database: Database, folder: Path, left: timedelta) -> dict[str, str]:
    """Statuses by journey once the message of the journey `urgent`, which expires in `left`, cannot be read."""
    policy = load_policy({"consent": [{"default": "granted"}], "caps": [{"name": "one", "limit": 1, "window": "PT6H"}]})
    deps = Dependencies(database, DefinitionRegistry(), policy, {"in_app": InAppChannel(templates(folder))})
    for name, priority in (("first", "lifecycle"), ("urgent", "lifecycle"), ("later", "promotional")):
        await publish(database, MESSAGES.format(name=name, priority=priority))
    known = InboundEvent("identify", "i", "identify", user_id="ada", traits={"first_name": "Ada"})
    await ingest.accept(database, deps.catalogue, [known], source="test")
    await _accept(database, deps.catalogue, "e1", "signed_up")
    requests = await first_steps(database, deps.catalogue, "signed_up")
    for name in ("first", "urgent", "later"):
        await steps.apply_step(deps, wire.StepInput(**requests["ada", name]))
    assert await _statuses(database) == {"first": "sent", "urgent": "deferred", "later": "deferred"}
    async with database.transaction() as connection:
        await execute(connection, _UNREADABLE_LATER, left=left)
    (person,) = await _rows(database, "SELECT key FROM subjects")
    foreign = replace(deps, catalogue=DefinitionRegistry())  # of a process that begins now
    await outreach.settle_due(foreign, wire.SettleInput(person["key"], datetime.now(UTC).isoformat()), {})
    return await _statuses(database)


async def _statuses(database: Database) -> dict[str, str]:
    return {row["journey"]: row["status"] for row in await _rows(database, "SELECT journey, status FROM messages")}


async def test_A5_a_message_of_an_unreadable_definition_holds_back_no_other(database: Database, tmp_path: Path) -> None:
    statuses = await _settled_when_unreadable(database, tmp_path, timedelta(days=1))
    assert statuses == {"first": "sent", "urgent": "deferred", "later": "sent"}


async def test_A5_a_message_of_an_unreadable_definition_expires(database: Database, tmp_path: Path) -> None:
    statuses = await _settled_when_unreadable(database, tmp_path, timedelta(0))
    assert statuses["urgent"] == "withheld"
    (message,) = await _rows(database, "SELECT reasons, due_at FROM messages WHERE journey = 'urgent'")
    assert "expired" in str(message["reasons"])
    assert message["due_at"] is None
    (outcome,) = await _rows(database, "SELECT count(*) FROM outbox WHERE name = 'it.withheld'")
    assert outcome["count"] == 1
