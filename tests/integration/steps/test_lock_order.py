"""Advisory locks: their numbers and their order."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from journeys.consent.rules import ConsentRules, ConsentRuleSet
from journeys.events.inbound import InboundEvent
from journeys.gate.policy import Policy
from store.consent.suppressions import lock_addresses
from store.database import Database, fetch_all, sql
from store.definitions.registry import DefinitionRegistry
from store.events.ingest import accept
from store.locks import Lock, release_lock, take_lock
from store.reads.definitions import lock_publishing
from tests.support.live_stack import until

_WAITING = sql(
    """
    SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    """
)
ROOT = Path(__file__).resolve().parents[3]


def test_every_lock_has_its_own_number_and_all_numbers_are_in_one_module() -> None:
    assert len({int(lock) for lock in Lock.__members__.values()}) == len(Lock.__members__)
    folders = ("store", "activities", "worker", "api", "cli")
    modules = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    named = [path.name for path in modules if re.search(r"advisory\w*lock\w*\(\s*\d|7_?239_?00\d", path.read_text())]
    assert named == ["locks.py"]


async def test_publishing_does_not_wait_for_a_sweep(database_url: str) -> None:
    database = Database(database_url)
    async with database.reading() as sweeping, database.reading() as other:
        assert await take_lock(sweeping, Lock.SWEEP)
        assert not await take_lock(other, Lock.SWEEP)
        async with database.transaction() as connection:
            await connection.execute("SET LOCAL lock_timeout = '1s'")
            await lock_publishing(connection)
        assert await release_lock(sweeping, Lock.SWEEP)
        assert await take_lock(other, Lock.SWEEP)
        assert await release_lock(other, Lock.SWEEP)
    await database.close()


async def test_the_addresses_of_a_batch_are_locked_in_a_fixed_order(database_url: str) -> None:
    """A batch that waits for the first of two addresses does not hold the second: otherwise two batches could deadlock."""
    database, other = Database(database_url), Database(database_url)
    rules = ConsentRules.model_validate(
        {"suppress": {"message_bounced": {"channel": "email", "reason": "hard_bounce"}}}
    )
    rule_set = ConsentRuleSet(Policy(), rules)
    first, second = sorted(
        ("ada@example.com", "ben@example.com"), key=lambda address: rule_set.addresses.digest("email", address)
    )
    batch = [
        InboundEvent("track", f"b{n}", "message_bounced", user_id="u", data={"address": address})
        for n, address in enumerate((second, first))
    ]
    async with other.transaction() as holding:
        await lock_addresses(holding, rule_set.addresses, [("email", first)])
        taking = asyncio.create_task(accept(database, DefinitionRegistry(consent=rule_set), batch, source="test"))
        await until(lambda: _is_blocked(other))
        async with other.transaction() as connection:
            await connection.execute("SET LOCAL lock_timeout = '1s'")
            await lock_addresses(connection, rule_set.addresses, [("email", second)])
    assert (await taking).accepted == 2
    async with database.reading() as connection:
        assert len(await fetch_all(connection, sql("SELECT 1 FROM suppressions"))) == 2
    await database.close()
    await other.close()


async def _is_blocked(database: Database) -> bool:
    async with database.reading() as connection:
        return bool(await fetch_all(connection, _WAITING))
