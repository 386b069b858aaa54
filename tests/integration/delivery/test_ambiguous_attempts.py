"""What may have arrived never comes again under another key: not as a part of a digest, nor as the parts of one (C4, class A and C)."""

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
from tests.integration.gate.test_digest_parts import DROPS, Three, three
from worker.stack.mail_sink import MailFaults

AGAIN = Ambiguity.AT_LEAST_ONCE
LATER = MailFaults(fail_rate=1.0)
"""The relay says 451: it surely has not taken this attempt."""
_DUE = sql(
    """
    UPDATE messages SET due_at = CASE WHEN status = 'deferred' THEN CAST(:at AS timestamptz) END,
      lease_until = CASE WHEN status = 'sending' THEN CAST(:at AS timestamptz) END
    WHERE status IN ('deferred', 'sending') AND journey = ANY(CAST(:journeys AS text[]))
    """
)
_BREATHED = sql("UPDATE messages SET sent_at = sent_at - interval '1 minute' WHERE status = 'sent'")
_PERSON = "SELECT key FROM subjects WHERE kind = 'user'"

__all__ = ["three"]


async def due(three: Three, *journeys: str, ago: timedelta = timedelta(0)) -> None:
    """These wait no longer; a digest is of no journey."""
    async with three.deps.database.transaction() as connection:
        await execute(connection, _BREATHED)
        await execute(connection, _DUE, at=datetime.now(UTC) - ago, journeys=list(journeys or ("a", "b", "c", "")))


async def look(three: Three, deps: Dependencies) -> None:
    """One look at what is owed, with the attempts that follow from it."""
    person = (await three.rows(_PERSON))[0]["key"]
    await outreach.settle_due(deps, wire.SettleInput(person, datetime.now(UTC).isoformat()), {})


async def attempt(three: Three, faults: MailFaults = MailFaults()) -> Sequence[Any]:
    """The next attempt at all that waits, as the relay is now; the ledger."""
    async with three.by(faults, ambiguity=AGAIN) as deps:
        await due(three)
        await look(three, deps)
    return await three.ledger()


async def said(three: Three, statement: str) -> None:
    """Let something be so."""
    async with three.deps.database.transaction() as connection:
        await execute(connection, sql(statement))


async def statuses(three: Three) -> list[str]:
    """Of the two that wait, and of the digests they became."""
    return [each["status"] for each in (await three.ledger())[1:]]


@pytest.fixture
async def doubtful(three: Three) -> Three:
    """Two that came as one, which has arrived, and nobody saw it."""
    await attempt(three, DROPS)
    assert await statuses(three) == ["merged", "merged", "sending"]
    return three


async def test_C4_a_digest_in_doubt_whose_next_try_failed_goes_again_as_it_was(doubtful: Three) -> None:
    *_, whole = await attempt(doubtful, LATER)
    assert (whole["status"], whole["in_doubt"]) == ("deferred", True)
    assert await statuses(doubtful) == ["merged", "merged", "deferred"]
    await attempt(doubtful)
    assert await statuses(doubtful) == ["merged", "merged", "sent"]
    arrived = doubtful.mails.message_ids()
    assert arrived[whole["reference"]] == 2, "the same mail, which a mailbox can tell"
    assert len(arrived) == 2, "and of no part came another"


async def test_C4_a_digest_in_doubt_that_must_wait_waits_as_a_whole(doubtful: Three) -> None:
    async with doubtful.deps.database.transaction() as connection:
        thrown = await kill_switches.engage(connection, "all", "", "a fire", "dana")
    await attempt(doubtful)
    assert await statuses(doubtful) == ["merged", "merged", "deferred"]
    await kill_switches.release_switch(doubtful.deps.database, thrown["id"], "dana")
    *_, whole = await attempt(doubtful)
    assert await statuses(doubtful) == ["merged", "merged", "sent"]
    assert doubtful.mails.message_ids()[whole["reference"]] == len(doubtful.mails.message_ids()) == 2


async def test_C4_a_digest_in_doubt_that_is_too_old_to_be_tried_is_unknown_and_so_is_each_part(doubtful: Three) -> None:
    await attempt(doubtful, LATER)
    await said(doubtful, "UPDATE messages SET first_attempt_at = first_attempt_at - interval '25 hours'")
    _, second, third, whole = await attempt(doubtful)
    assert {each["status"] for each in (second, third, whole)} == {"unknown"}
    assert "too late" in second["detail"]
    assert doubtful.mails.message_ids()[whole["reference"]] == 1


