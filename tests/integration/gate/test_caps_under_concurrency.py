"""Races at the gate: a cap, a kill switch, a milestone. Each has a control, which must let messages through.

As in `tests/integration/consent/test_races.py` the client of the forbidding side observes: a message that has left at the end and
had not at the answer has left after it.
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
from store.messages import due as messages_due
from store.messages import kill_switches, ledger
from store.messages.entries import LedgerEntry
from store.messages.withdrawals import withdraw_queued
from store.people import subjects
from store.people.subjects import Subject
from store.runs import projection
from tests.support.gate_arena import AT_ONCE, Arena, add_people, new_message, open_arena, without_gate_part
from tests.support.live_stack import until

RACES = 400
SEED = 20_260_611
_STATUSES = sql("SELECT recipient, status FROM messages")
_COUNTS = sql("SELECT status, count(*) AS n FROM messages GROUP BY status")
_STATUS = sql("SELECT status FROM messages WHERE recipient = :person")
_INBOX = sql("SELECT key FROM inbox")
_WAITS = sql(
    "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)
CAPPED = Policy(caps=(Cap(name="three", channel="email", limit=3, window="P1D", priorities=("lifecycle",)),))


@pytest.fixture
async def arena(database_url: str) -> AsyncIterator[Arena]:
    async with open_arena(database_url) as arena:
        yield arena


def unlocked_subject(person: str) -> Subject:
    """A person that the test has not locked: only the gate does."""
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
    """How often the message left first, was held back, and left late: after it was forbidden.

    `goes` stays in its transaction for a random time; `forbids` begins up to so many seconds `ahead` of it or after it.
    """
    chance = random.Random(SEED)
    status_at_answer: dict[str, set[str]] = {}
    plan = [
        (f"u_{n}", chance.uniform(*ahead), chance.uniform(0, 0.006)) for n in range(1, count + 1)
    ]  # fmt: skip

    async def going(person: str, pause: float, more: float) -> None:
        await asyncio.sleep(pause)
        await goes(person, more)

    async def forbidding(person: str, pause: float) -> None:
        await asyncio.sleep(pause)
        status_at_answer[person] = await forbids(person)

    async def runner(mine: list[tuple[str, float, float]]) -> None:
        for person, lead, more in mine:
            await asyncio.gather(going(person, max(0.0, lead), more), forbidding(person, max(0.0, -lead)))

    await asyncio.gather(*(runner(plan[at::AT_ONCE]) for at in range(AT_ONCE)))
    async with arena.database.reading() as connection:
        ends = {item["recipient"]: item["status"] for item in await fetch_all(connection, _STATUSES)}
    assert len(ends) == count
    counts: Counter[str] = Counter()
    for person, status in ends.items():
        gone = {"sending", "sent"}
        counts["late" if status in gone and not status_at_answer[person] & gone else status] += 1
    return counts


# -- a cap -------------------------------------------------------------------------------------------------------------


async def results_of_concurrent_requests(arena: Arena, count: int) -> Counter[str]:
    """The statuses of so many concurrent messages to one person, each requested in a transaction of its own."""
    (person,) = await add_people(arena, 1, 1)

    async def ask(number: int) -> None:
        async with arena.database.transaction() as connection:
            gate_pass = evaluation.GatePass(arena.deps, connection, unlocked_subject(person), None, datetime.now(UTC))
            await gate_pass.add(new_message(arena, person, number))
            await gate_pass.decide()

    await asyncio.gather(*(ask(number) for number in range(count)))
    async with arena.database.reading() as connection:
        return Counter({item["status"]: item["n"] for item in await fetch_all(connection, _COUNTS)})


async def test_C2_two_hundred_concurrent_requests_under_a_cap_of_three_send_exactly_three(database_url: str) -> None:
    async with open_arena(database_url, CAPPED) as arena:
        assert await results_of_concurrent_requests(arena, 200) == {"sending": 3, "deferred": 197}


async def test_control_without_the_gates_lock_a_cap_of_three_lets_more_through(database_url: str) -> None:
    """The control: nothing else locks the person here."""
    async with open_arena(database_url, CAPPED) as arena:
        await without_gate_part(arena, "FOR UPDATE")
        await without_gate_part(
            arena, "pg_advisory_xact_lock(address_lock(d))", "pg_advisory_xact_lock_shared(address_lock(d))"
        )
        assert (await results_of_concurrent_requests(arena, 200))["sending"] > 3


async def test_C2_a_deferred_message_in_doubt_counts_for_a_cap(database_url: str) -> None:
    async with open_arena(database_url, capped_at(1)) as arena:
        await results_of_concurrent_requests(arena, 1)
        async with arena.database.transaction() as connection:
            doubt = (
                "UPDATE messages SET status = 'deferred', due_at = now() + interval '1 hour', in_doubt = :doubt,"
                " detail = 'the provider is down'"
            )
            await execute(connection, sql(doubt), doubt=True)
            gate_pass = evaluation.GatePass(arena.deps, connection, unlocked_subject("u_1"), None, datetime.now(UTC))
            other = new_message(arena, "u_1", 2)
            await gate_pass.add(other)
            await gate_pass.decide()
            assert (other.status, [reason.code for reason in other.reasons]) == ("deferred", ["cap_reached"])
            await execute(connection, sql(doubt), doubt=False)
            gate_pass = evaluation.GatePass(arena.deps, connection, unlocked_subject("u_1"), None, datetime.now(UTC))
            third = new_message(arena, "u_1", 3)
            await gate_pass.add(third)
            await gate_pass.decide()
            assert third.reasons == (), "a message that has certainly not arrived does not count"


def capped_at(limit: int) -> Policy:
    return Policy(caps=tuple(cap.model_copy(update={"limit": limit}) for cap in CAPPED.caps))


# -- a kill switch -----------------------------------------------------------------------------------------------------


async def stop_races(arena: Arena, count: int) -> Counter[str]:
    """Races of a message against a kill switch of its journey; each message has its own journey."""
    await add_people(arena, 1, count)

    async def send(person: str, more: float) -> None:
        async with arena.database.transaction() as connection:
            locked = await subjects.lock_subjects(connection, [person])
            gate_pass = evaluation.GatePass(arena.deps, connection, locked[person], None, datetime.now(UTC))
            await gate_pass.add(replace(new_message(arena, person), journey=f"race-{person}"))
            await gate_pass.decide()
            await asyncio.sleep(more)

    async def stop(person: str) -> set[str]:
        async with arena.database.transaction() as connection:
            await kill_switches.engage(connection, "journey", f"race-{person}", "a race", "test")
        return await status_of(arena, person)

    return await race(arena, count, send, stop, ahead=(-0.01, 0.01))


async def test_no_message_leaves_after_its_journey_is_stopped_in_four_hundred_races(arena: Arena) -> None:
    counts = await stop_races(arena, RACES)
    assert counts["late"] == 0, counts
    assert min(counts["sending"], counts["deferred"]) > RACES // 20, counts


async def test_control_without_the_lock_of_kill_switches_messages_leave_after_the_stop(arena: Arena) -> None:
    await without_gate_part(arena, f"pg_advisory_xact_lock_shared({int(Lock.STOPS)})", "1")
    counts = await stop_races(arena, RACES)
    assert counts["late"] > 0, counts


# -- a milestone -------------------------------------------------------------------------------------------------------


async def queue_due_messages(arena: Arena, count: int) -> None:
    """Insert people with an in-app message that is due now: it arrives in the commit that decides it."""
    await add_people(arena, 1, count)
    now = datetime.now(UTC)
    async with arena.database.transaction() as connection:
        for number in range(1, count + 1):
            due = replace(new_message(arena, f"u_{number}"), via=("in_app",), due_at=now - timedelta(seconds=1))
            assert await ledger.write_message(connection, due)


async def leaving_step(arena: Arena, person: str) -> wire.StepInput:
    """The step in which the person's run reaches its milestone and ends."""
    async with arena.database.reading() as connection:
        chart = await arena.deps.catalogue.chart(connection, arena.definition)
    now = datetime.now(UTC)
    inside = decide(chart, RunState(), Entered(now, "signed_up", lane=person, seq=1)).state
    made = decide(chart, inside, Signal(now, "done", {}, lane=person, seq=2))
    return wire.StepInput(
        f"r_{person[2:]}", 2, arena.definition, state_to_json(made.state), log_to_json(made.log),
        effects_to_json(made.effects), now.isoformat(),
    )  # fmt: skip


