"""Mailboxes at the live gate: caps, cooldowns and opt-outs hold for everybody at one address (C2, C5)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from activities.gate.evaluation import GatePass
from activities.steps.apply import apply_step
from journeys.consent.changes import ConsentChange
from journeys.consent.precedence import StatedBy
from journeys.events.inbound import InboundEvent
from journeys.gate.policy import Policy, load_policy
from journeys.gate.status import Status
from journeys.protocol import wire
from store.database import execute, fetch_all, sql
from store.events.changes import change_consents
from store.events.ingest import accept
from store.messages.entries import LedgerEntry
from store.people import subjects
from tests.support.gate_arena import Arena, add_people, new_message, open_arena
from tests.support.provider import PHONE
from tests.support.sending import Sending
from tests.support.steps import first_steps, publish, settle

ADDRESS = "office@people.example"
CAP = {"caps": [{"name": "mails", "channel": "email", "limit": 1, "window": "P7D"}]}
COOLDOWN = {"cooldowns": [{"name": "apart", "channel": "email", "between": "P1D"}]}
SHARED = {"shared_mailboxes": ["OFFICE@people.example "]}
_MOVE_IN = sql("UPDATE subjects SET profile = jsonb_build_object('email', CAST(:email AS text)) WHERE key = :person")
_SET_STATUS = sql("UPDATE messages SET status = :status, in_doubt = :doubted WHERE recipient = :person")
_FREE_THE_CAP = sql(
    """
    UPDATE messages SET status = CASE status WHEN 'sending' THEN 'failed' ELSE status END,
      due_at = CASE status WHEN 'deferred' THEN now() ELSE due_at END
    """
)
_QUEUED = sql("SELECT status, reasons, attempts FROM messages WHERE subject_key = 'u_1'")
_HASHES = sql("SELECT channel, address_hash IS NOT NULL AS counted FROM messages ORDER BY id")
OF_ACCOUNT = """
journey: of-account
subject: account
entry: {on: contract_started, again: never}
priority: lifecycle
start: here
states:
  here: {do: [{send: export/ready, name: it, via: [sms], for: [admin]}]}
"""


@asynccontextmanager
async def two_at_one_mailbox(
    database_url: str, rules: dict[str, Any] | None = None, other: str = " Office@People.Example"
) -> AsyncIterator[Arena]:
    """Two people, `u_1` and `u_2`, the second with the address `other`; each has a run that sends mail."""
    async with open_arena(database_url, load_policy(rules or {})) as arena:
        await add_people(arena, 1, 2)
        async with arena.database.transaction() as connection:
            for person, email in (("u_1", ADDRESS), ("u_2", other)):
                await execute(connection, _MOVE_IN, person=person, email=email)
        yield arena


async def send(arena: Arena, person: str, number: int = 1, **fields: Any) -> LedgerEntry:
    """The message that the person's run requests, as the gate has decided it."""
    async with arena.database.transaction() as connection:
        subject = (await subjects.lock_subjects(connection, [person]))[person]
        gate_pass = GatePass(arena.deps, connection, subject, None, datetime.now(UTC))
        entry = new_message(arena, person, number)
        for name, value in fields.items():
            setattr(entry, name, value)
        await gate_pass.add(entry)
        await gate_pass.decide()
    return entry


async def opt_out(arena: Arena, person: str, by: StatedBy = StatedBy.PERSON, *, granted: bool | None = False) -> None:
    change = ConsentChange("email", "*", granted, "test", by=by)
    await change_consents(arena.database, arena.deps.catalogue, arena.deps.policy, person, [change])


@pytest.mark.parametrize(
    ("rules", "code"),
    [(CAP, "cap_reached"), (COOLDOWN, "cooldown"), (CAP | SHARED, None), (COOLDOWN | SHARED, None)],
    ids=["cap", "cooldown", "cap at a shared mailbox", "cooldown at a shared mailbox"],
)
async def test_C2_a_message_in_flight_to_a_mailbox_counts_for_everybody_who_has_it(database_url, rules, code):
    async with two_at_one_mailbox(database_url, rules) as arena:
        assert (await send(arena, "u_1")).status is Status.SENDING
        second = await send(arena, "u_2")
    assert [reason.code for reason in second.reasons] == ([code] if code else [])
    assert second.status is (Status.DEFERRED if code else Status.SENDING)


async def test_C2_messages_to_another_mailbox_do_not_count(database_url):
    async with two_at_one_mailbox(database_url, CAP, other="ben@people.example") as arena:
        assert [(await send(arena, person)).status for person in ("u_1", "u_2")] == [Status.SENDING] * 2


