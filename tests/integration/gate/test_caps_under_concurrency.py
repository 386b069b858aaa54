"""What the gate promises to the unit, raced: a cap, a stop, a milestone. Each with its control, which must let something through.

As in `test_consent_races.py` the observer is the client of whoever forbids: what has gone out at the end and had not at the
answer, has gone out after it.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from activities.delivery import outreach
from activities.dependencies import Dependencies
from activities.gate import evaluation
from activities.steps.apply import apply_step
from journeys.decision.decide import decide
from journeys.decision.effects import WithdrawnMessages, effects_from_json, effects_to_json, log_to_json
from journeys.decision.occurrences import Entered, Signal
from journeys.decision.state import RunState, state_from_json, state_to_json
from journeys.gate.policy import Cap, Policy
from journeys.protocol import wire
from store.database import Connection, execute, fetch_all, fetch_one, sql
from store.locks import Lock
from store.messages import due as owed
from store.messages import kill_switches, ledger
from store.messages.entries import LedgerEntry
from store.messages.withdrawals import withdraw_queued
from store.people import subjects
from store.people.subjects import Subject
from store.runs import projection
from tests.support.gate_arena import AT_ONCE, Arena, entry, opened, people, without
from tests.support.live_stack import until

RACES = 400
SEED = 20_260_611
_ENDS = sql("SELECT recipient, status FROM messages")
_ALL = sql("SELECT status, count(*) AS n FROM messages GROUP BY status")
_STATUS = sql("SELECT status FROM messages WHERE recipient = :person")
_INBOX = sql("SELECT key FROM inbox")
_WAITS = sql(
    "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)
CAPPED = Policy(caps=(Cap(name="three", channel="email", limit=3, window="P1D", priorities=("lifecycle",)),))


@pytest.fixture
async def arena(database_url: str) -> AsyncIterator[Arena]:
    async with opened(database_url) as found:
        yield found


def someone(person: str) -> Subject:
    """Whom nobody has locked: only the gate does."""
    return Subject(person, "user", 0, None, None, {"email": f"{person}@people.example"}, None)


async def status_of(arena: Arena, person: str) -> set[str]:
    async with arena.database.reading() as connection:
        return {item["status"] for item in await fetch_all(connection, _STATUS, person=person)}


async def race(
    arena: Arena,
    count: int,
    goes: Callable[[str, float], Awaitable[None]],
    forbids: Callable[[str], Awaitable[set[str]]],
    ahead: tuple[float, float],
) -> Counter[str]:
    """How often it went first, was held back, and went although it was forbidden by then.

    `goes` is given a while to stay in its transaction; who forbids begins so many seconds `ahead`, by chance, or after it.
    """
    chance = random.Random(SEED)
    answered: dict[str, set[str]] = {}
    plan = [
        (f"u_{n}", chance.uniform(*ahead), chance.uniform(0, 0.006)) for n in range(1, count + 1)
    ]  # fmt: skip

    async def going(person: str, pause: float, more: float) -> None:
        await asyncio.sleep(pause)
        await goes(person, more)

    async def forbidding(person: str, pause: float) -> None:
        await asyncio.sleep(pause)
        answered[person] = await forbids(person)

    async def runner(mine: list[tuple[str, float, float]]) -> None:
        for person, lead, more in mine:
            await asyncio.gather(going(person, max(0.0, lead), more), forbidding(person, max(0.0, -lead)))

    await asyncio.gather(*(runner(plan[at::AT_ONCE]) for at in range(AT_ONCE)))
    async with arena.database.reading() as connection:
        ends = {item["recipient"]: item["status"] for item in await fetch_all(connection, _ENDS)}
    assert len(ends) == count
    told: Counter[str] = Counter()
    for person, status in ends.items():
        gone = {"sending", "sent"}
        told["late" if status in gone and not answered[person] & gone else status] += 1
    return told


# -- a cap -------------------------------------------------------------------------------------------------------------


async def asked_at_once(arena: Arena, count: int) -> Counter[str]:
    """What becomes of so many messages to one person, each asked for in a transaction of its own, all at once."""
    (person,) = await people(arena, 1, 1)

    async def ask(number: int) -> None:
        async with arena.database.transaction() as connection:
            gate_pass = evaluation.GatePass(arena.deps, connection, someone(person), None, datetime.now(UTC))
            await gate_pass.add(entry(arena, person, number))
            await gate_pass.decide()

    await asyncio.gather(*(ask(number) for number in range(count)))
    async with arena.database.reading() as connection:
        return Counter({item["status"]: item["n"] for item in await fetch_all(connection, _ALL)})


async def test_C2_two_hundred_requests_at_once_against_a_cap_of_three_are_exactly_three(database_url: str) -> None:
    async with opened(database_url, CAPPED) as arena:
        assert await asked_at_once(arena, 200) == {"sending": 3, "deferred": 197}


async def test_without_the_gates_own_lock_a_cap_of_three_lets_more_through(database_url: str) -> None:
    """The control: nobody else locks the person here."""
    async with opened(database_url, CAPPED) as arena:
        await without(arena, "FOR UPDATE")
        assert (await asked_at_once(arena, 200))["sending"] > 3


async def test_C2_what_may_have_arrived_counts_while_it_waits_to_be_tried_again(database_url: str) -> None:
    async with opened(database_url, replace_limit(1)) as arena:
        await asked_at_once(arena, 1)
        async with arena.database.transaction() as connection:
            doubt = "UPDATE messages SET status = 'deferred', due_at = now() + interval '1 hour', in_doubt = :doubt"
            await execute(connection, sql(doubt), doubt=True)
            gate_pass = evaluation.GatePass(arena.deps, connection, someone("u_1"), None, datetime.now(UTC))
            other = entry(arena, "u_1", 2)
            await gate_pass.add(other)
            await gate_pass.decide()
            assert (other.status, [reason.code for reason in other.reasons]) == ("deferred", ["cap_reached"])
            await execute(connection, sql(doubt), doubt=False)
            gate_pass = evaluation.GatePass(arena.deps, connection, someone("u_1"), None, datetime.now(UTC))
            third = entry(arena, "u_1", 3)
            await gate_pass.add(third)
            await gate_pass.decide()
            assert third.reasons == (), "what surely has not arrived takes nobody's place"


def replace_limit(limit: int) -> Policy:
    return Policy(caps=tuple(cap.model_copy(update={"limit": limit}) for cap in CAPPED.caps))


# -- a stop ------------------------------------------------------------------------------------------------------------


async def stop_races(arena: Arena, count: int) -> Counter[str]:
    """Each message is of a journey of its own, which is stopped meanwhile."""
    await people(arena, 1, count)

    async def send(person: str, more: float) -> None:
        async with arena.database.transaction() as connection:
            found = await subjects.lock_subjects(connection, [person])
            gate_pass = evaluation.GatePass(arena.deps, connection, found[person], None, datetime.now(UTC))
            await gate_pass.add(replace(entry(arena, person), journey=f"race-{person}"))
            await gate_pass.decide()
            await asyncio.sleep(more)

    async def stop(person: str) -> set[str]:
        async with arena.database.transaction() as connection:
            await kill_switches.engage(connection, "journey", f"race-{person}", "a race", "test")
        return await status_of(arena, person)

    return await race(arena, count, send, stop, ahead=(-0.01, 0.01))


async def test_of_four_hundred_races_not_one_message_leaves_after_its_journey_is_stopped(arena: Arena) -> None:
    told = await stop_races(arena, RACES)
    assert told["late"] == 0, told
    assert min(told["sending"], told["deferred"]) > RACES // 20, told


async def test_the_same_races_without_the_lock_of_stops_let_messages_through(arena: Arena) -> None:
    await without(arena, f"pg_advisory_xact_lock_shared({int(Lock.STOPS)})", "1")
    told = await stop_races(arena, RACES)
    assert told["late"] > 0, told


# -- a milestone -------------------------------------------------------------------------------------------------------


async def waiting(arena: Arena, count: int) -> None:
    """People for whom an in-app message waits that is due now: it arrives in the commit in which it is decided."""
    await people(arena, 1, count)
    now = datetime.now(UTC)
    async with arena.database.transaction() as connection:
        for number in range(1, count + 1):
            due = replace(entry(arena, f"u_{number}"), via=("in_app",), due_at=now - timedelta(seconds=1))
            assert await ledger.write_message(connection, due)


async def left(arena: Arena, person: str) -> wire.StepInput:
    """The step with which their run reaches its milestone and ends."""
    async with arena.database.reading() as connection:
        chart = await arena.deps.catalogue.chart(connection, arena.definition)
    now = datetime.now(UTC)
    inside = decide(chart, RunState(), Entered(now, "signed_up", lane=person, seq=1)).state
    made = decide(chart, inside, Signal(now, "done", {}, lane=person, seq=2))
    return wire.StepInput(
        f"r_{person[2:]}", 2, arena.definition, state_to_json(made.state), log_to_json(made.log),
        effects_to_json(made.effects), now.isoformat(),
    )  # fmt: skip


async def settled(deps: Dependencies, person: str) -> None:
    await outreach.settle_due(deps, wire.SettleInput(person, datetime.now(UTC).isoformat()), {})


async def milestone_races(
    arena: Arena, count: int, leave: Callable[[Arena, wire.StepInput], Awaitable[None]]
) -> Counter[str]:
    await waiting(arena, count)
    steps = {f"u_{n}": await left(arena, f"u_{n}") for n in range(1, count + 1)}

    async def send(person: str, _: float) -> None:
        await settled(arena.deps, person)

    async def reach(person: str) -> set[str]:
        await leave(arena, steps[person])
        return await status_of(arena, person)

    return await race(arena, count, send, reach, ahead=(-0.04, 0.004))


async def as_a_step_does(arena: Arena, step: wire.StepInput) -> None:
    await apply_step(arena.deps, step)


async def without_the_persons_lock(arena: Arena, step: wire.StepInput) -> None:
    async with arena.database.transaction() as connection:
        await projection.advance_run(connection, step.run, step.step, state_from_json(step.state))
        for effect in effects_from_json(step.effects):
            if isinstance(effect, WithdrawnMessages):
                await withdraw_queued(connection, step.run, effect, effect.at)


def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger's update, blind to what has become of the row since it was read."""
    known = ledger._UPDATE
    text = known.text.replace(f" AND messages.status = ${len(known.names)}::TEXT", "")
    assert text != known.text
    monkeypatch.setitem(vars(known), "text", text)
    monkeypatch.setitem(vars(known), "names", known.names[:-1])


