"""Advisory locks: their numbers and their order."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from pathlib import Path

from activities.steps.apply import apply_step
from journeys.consent.rules import ConsentRules, ConsentRuleSet
from journeys.events.inbound import InboundEvent
from journeys.gate.policy import Policy
from journeys.protocol import wire
from store.clocks.control import create_clock
from store.consent.sms_keywords import inbound_text
from store.consent.suppressions import lock_addresses
from store.database import Database, SqlStatement, execute, fetch_all, sql
from store.definitions.registry import DefinitionRegistry
from store.events.ingest import accept
from store.locks import Lock, lock_until_commit, release_lock, take_lock
from store.people.subjects import lock_subjects
from store.reads.definitions import lock_publishing
from tests.support.live_stack import until
from tests.support.provider import PHONE
from tests.support.sending import Sending
from tests.support.steps import first_steps, publish

_WAITING = sql(
    """
    SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    """
)
_WAITING_FOR_ANY = sql("SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
_ADA = sql("SELECT subject_key AS key FROM identities WHERE value = 'ada'")
OF_ACCOUNT = """
journey: of-account
subject: account
entry: {on: contract_started, again: never}
priority: transactional
start: here
states:
  here: {do: [{send: export/ready, name: it, via: [sms], for: [admin]}]}
"""
_SENT = sql(
    """
    WITH person AS (SELECT subject_key AS key FROM identities WHERE value = 'ada'), run AS (
      INSERT INTO runs (id, journey, definition, subject_key, epoch, lane, entered_seq, started_at, status)
      SELECT 'r', 'j', 'd', key, 1, key, 1, now(), 'closed' FROM person)
    INSERT INTO messages (key, run, step, subject_key, recipient, journey, state, visit, action, template, via, priority, at, status,
      decided_at, channel)
    SELECT 'm', 'r', 1, key, key, 'j', 's', 1, 'a', 't', '[]', 'lifecycle', now(), 'sent', now(), 'email' FROM person
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
    rule_set = _bounces()
    first, second = _in_order_of_locks(rule_set, "ada@example.com", "ben@example.com")
    batch = [
        InboundEvent("track", f"b{n}", "message_bounced", user_id="u", data={"address": address})
        for n, address in enumerate((second, first))
    ]
    async with other.transaction() as holding:
        await lock_addresses(holding, rule_set.addresses, [("email", first)])
        taking = asyncio.create_task(accept(database, DefinitionRegistry(consent=rule_set), batch, source="test"))
        await until(lambda: _is_blocked(other))
        await _lock_at_once(other, rule_set, ("email", second))
    assert (await taking).accepted == 2
    async with database.reading() as connection:
        assert len(await fetch_all(connection, sql("SELECT 1 FROM suppressions"))) == 2
    await database.close()
    await other.close()


async def test_a_batch_locks_the_mailboxes_of_statements_together_with_those_that_bounced(database: Database) -> None:
    """Otherwise a batch with an opt-out at the one and a bounce of the other, and one the other way round, could deadlock."""
    other, rule_set = Database(database.url), _bounces()
    first, second = _in_order_of_locks(rule_set, "ada@example.com", "ben@example.com")
    catalogue = DefinitionRegistry(consent=rule_set)
    known = InboundEvent("identify", "i", "identify", user_id="ada", traits={"email": second})
    await accept(database, catalogue, [known], source="test")
    async with database.transaction() as connection:
        await execute(connection, _SENT)
    batch = [
        InboundEvent("track", "r", "message_replied", user_id="ada", data={"message": "m", "text": "STOP"}),
        InboundEvent("track", "b", "message_bounced", user_id="ben", data={"address": first}),
    ]
    async with other.transaction() as holding:
        await lock_addresses(holding, rule_set.addresses, [("email", first)])
        taking = asyncio.create_task(accept(database, catalogue, batch, source="test"))
        await until(lambda: _is_blocked(other))
        await _lock_at_once(other, rule_set, ("email", second))
    assert (await taking).accepted == 2
    async with database.reading() as connection:
        assert len(await fetch_all(connection, sql("SELECT 1 FROM suppressions"))) == 1
        assert len(await fetch_all(connection, sql("SELECT 1 FROM address_consents"))) == 1
    await other.close()