async def settle(deps: Dependencies, person: str) -> None:
    await outreach.settle_due(deps, wire.SettleInput(person, datetime.now(UTC).isoformat()), {})


async def milestone_races(
    arena: Arena, count: int, leave: Callable[[Arena, wire.StepInput], Awaitable[None]]
) -> Counter[str]:
    await queue_due_messages(arena, count)
    steps = {f"u_{n}": await leaving_step(arena, f"u_{n}") for n in range(1, count + 1)}

    async def send(person: str, _: float) -> None:
        await settle(arena.deps, person)

    async def reach(person: str) -> set[str]:
        await leave(arena, steps[person])
        return await status_of(arena, person)

    return await race(arena, count, send, reach, ahead=(-0.04, 0.004))


async def apply_leaving_step(arena: Arena, step: wire.StepInput) -> None:
    await apply_step(arena.deps, step)


async def leave_without_lock(arena: Arena, step: wire.StepInput) -> None:
    async with arena.database.transaction() as connection:
        await projection.advance_run(connection, step.run, step.step, state_from_json(step.state))
        for effect in effects_from_json(step.effects):
            if isinstance(effect, WithdrawnMessages):
                await withdraw_queued(connection, step.run, effect, effect.at)


def disable_status_check(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the ledger's update ignore a change of status since the row was read."""
    known = ledger._UPDATE
    text = known.text.replace(f" AND messages.status = ${len(known.names)}::TEXT", "")
    assert text != known.text
    monkeypatch.setitem(vars(known), "text", text)
    monkeypatch.setitem(vars(known), "names", known.names[:-1])


async def test_C3_no_message_arrives_after_its_milestone_in_four_hundred_races(arena: Arena) -> None:
    counts = await milestone_races(arena, RACES, apply_leaving_step)
    assert counts["late"] == 0, counts
    assert min(counts["sent"], counts["withdrawn"]) > RACES // 20, counts


async def test_control_without_lock_and_status_check_messages_arrive_after_the_milestone(
    arena: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    disable_status_check(monkeypatch)
    counts = await milestone_races(arena, RACES, leave_without_lock)
    assert counts["late"] > 0, counts


async def test_C3_a_step_that_leaves_a_state_waits_for_the_transaction_that_decides_its_messages(arena: Arena) -> None:
    """The lock alone suffices, also if the update did not compare the status."""
    await queue_due_messages(arena, 1)
    async with arena.database.transaction() as deciding:
        await subjects.lock_subjects(deciding, ["u_1"])
        leaving = asyncio.create_task(apply_step(arena.deps, await leaving_step(arena, "u_1")))

        async def waits() -> int:
            async with arena.database.reading() as connection:
                row = await fetch_one(connection, _WAITS)
                return int(row["n"]) if row else 0

        await until(waits)
        assert not leaving.done()
    await leaving
    assert await status_of(arena, "u_1") == {"withdrawn"}


async def test_C3_a_message_withdrawn_after_it_was_read_stays_withdrawn_without_an_outcome(arena: Arena) -> None:
    await queue_due_messages(arena, 1)
    async with arena.database.transaction() as deciding:
        (due,) = await messages_due.due_messages(deciding, "u_1", datetime.now(UTC))
        await leave_without_lock(arena, await leaving_step(arena, "u_1"))
        gate_pass, attempts = await decide_one(arena, deciding, due)
        assert (attempts, gate_pass.outcome(due)) == ([], None)
    assert await status_of(arena, "u_1") == {"withdrawn"}
    async with arena.database.reading() as connection:
        assert await fetch_all(connection, _INBOX) == []


async def decide_one(
    arena: Arena, connection: Connection, due: LedgerEntry
) -> tuple[evaluation.GatePass, list[LedgerEntry]]:
    gate_pass = evaluation.GatePass(arena.deps, connection, unlocked_subject("u_1"), None, datetime.now(UTC))
    await gate_pass.add(due)
    return gate_pass, await gate_pass.decide()
