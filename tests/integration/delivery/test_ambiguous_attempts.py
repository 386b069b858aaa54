"""A message in doubt is never sent under another key, neither merged into a digest nor in parts (C4)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from activities.delivery import outreach
from activities.dependencies import Dependencies
from activities.ports import Ambiguity
from journeys.consent.changes import ConsentChange
from journeys.decision.effects import WithdrawnMessages
from journeys.protocol import wire
from store.database import execute, sql
from store.events.changes import change_consents
from store.messages import kill_switches
from store.messages.withdrawals import withdraw_queued
from tests.integration.gate.test_digest_parts import DROPS_CONNECTION, DigestScenario, scenario
from worker.stack.mail_sink import MailFaults

AGAIN = Ambiguity.AT_LEAST_ONCE
LATER = MailFaults(fail_rate=1.0)
"""The relay answers 451: it has certainly not accepted this attempt."""
_DUE = sql(
    """
    UPDATE messages SET due_at = CASE WHEN status = 'deferred' THEN CAST(:at AS timestamptz) END,
      lease_until = CASE WHEN status = 'sending' THEN CAST(:at AS timestamptz) END
    WHERE status IN ('deferred', 'sending') AND journey = ANY(CAST(:journeys AS text[]))
    """
)
_END_COOLDOWN = sql("UPDATE messages SET sent_at = sent_at - interval '1 minute' WHERE status = 'sent'")
_PERSON = "SELECT key FROM subjects WHERE kind = 'user'"

__all__ = ["scenario"]


async def make_due(scenario: DigestScenario, *journeys: str, ago: timedelta = timedelta(0)) -> None:
    """Make the messages of these journeys due; digests belong to the journey ''."""
    async with scenario.deps.database.transaction() as connection:
        await execute(connection, _END_COOLDOWN)
        await execute(connection, _DUE, at=datetime.now(UTC) - ago, journeys=list(journeys or ("a", "b", "c", "")))


async def settle_once(scenario: DigestScenario, deps: Dependencies) -> None:
    """Settle what is due once, with the attempts that follow from it."""
    person = (await scenario.rows(_PERSON))[0]["key"]
    await outreach.settle_due(deps, wire.SettleInput(person, datetime.now(UTC).isoformat()), {})


async def attempt(scenario: DigestScenario, faults: MailFaults = MailFaults()) -> Sequence[Any]:
    """The next attempt of every waiting message at a relay with these faults; the ledger."""
    async with scenario.with_relay(faults, ambiguity=AGAIN) as deps:
        await make_due(scenario)
        await settle_once(scenario, deps)
    return await scenario.ledger()


async def execute_sql(scenario: DigestScenario, statement: str) -> None:
    """Execute a statement that changes the test's data."""
    async with scenario.deps.database.transaction() as connection:
        await execute(connection, sql(statement))


async def statuses(scenario: DigestScenario) -> list[str]:
    """The statuses of the second and third message, then of the digests."""
    return [message["status"] for message in (await scenario.ledger())[1:]]


@pytest.fixture
async def in_doubt(scenario: DigestScenario) -> DigestScenario:
    """A digest of two messages that has arrived, while its answer was lost."""
    await attempt(scenario, DROPS_CONNECTION)
    assert await statuses(scenario) == ["merged", "merged", "sending"]
    return scenario


async def test_C4_a_digest_in_doubt_is_resent_unchanged_after_a_failed_retry(in_doubt: DigestScenario) -> None:
    *_, whole = await attempt(in_doubt, LATER)
    assert (whole["status"], whole["in_doubt"]) == ("deferred", True)
    assert await statuses(in_doubt) == ["merged", "merged", "deferred"]
    await attempt(in_doubt)
    assert await statuses(in_doubt) == ["merged", "merged", "sent"]
    mail_counts = in_doubt.mails.message_ids()
    assert mail_counts[whole["reference"]] == 2, "the same mail, which a mailbox recognises"
    assert len(mail_counts) == 2, "no part was sent by itself"


async def test_C4_a_digest_in_doubt_is_deferred_as_a_whole(in_doubt: DigestScenario) -> None:
    async with in_doubt.deps.database.transaction() as connection:
        thrown = await kill_switches.engage(connection, "all", "", "a fire", "dana")
    await attempt(in_doubt)
    assert await statuses(in_doubt) == ["merged", "merged", "deferred"]
    await kill_switches.release_switch(in_doubt.deps.database, thrown["id"], "dana")
    *_, whole = await attempt(in_doubt)
    assert await statuses(in_doubt) == ["merged", "merged", "sent"]
    assert in_doubt.mails.message_ids()[whole["reference"]] == len(in_doubt.mails.message_ids()) == 2


async def test_C4_a_digest_in_doubt_past_its_retry_window_is_unknown_with_all_its_parts(
    in_doubt: DigestScenario,
) -> None:
    await attempt(in_doubt, LATER)
    await execute_sql(in_doubt, "UPDATE messages SET first_attempt_at = first_attempt_at - interval '25 hours'")
    _, second, third, whole = await attempt(in_doubt)
    assert {message["status"] for message in (second, third, whole)} == {"unknown"}
    assert "too late" in second["detail"]
    assert in_doubt.mails.message_ids()[whole["reference"]] == 1


