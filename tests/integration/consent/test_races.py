"""Opt-out against send, thousands of times, by person and by address: after its answer no message leaves (C5).

Each race is the gate's own transaction against an opt-out, begun at the same moment on two connections. The client of the
opt-out observes: a message that is `sending` at the end and was not at the answer has entered `sending` after it.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import pytest

from activities.gate import evaluation
from journeys.consent.changes import ConsentChange
from journeys.consent.precedence import StatedBy
from journeys.events.inbound import InboundEvent
from store.consent.suppressions import suppress
from store.database import Connection, execute, fetch_all, sql
from store.events.changes import change_consents
from store.events.ingest import accept
from store.people import subjects
from store.people.subjects import Subject
from tests.support.gate_arena import AT_ONCE, Arena, add_people, new_message, open_arena, without_gate_part
from tests.support.live_stack import until

RACES = (
    pytest.param(2_500, id="2500"),
    pytest.param(10_000, id="10000", marks=[pytest.mark.alone, pytest.mark.long]),
)
SEED = 20_260_503
LEAD = 0.02
"""Seconds by which an opt-out may begin first: it has more to do, and would mostly come second."""
PLACES = (("email", "onboarding"), ("*", "onboarding"), ("email", "*"), ("*", "*"))
_STATUS = sql("SELECT status FROM messages WHERE recipient = :person")
_OTHERS = sql(
    """INSERT INTO subjects (key, kind, profile) SELECT 'u_o' || substr(key, 3), 'user', profile FROM subjects
       WHERE key LIKE 'u_%'"""
)
_BLOCKED = sql("SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
SHARED_BY_ALL = "pg_advisory_xact_lock_shared(0)"
_MESSAGES = sql("SELECT recipient, status FROM messages")


@pytest.fixture
async def arena(database_url: str) -> AsyncIterator[Arena]:
    async with open_arena(database_url) as arena:
        yield arena


async def send(arena: Arena, person: str, pause: float, more: float) -> None:
    """As a step does: lock the person, decide at the gate, wait `more` seconds, commit."""
    await asyncio.sleep(pause)
    async with arena.database.transaction() as connection:
        await _decide(arena, connection, person, locked=True)
        await asyncio.sleep(more)


async def _decide(arena: Arena, connection: Connection, person: str, *, locked: bool) -> None:
    """Decide the person's message. The control takes no lock before the gate's."""
    if locked:
        subject = (await subjects.lock_subjects(connection, [person]))[person]
    else:
        subject = Subject(person, "user", 0, None, None, {"email": f"u{person[2:]}@people.example"}, None)
    gate_pass = evaluation.GatePass(arena.deps, connection, subject, None, datetime.now(UTC))
    await gate_pass.add(new_message(arena, person))
    await gate_pass.decide()


async def opt_out(arena: Arena, person: str, pause: float, place: tuple[str, str], *, event: bool) -> set[str]:
    """Opt out by the API or by an event's trait; the status of the message when that is answered."""
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


async def opt_out_at_address(arena: Arena, person: str, pause: float) -> set[str]:
    """Opt out by the link of somebody else at the same address; the status of the message when that is answered."""
    await asyncio.sleep(pause)
    change = ConsentChange("email", "*", granted=False, source="race", by=StatedBy.PERSON)
    await change_consents(arena.database, arena.deps.catalogue, arena.deps.policy, f"u_o{person[2:]}", [change])
    async with arena.database.reading() as connection:
        return {item["status"] for item in await fetch_all(connection, _STATUS, person=person)}


async def suppress_address(arena: Arena, person: str, pause: float) -> set[str]:
    """Suppress the address by an operator or by a bounce event; the status of the message when that is answered."""
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


