"""Opt-out against send, ten thousand times: whoever is answered "it is withdrawn" gets nothing that left afterwards (C5).

Each race is the gate's own transaction against a withdrawal, begun at the same moment on two connections. The observer is
the withdrawal's client: what says `sending` at the end and did not at its answer, has entered `sending` after it.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from activities.gate import evaluation
from journeys.consent.changes import ConsentChange
from journeys.events.inbound import InboundEvent
from store.consent.suppressions import suppress
from store.database import fetch_all, sql
from store.events.changes import change_consents
from store.events.ingest import accept
from store.people import subjects
from store.people.subjects import Subject
from tests.support.gate_arena import AT_ONCE, Arena, entry, opened, people, without

RACES = 10_000
SEED = 20_260_503
LEAD = 0.02
"""Seconds by which a withdrawal may begin first: it has more to do, and would mostly come second."""
PLACES = (("email", "onboarding"), ("*", "onboarding"), ("email", "*"), ("*", "*"))
_STATUS = sql("SELECT status FROM messages WHERE recipient = :person")
_ALL = sql("SELECT recipient, status FROM messages")


@pytest.fixture
async def arena(database_url: str) -> AsyncIterator[Arena]:
    async with opened(database_url) as found:
        yield found


async def send(arena: Arena, person: str, pause: float, more: float, *, locked: bool) -> None:
    """As a step does: the person's lock, the gate, `more` to do, the commit. Without the lock only to see the test bite."""
    await asyncio.sleep(pause)
    async with arena.database.transaction() as connection:
        if locked:
            found = (await subjects.lock_subjects(connection, [person]))[person]
        else:
            found = Subject(person, "user", 0, None, None, {"email": f"{person}@people.example"}, None)
        gate_pass = evaluation.GatePass(arena.deps, connection, found, None, datetime.now(UTC))
        await gate_pass.add(entry(arena, person))
        await gate_pass.decide()
        await asyncio.sleep(more)


async def opt_out(arena: Arena, person: str, pause: float, place: tuple[str, str], *, event: bool) -> set[str]:
    """What is `sending` when the withdrawal is answered: by API or page, or said in an event's trait."""
    await asyncio.sleep(pause)
    channel, topic = place
    if event:
        traits = {"consents": {channel: {topic: False}}}
        call = InboundEvent("identify", f"no-{person}", "identify", subject_key=person, traits=traits)
        await accept(arena.database, arena.deps.catalogue, [call], source="race")
    else:
        change = ConsentChange(channel, topic, granted=False, source="race")
        await change_consents(arena.database, arena.deps.catalogue, arena.deps.policy, person, [change])
    async with arena.database.reading() as connection:
        return {item["status"] for item in await fetch_all(connection, _STATUS, person=person)}


async def leave_alone(arena: Arena, person: str, pause: float) -> set[str]:
    """The same for a suppression of their address: by an operator, or by a bounce that an event tells of."""
    await asyncio.sleep(pause)
    address = f"u{person[2:]}@people.example"
    if int(person[2:]) % 2:
        data = {"kind": "hard", "address": address}
        call = InboundEvent("track", f"bounce-{person}", "message_bounced", subject_key=person, data=data)
        await accept(arena.database, arena.deps.catalogue, [call], source="race")
    else:
        addresses = arena.deps.catalogue.consent.addresses
        async with arena.database.transaction() as connection:
            at = datetime.now(UTC)
            await suppress(connection, addresses, "email", address, reason="operator", source="race", at=at)
    async with arena.database.reading() as connection:
        return {item["status"] for item in await fetch_all(connection, _STATUS, person=person)}


async def races(arena: Arena, count: int, *, locked: bool, suppressing: float | None = None) -> Counter[str]:
    """How often the message left first, was held back, and left although it was forbidden by then.

    With `suppressing` their address is suppressed instead, which may begin so many seconds first.
    """
    chance = random.Random(SEED)
    keys = await people(arena, 1, count)
    answered: dict[str, set[str]] = {}
    lead = LEAD if suppressing is None else suppressing
    plan = [(key, chance.choice(PLACES), chance.uniform(-0.004, lead), chance.uniform(0, 0.006)) for key in keys]

    async def runner(mine: list[tuple[str, tuple[str, str], float, float]]) -> None:
        for person, place, lead, more in mine:
            late = max(0.0, -lead)
            no = (
                opt_out(arena, person, late, place, event=int(person[2:]) % 4 == 0)
                if suppressing is None
                else leave_alone(arena, person, late)
            )
            _, answered[person] = await asyncio.gather(send(arena, person, max(0.0, lead), more, locked=locked), no)

    await asyncio.gather(*(runner(plan[at::AT_ONCE]) for at in range(AT_ONCE)))
    async with arena.database.reading() as connection:
        ends = {item["recipient"]: item["status"] for item in await fetch_all(connection, _ALL)}
    assert ends.keys() == set(keys), "every message was weighed"
    told: Counter[str] = Counter()
    for person, status in ends.items():
        late = status == "sending" and "sending" not in answered[person]
        told["late" if late else status] += 1
    return told


@pytest.mark.slow
async def test_C5_of_ten_thousand_races_not_one_message_leaves_after_its_opt_out_is_answered(arena: Arena) -> None:
    told = await races(arena, RACES, locked=True)
    assert told["late"] == 0
    assert sum(told.values()) == RACES
    # A race that always ends the same way is none.
    assert min(told["sending"], told["withheld"]) > RACES // 20, told


async def test_the_same_races_without_the_lock_let_messages_through(arena: Arena) -> None:
    """The control: this is what the lock is for, and that the test above would see."""
    await without(arena, "FOR UPDATE")
    told = await races(arena, 600, locked=False)
    assert told["late"] > 0, told


async def test_C5_of_a_thousand_races_not_one_message_leaves_after_its_address_is_suppressed(arena: Arena) -> None:
    told = await races(arena, 1_000, locked=True, suppressing=0.012)
    assert told["late"] == 0
    assert min(told["sending"], told["withheld"]) > 50, told


async def test_the_same_races_without_the_lock_of_the_address_let_messages_through(arena: Arena) -> None:
    """The control, as above: the person's lock alone does not know whose address a suppression is about."""
    await without(arena, "pg_advisory_xact_lock_shared(address_lock(d))", "address_lock(d)")
    told = await races(arena, 600, locked=True, suppressing=0.012)
    assert told["late"] > 0, told