async def test_C4_a_digest_in_doubt_without_an_address_is_unknown_with_all_its_parts(in_doubt: DigestScenario) -> None:
    await in_doubt.identify("")
    _, second, third, whole = await attempt(in_doubt)
    assert {message["status"] for message in (second, third, whole)} == {"unknown"}
    assert second["detail"] == "the person has no address for email"
    assert await in_doubt.outcomes() == [("a", "tip.sent")], "the result of the others is unknown"


async def test_H7_a_digest_in_doubt_is_resent_while_the_state_of_one_part_still_holds(in_doubt: DigestScenario) -> None:
    _, first, _, whole = await attempt(in_doubt, LATER)
    await execute_sql(in_doubt, "UPDATE runs SET state = 'told' WHERE journey = 'b'")
    async with in_doubt.deps.database.transaction() as connection:
        left = WithdrawnMessages("inside was left", datetime.now(UTC))
        assert not await withdraw_queued(connection, first["run"], left, left.at)
    await attempt(in_doubt)
    assert await statuses(in_doubt) == ["merged", "merged", "sent"]
    assert in_doubt.mails.message_ids()[whole["reference"]] == 2


async def test_C5_a_digest_in_doubt_is_not_resent_after_an_opt_out(in_doubt: DigestScenario) -> None:
    _, _, _, whole = await attempt(in_doubt, LATER)
    change = ConsentChange("email", "*", granted=False, source="test")
    deps, person = in_doubt.deps, whole["recipient"]
    effect = await change_consents(deps.database, deps.catalogue, deps.policy, person, [change])
    assert effect.withdrawn == 0, "a message in doubt cannot be withdrawn"
    _, second, third, whole = await attempt(in_doubt)
    assert {message["status"] for message in (second, third, whole)} == {"unknown"}
    assert "consent_withdrawn" in whole["reasons"]
    assert in_doubt.mails.message_ids()[whole["reference"]] == 1


async def test_C6_a_digest_in_doubt_is_not_replaced(scenario: DigestScenario) -> None:
    await execute_sql(scenario, "UPDATE messages SET priority = 'promotional' WHERE journey IN ('b', 'c')")
    await attempt(scenario, DROPS_CONNECTION)
    await execute_sql(scenario, "UPDATE messages SET sent_at = clock_timestamp() WHERE journey = 'a'")
    await execute_sql(scenario, "UPDATE messages SET lease_until = clock_timestamp() WHERE status = 'sending'")
    async with scenario.with_relay(ambiguity=AGAIN) as deps:
        await settle_once(scenario, deps)
    *_, whole = await scenario.ledger()
    assert (whole["status"], "breath" in whole["reasons"]) == ("deferred", True)
    await execute_sql(scenario, "UPDATE messages SET status = 'deferred', sent_at = NULL WHERE journey = 'a'")
    await execute_sql(scenario, "UPDATE messages SET sent_at = sent_at - interval '1 hour' WHERE sent_at IS NOT NULL")
    await attempt(scenario)
    assert await statuses(scenario) == ["merged", "merged", "deferred"], (
        "the message of higher priority goes first, and the digest waits"
    )
    await execute_sql(scenario, "UPDATE messages SET sent_at = sent_at - interval '1 hour' WHERE sent_at IS NOT NULL")
    await attempt(scenario)
    assert await statuses(scenario) == ["merged", "merged", "sent"]


async def test_C8_a_digest_in_doubt_is_resent_although_another_account_sent_a_digest(in_doubt: DigestScenario) -> None:
    await execute_sql(in_doubt, "UPDATE messages SET subject_key = 'a_mine' WHERE journey = ''")
    await execute_sql(
        in_doubt, "UPDATE messages SET subject_key = 'a_yours', template = 'digest/together' WHERE journey = 'a'"
    )
    await attempt(in_doubt)
    assert await statuses(in_doubt) == ["merged", "merged", "sent"]


@pytest.mark.parametrize("earlier", ["b", "c"])
async def test_C4_a_message_in_doubt_is_not_merged_into_a_digest(scenario: DigestScenario, earlier: str) -> None:
    await make_due(scenario, "c", ago=timedelta(days=-1))
    await attempt_of(scenario, "b", DROPS_CONNECTION)
    _, second, _ = await attempt_of(scenario, "b", LATER)
    assert (second["status"], second["in_doubt"]) == ("deferred", True)
    async with scenario.with_relay(ambiguity=AGAIN) as deps:
        await make_due(scenario)
        await make_due(scenario, earlier, ago=timedelta(seconds=1))
        await settle_once(scenario, deps)
        await scenario.settle(deps)
    assert await statuses(scenario) == ["sent", "sent"], "and no digest"
    assert scenario.mails.message_ids()[second["reference"]] == 2
    assert len(scenario.mails.message_ids()) == 3


async def attempt_of(scenario: DigestScenario, journey: str, faults: MailFaults) -> Sequence[Any]:
    """As `attempt`, for the message of one journey."""
    async with scenario.with_relay(faults, ambiguity=AGAIN) as deps:
        await make_due(scenario, journey)
        await settle_once(scenario, deps)
    return await scenario.ledger()