async def races(
    arena: Arena, count: int, *, suppressing: float | None = None, at_address: bool = False
) -> Counter[str]:
    """How often the message left first, was withheld, and left late: after it was forbidden.

    With `suppressing` the address is suppressed instead; that may begin so many seconds first. With `at_address` it is
    somebody else at the address who opts out, in every second race.
    """
    chance = random.Random(SEED)
    keys = await add_people(arena, 1, count)
    async with arena.database.transaction() as connection:
        await execute(connection, _OTHERS)
    status_at_answer: dict[str, set[str]] = {}
    lead = LEAD if suppressing is None else suppressing
    plan = [(key, chance.choice(PLACES), chance.uniform(-0.004, lead), chance.uniform(0, 0.006)) for key in keys]

    async def runner(mine: list[tuple[str, tuple[str, str], float, float]]) -> None:
        for person, place, lead, more in mine:
            late = max(0.0, -lead)
            number = int(person[2:])
            if suppressing is not None:
                no = suppress_address(arena, person, late)
            elif at_address and number % 2:
                no = opt_out_at_address(arena, person, late)
            else:
                no = opt_out(arena, person, late, place, event=number % 4 == 0)
            _, status_at_answer[person] = await asyncio.gather(send(arena, person, max(0.0, lead), more), no)

    await asyncio.gather(*(runner(plan[at::AT_ONCE]) for at in range(AT_ONCE)))
    async with arena.database.reading() as connection:
        ends = {item["recipient"]: item["status"] for item in await fetch_all(connection, _MESSAGES)}
    assert ends.keys() == set(keys), "every message was decided"
    counts: Counter[str] = Counter()
    for person, status in ends.items():
        late = status == "sending" and "sending" not in status_at_answer[person]
        counts["late" if late else status] += 1
    return counts


@pytest.mark.slow
@pytest.mark.parametrize("number", RACES)
async def test_C5_no_message_leaves_after_its_opt_out_is_answered_in_thousands_of_races(
    arena: Arena, number: int
) -> None:
    counts = await races(arena, number, at_address=True)
    assert counts["late"] == 0
    assert sum(counts.values()) == number
    # If one side always won, there was no race.
    assert min(counts["sending"], counts["withheld"]) > number // 20, counts


async def test_C5_no_message_leaves_after_its_address_is_suppressed_in_a_thousand_races(arena: Arena) -> None:
    counts = await races(arena, 1_000, suppressing=0.012)
    assert counts["late"] == 0
    assert min(counts["sending"], counts["withheld"]) > 50, counts


# -- the same with a forced order, and its controls --------------------------------------------------------------------

Opposing = Callable[[Arena, str, float], Coroutine[Any, Any, set[str]]]


async def opt_out_themselves(arena: Arena, person: str, pause: float) -> set[str]:
    return await opt_out(arena, person, pause, ("*", "*"), event=False)


OPPOSING: dict[str, tuple[Opposing, tuple[str, str]]] = {
    "an opt-out of the person": (opt_out_themselves, ("FOR UPDATE", "")),
    "an opt-out at the address": (opt_out_at_address, ("pg_advisory_xact_lock(address_lock(d))", SHARED_BY_ALL)),
    "a suppression": (suppress_address, ("pg_advisory_xact_lock(address_lock(d))", SHARED_BY_ALL)),
}
"""What forbids a message, and the part of the gate's read that orders the two, with its substitute in the control."""


async def is_late_in_forced_order(arena: Arena, opposing: Opposing, *, locked: bool) -> bool:
    """Whether a message leaves late if its gate has decided, and commits only once the other side is answered or blocked."""
    (person,) = await add_people(arena, 2, 1)  # an even number: an operator suppresses, who takes no lock of a person
    async with arena.database.transaction() as connection:
        await execute(connection, _OTHERS)
    async with arena.database.transaction() as connection:
        await _decide(arena, connection, person, locked=locked)
        forbidding = asyncio.create_task(opposing(arena, person, 0))
        await until(lambda: _answered_or_blocked(arena, forbidding), waiting_for="the other side")
    at_answer = await forbidding
    async with arena.database.reading() as connection:
        ends = {item["status"] for item in await fetch_all(connection, _STATUS, person=person)}
    return "sending" in ends and "sending" not in at_answer


async def _answered_or_blocked(arena: Arena, forbidding: asyncio.Task[set[str]]) -> bool:
    async with arena.database.reading() as connection:
        return forbidding.done() or bool(await fetch_all(connection, _BLOCKED))


@pytest.mark.parametrize("name", sorted(OPPOSING))
async def test_C5_what_forbids_a_message_is_answered_only_after_the_gate_that_has_decided_commits(
    arena: Arena, name: str
) -> None:
    assert not await is_late_in_forced_order(arena, OPPOSING[name][0], locked=True)


@pytest.mark.parametrize("name", sorted(OPPOSING))
async def test_control_without_its_lock_a_message_leaves_after_it_was_forbidden(arena: Arena, name: str) -> None:
    """The controls: the test above, and with it the races, would fail without the lock of the person, or of the address."""
    opposing, (part, instead) = OPPOSING[name]
    await without_gate_part(arena, part, instead)
    assert await is_late_in_forced_order(arena, opposing, locked=part != "FOR UPDATE")