@pytest.mark.parametrize(
    ("status", "doubted", "counts"),
    [
        ("sent", False, True), ("unknown", False, True), ("deferred", True, True), ("deferred", False, False),
        ("failed", False, False), ("withheld", False, False),
    ],
)  # fmt: skip
async def test_C2_what_has_arrived_or_may_have_arrived_counts_at_the_mailbox(database_url, status, doubted, counts):
    async with two_at_one_mailbox(database_url, CAP) as arena:
        await send(arena, "u_1")
        async with arena.database.transaction() as connection:
            await execute(connection, _SET_STATUS, person="u_1", status=status, doubted=doubted)
        assert (await send(arena, "u_2")).status is (Status.DEFERRED if counts else Status.SENDING)


@pytest.mark.parametrize("by", sorted(StatedBy))
async def test_C5_what_a_person_says_themselves_holds_for_everybody_at_their_mailbox(database_url, by):
    async with two_at_one_mailbox(database_url) as arena:
        await opt_out(arena, "u_1", by)
        second = await send(arena, "u_2")
        assert second.status is (Status.SENDING if by is StatedBy.COMPANY else Status.WITHHELD)
        await opt_out(arena, "u_2", StatedBy.PERSON, granted=None)
        assert (await send(arena, "u_2", 2)).status is Status.SENDING, "whoever has the address can lift it"
        assert (await send(arena, "u_1", 2)).status is Status.WITHHELD, "it stays in force for who has said it"


@pytest.mark.parametrize(
    ("says", "other", "ends"),
    [
        ("u_2", "ben@people.example", "withdrawn"),
        ("u_1", ADDRESS, "withheld"),
        ("u_1", "ben@people.example", "deferred"),
    ],
    ids=["the recipient", "somebody at the recipients mailbox", "whom it is about, at another mailbox"],
)
async def test_C5_a_queued_message_about_somebody_else_obeys_its_recipient_when_it_is_due(
    database_url, says, other, ends
):
    """Its recipient's opt-out withdraws it at once, one at their mailbox withholds it; that of whom it is about does neither."""
    async with two_at_one_mailbox(database_url, CAP, other=other) as arena:
        assert (await send(arena, "u_2", 1)).status is Status.SENDING
        queued = await send(arena, "u_2", 2, subject_key="u_1", run="r_1")
        assert queued.status is Status.DEFERRED
        await opt_out(arena, says)
        async with arena.database.transaction() as connection:
            await execute(connection, _FREE_THE_CAP)
        await settle(arena.deps, "u_2", enough=lambda _: True)
        async with arena.database.reading() as connection:
            (message,) = await fetch_all(connection, _QUEUED)
    assert message["status"] == ends, message["reasons"]
    assert ("consent" in str(message["reasons"])) == (ends != "deferred")
    if ends == "deferred":
        assert message["attempts"], "it was tried, at a relay that does not answer"


async def test_C5_an_opt_out_at_a_mailbox_shared_on_purpose_is_the_persons_alone(database_url):
    async with two_at_one_mailbox(database_url, SHARED) as arena:
        await opt_out(arena, "u_1")
        assert [(await send(arena, person)).status for person in ("u_1", "u_2")] == [Status.WITHHELD, Status.SENDING]


async def test_C2_a_retry_by_another_channel_does_not_count_at_the_mailbox_of_the_first_attempt(database_url):
    anywhere = {"cooldowns": [{"name": "apart", "between": "P1D"}]}
    async with two_at_one_mailbox(database_url, anywhere) as arena:
        hashed = arena.deps.catalogue.consent.addresses.digest("email", ADDRESS)
        inside = await send(arena, "u_1", via=("in_app",), address_hash=hashed)
        assert (inside.status, inside.address_hash) == (Status.SENT, None)
        assert (await send(arena, "u_2")).status is Status.SENDING


async def test_C2_a_step_for_two_people_of_one_mailbox_keeps_the_cap_of_the_mailbox(sending: Sending) -> None:
    """The second is decided with what the step has sent to the first."""
    deps = sending.dependencies(sending.sms())
    deps = type(deps)(deps.database, deps.catalogue, capped("sms"), deps.channels)
    await publish(sending.database, OF_ACCOUNT)
    for number in range(2):
        traits = {"role": "admin", "first_name": "Ada", "phone": PHONE}
        events = [
            InboundEvent("identify", f"i{number}", "identify", user_id=f"u{number}", traits=traits),
            InboundEvent("group", f"g{number}", "group", user_id=f"u{number}", account_id="acme"),
        ]
        await accept(sending.database, deps.catalogue, events, source="test")
    started = InboundEvent("track", "c", "contract_started", account_id="acme")
    await accept(sending.database, deps.catalogue, [started], source="test")
    step = (await first_steps(sending.database, deps.catalogue, "contract_started"))["acme", "of-account"]
    await apply_step(deps, wire.StepInput(**step))
    assert [message["status"] for message in await sending.ledger()] == ["sent", "deferred"]


def capped(channel: str) -> Policy:
    cap = {"name": "one", "channel": channel, "limit": 1, "window": "P7D"}
    return load_policy({"consent": [{"default": "granted"}], "caps": [cap]})
