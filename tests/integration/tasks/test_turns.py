"""Turns of teams: the replies of a batch lock all of them at once, in a fixed order."""

from __future__ import annotations

import asyncio

import pytest

from journeys.consent.rules import ConsentRuleSet
from journeys.events.inbound import InboundEvent
from journeys.gate.policy import Policy
from journeys.tasks.assignment import Roster
from journeys.tasks.team import Team
from store.database import Database, execute, fetch_all, sql
from store.definitions.registry import DefinitionRegistry
from store.events.ingest import accept
from store.locks import Lock, lock_parts_until_commit
from tests.support.live_stack import until

TEAMS = ("customer-success", "leads")
_SENT = sql(
    """
    WITH person AS (SELECT subject_key AS key FROM identities WHERE value = :user), run AS (
      INSERT INTO runs (id, journey, definition, subject_key, epoch, lane, entered_seq, started_at, status)
      SELECT 'r' || :team, 'j', 'd', key, 1, key, 1, now(), 'open' FROM person)
    INSERT INTO messages (key, run, step, subject_key, recipient, journey, state, visit, action, template, via, priority, at, status,
      decided_at, channel)
    SELECT 'm' || :team, 'r' || :team, 1, key, key, 'j', 's', 1, 'a', :team, '[]', 'lifecycle', now(), 'sent', now(), 'email' FROM person
    """
)
_IN_ORDER = sql("SELECT name FROM unnest(CAST(:teams AS text[])) AS given(name) ORDER BY hashtext(name)")
_WAITING = sql(
    """
    SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    """
)
_OWNERS = sql("SELECT owner FROM tasks ORDER BY id")


@pytest.fixture
def catalogue() -> DefinitionRegistry:
    """The owner of a template is the team that it is named after."""
    people = {f"of-{team}": {"team": team} for team in TEAMS}
    team = Team.model_validate({"people": people, "teams": {team: {"by": "round_robin"} for team in TEAMS}})
    return DefinitionRegistry(consent=ConsentRuleSet(Policy()), roster=Roster(team), owner_of=lambda template: template)


async def in_order_of_locks(database: Database) -> list[str]:
    async with database.reading() as connection:
        return [row["name"] for row in await fetch_all(connection, _IN_ORDER, teams=list(TEAMS))]


async def is_waiting(database: Database) -> bool:
    async with database.reading() as connection:
        return bool(await fetch_all(connection, _WAITING))


async def test_replies_of_a_batch_lock_the_turns_of_all_teams_at_once_in_a_fixed_order(
    database: Database, catalogue: DefinitionRegistry
) -> None:
    """A batch that waits for the first of two teams does not hold the second: otherwise two batches could deadlock."""
    other = Database(database.url)
    first, second = await in_order_of_locks(database)
    await accept(
        database,
        catalogue,
        [InboundEvent("identify", f"i{team}", "identify", user_id=team) for team in TEAMS],
        source="t",
    )
    async with database.transaction() as connection:
        for team in TEAMS:
            await execute(connection, _SENT, user=team, team=team)
    replies = [
        InboundEvent(
            "track", f"r{team}", "message_replied", user_id=team, data={"message": f"m{team}", "text": "Call me"}
        )
        for team in (second, first)
    ]
    async with other.transaction() as holding:
        await lock_parts_until_commit(holding, Lock.ROUTING, [first])
        taking = asyncio.create_task(accept(database, catalogue, replies, source="t"))
        await until(lambda: is_waiting(other))
        async with other.transaction() as connection:
            await connection.execute("SET LOCAL lock_timeout = '1s'")
            await lock_parts_until_commit(connection, Lock.ROUTING, [second])
    assert (await taking).accepted == 2
    async with database.reading() as connection:
        owners = [row["owner"] for row in await fetch_all(connection, _OWNERS)]
    assert owners == [f"of-{second}", f"of-{first}"]
    await other.close()