async def test_C3_of_four_hundred_races_not_one_message_arrives_after_its_milestone(arena: Arena) -> None:
    told = await milestone_races(arena, RACES, as_a_step_does)
    assert told["late"] == 0, told
    assert min(told["sent"], told["withdrawn"]) > RACES // 20, told


async def test_the_same_races_without_lock_and_look_let_messages_through(
    arena: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgetful(monkeypatch)
    told = await milestone_races(arena, RACES, without_the_persons_lock)
    assert told["late"] > 0, told


async def test_C3_a_step_that_leaves_its_state_waits_for_whoever_decides_on_its_messages(arena: Arena) -> None:
    """Also where nothing compares the row: this is what keeps a message, once read as true, from being sent as false."""
    await waiting(arena, 1)
    async with arena.database.transaction() as deciding:
        await subjects.lock_subjects(deciding, ["u_1"])
        leaving = asyncio.create_task(apply_step(arena.deps, await left(arena, "u_1")))

        async def waits() -> int:
            async with arena.database.reading() as connection:
                found = await fetch_one(connection, _WAITS)
                return int(found["n"]) if found else 0

        await until(waits)
        assert not leaving.done()
    await leaving
    assert await status_of(arena, "u_1") == {"withdrawn"}


async def test_C3_what_was_withdrawn_since_it_was_read_stays_so_and_its_run_hears_nothing(arena: Arena) -> None:
    await waiting(arena, 1)
    async with arena.database.transaction() as deciding:
        (due,) = await owed.due_messages(deciding, "u_1", datetime.now(UTC))
        await without_the_persons_lock(arena, await left(arena, "u_1"))
        gate_pass, attempts = await decided(arena, deciding, due)
        assert (attempts, gate_pass.outcome(due)) == ([], None)
    assert await status_of(arena, "u_1") == {"withdrawn"}
    async with arena.database.reading() as connection:
        assert await fetch_all(connection, _INBOX) == []


async def decided(
    arena: Arena, connection: Connection, due: LedgerEntry
) -> tuple[evaluation.GatePass, list[LedgerEntry]]:
    gate_pass = evaluation.GatePass(arena.deps, connection, someone("u_1"), None, datetime.now(UTC))
    await gate_pass.add(due)
    return gate_pass, await gate_pass.decide()