async def test_C4_a_digest_in_doubt_that_may_not_go_again_is_unknown_and_so_is_each_part(doubtful: Three) -> None:
    await doubtful.known("")
    _, second, third, whole = await attempt(doubtful)
    assert {each["status"] for each in (second, third, whole)} == {"unknown"}
    assert second["detail"] == "the person has no address for email"
    assert await doubtful.heard() == [("a", "tip.sent")], "nobody can tell what became of the others"


async def test_H7_a_digest_in_doubt_goes_again_while_one_of_its_parts_is_still_true(doubtful: Three) -> None:
    _, first, _, whole = await attempt(doubtful, LATER)
    await said(doubtful, "UPDATE runs SET state = 'told' WHERE journey = 'b'")
    async with doubtful.deps.database.transaction() as connection:
        left = WithdrawnMessages("inside was left", datetime.now(UTC))
        assert not await withdraw_queued(connection, first["run"], left, left.at)
    await attempt(doubtful)
    assert await statuses(doubtful) == ["merged", "merged", "sent"]
    assert doubtful.mails.message_ids()[whole["reference"]] == 2


async def test_C5_a_digest_in_doubt_does_not_go_again_after_a_no(doubtful: Three) -> None:
    _, _, _, whole = await attempt(doubtful, LATER)
    change = ConsentChange("email", "*", granted=False, source="test")
    deps, person = doubtful.deps, whole["recipient"]
    effect = await change_consents(deps.database, deps.catalogue, deps.policy, person, [change])
    assert effect.withdrawn == 0, "of what may have arrived nothing can be taken back"
    _, second, third, whole = await attempt(doubtful)
    assert {each["status"] for each in (second, third, whole)} == {"unknown"}
    assert "consent_withdrawn" in whole["reasons"]
    assert doubtful.mails.message_ids()[whole["reference"]] == 1


async def test_C6_a_digest_in_doubt_gives_way_to_nobody(three: Three) -> None:
    await said(three, "UPDATE messages SET priority = 'promotional' WHERE journey IN ('b', 'c')")
    await attempt(three, DROPS)
    await said(three, "UPDATE messages SET sent_at = clock_timestamp() WHERE journey = 'a'")
    await said(three, "UPDATE messages SET lease_until = clock_timestamp() WHERE status = 'sending'")
    async with three.by(ambiguity=AGAIN) as deps:
        await look(three, deps)
    *_, whole = await three.ledger()
    assert (whole["status"], "breath" in whole["reasons"]) == ("deferred", True)
    await said(three, "UPDATE messages SET status = 'deferred', sent_at = NULL WHERE journey = 'a'")
    await said(three, "UPDATE messages SET sent_at = sent_at - interval '1 hour' WHERE sent_at IS NOT NULL")
    await attempt(three)
    assert await statuses(three) == ["merged", "merged", "deferred"], "what matters more goes first, and it waits"
    await said(three, "UPDATE messages SET sent_at = sent_at - interval '1 hour' WHERE sent_at IS NOT NULL")
    await attempt(three)
    assert await statuses(three) == ["merged", "merged", "sent"]


async def test_C8_a_digest_in_doubt_says_what_no_other_digest_has_said(doubtful: Three) -> None:
    await said(doubtful, "UPDATE messages SET subject_key = 'a_mine' WHERE journey = ''")
    await said(
        doubtful, "UPDATE messages SET subject_key = 'a_yours', template = 'digest/together' WHERE journey = 'a'"
    )
    await attempt(doubtful)
    assert await statuses(doubtful) == ["merged", "merged", "sent"]


@pytest.mark.parametrize("earlier", ["b", "c"])
async def test_C4_a_message_in_doubt_joins_nobody_and_takes_nobody_along(three: Three, earlier: str) -> None:
    await due(three, "c", ago=timedelta(days=-1))
    await attempt_of(three, "b", DROPS)
    _, second, _ = await attempt_of(three, "b", LATER)
    assert (second["status"], second["in_doubt"]) == ("deferred", True)
    async with three.by(ambiguity=AGAIN) as deps:
        await due(three)
        await due(three, earlier, ago=timedelta(seconds=1))
        await look(three, deps)
        await three.settle(deps)
    assert await statuses(three) == ["sent", "sent"], "and no digest"
    assert three.mails.message_ids()[second["reference"]] == 2
    assert len(three.mails.message_ids()) == 3


async def attempt_of(three: Three, journey: str, faults: MailFaults) -> Sequence[Any]:
    """As `attempt`, of one journey's message."""
    async with three.by(faults, ambiguity=AGAIN) as deps:
        await due(three, journey)
        await look(three, deps)
    return await three.ledger()