async def test_a_batch_locks_who_opts_out_in_an_event_across_clocks_before_any_address(database: Database) -> None:
    """Otherwise it could deadlock with a batch that waits for the address and has locked that person."""
    other, rule_set = Database(database.url), _bounces()
    catalogue = DefinitionRegistry(consent=rule_set)
    async with database.transaction() as connection:
        await create_clock(connection, "demo", datetime(2026, 1, 1, tzinfo=UTC))
    known = InboundEvent("identify", "v", "identify", anonymous_id="visitor")
    await accept(database, catalogue, [known], source="test", clock="demo")
    await accept(database, catalogue, [InboundEvent("identify", "a", "identify", user_id="ada")], source="test")
    refusal = {"consents": {"email": {"*": False}}}
    batch = [
        InboundEvent("track", "b", "message_bounced", user_id="ben", data={"address": "ben@example.com"}),
        InboundEvent("identify", "both", "identify", user_id="ada", anonymous_id="visitor", traits=refusal),
    ]
    async with other.transaction() as holding:
        await lock_subjects(holding, [row["key"] for row in await fetch_all(holding, _ADA)])
        taking = asyncio.create_task(accept(database, catalogue, batch, source="test"))
        await until(lambda: _is_blocked(other, _WAITING_FOR_ANY))
        await _lock_at_once(other, rule_set, ("email", "ben@example.com"))
    taken = await taking
    assert (taken.accepted, taken.quarantined) == (1, 1)
    async with database.reading() as connection:
        opt_outs = await fetch_all(connection, sql("SELECT granted FROM consents"))
    assert [row["granted"] for row in opt_outs] == [False]
    await other.close()


async def test_a_stop_word_locks_its_number_together_with_the_mailboxes_of_those_who_have_it(
    database: Database,
) -> None:
    other, rule_set = Database(database.url), ConsentRuleSet(Policy(shared_mailboxes=(PHONE,)))
    catalogue = DefinitionRegistry(consent=rule_set)
    mail = next(
        mail
        for mail in (f"ada{n}@example.com" for n in range(99))
        if rule_set.addresses.digest("email", mail) > rule_set.addresses.digest("sms", PHONE)
    )
    known = InboundEvent("identify", "i", "identify", user_id="ada", traits={"email": mail, "phone": PHONE})
    await accept(database, catalogue, [known], source="test")
    async with other.transaction() as holding:
        await lock_addresses(holding, rule_set.addresses, [("sms", PHONE)])
        stopping = asyncio.create_task(inbound_text(database, catalogue, PHONE, "STOP"))
        await until(lambda: _is_blocked(other))
        await _lock_at_once(other, rule_set, ("email", mail))
    assert len((await stopping).effects) == 1
    await other.close()


async def test_a_step_with_several_recipients_waits_for_kill_switches_before_it_locks_a_mailbox(
    sending: Sending,
) -> None:
    """Otherwise it, who engages a switch, and a gate that shares the lock of switches could deadlock."""
    deps, database, other = sending.dependencies(sending.sms()), sending.database, Database(sending.database.url)
    await publish(database, OF_ACCOUNT)
    phones = [f"{PHONE[:-1]}{number}" for number in range(2)]
    for number, phone in enumerate(phones):
        traits = {"role": "admin", "first_name": "Ada", "phone": phone}
        events = [
            InboundEvent("identify", f"i{number}", "identify", user_id=f"u{number}", traits=traits),
            InboundEvent("group", f"g{number}", "group", user_id=f"u{number}", account_id="acme"),
        ]
        await accept(database, deps.catalogue, events, source="test")
    started = InboundEvent("track", "c", "contract_started", account_id="acme")
    await accept(database, deps.catalogue, [started], source="test")
    step = (await first_steps(database, deps.catalogue, "contract_started"))["acme", "of-account"]
    async with other.transaction() as holding:
        await lock_until_commit(holding, Lock.STOPS)
        applying = asyncio.create_task(apply_step(deps, wire.StepInput(**step)))
        await until(lambda: _is_blocked(other))
        await _lock_at_once(other, deps.catalogue.consent, *(("sms", phone) for phone in phones))
    await applying
    assert [message["status"] for message in await sending.ledger()] == ["sent", "sent"]
    await other.close()


def _bounces() -> ConsentRuleSet:
    suppressed = {"suppress": {"message_bounced": {"channel": "email", "reason": "hard_bounce"}}}
    return ConsentRuleSet(Policy(), ConsentRules.model_validate(suppressed))


def _in_order_of_locks(rule_set: ConsentRuleSet, *addresses: str) -> list[str]:
    return sorted(addresses, key=lambda address: rule_set.addresses.digest("email", address))


async def _lock_at_once(database: Database, rule_set: ConsentRuleSet, *addresses: tuple[str, str]) -> None:
    """Lock addresses in a transaction of its own. Raises LockNotAvailableError if somebody else holds one."""
    async with database.transaction() as connection:
        await connection.execute("SET LOCAL lock_timeout = '1s'")
        await lock_addresses(connection, rule_set.addresses, addresses)


async def _is_blocked(database: Database, waiting: SqlStatement = _WAITING) -> bool:
    async with database.reading() as connection:
        return bool(await fetch_all(connection, waiting))
