"""Merging a visitor into a known user, at any moment: what belonged to the visitor belongs to the user (U2)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest_asyncio

from journeys.consent.changes import ConsentChange
from journeys.events.inbound import InboundEvent
from store.events.changes import change_consents
from store.people import subjects
from tests.support.live_stack import LiveStack
from tests.support.worker_parts import running_relay, stack_without_workers, worker

LOOKING = """
journey: looking
entry: {on: looked, again: never}
exit: [{on: bought}]
start: around
states: {around: {on: {peeked: near}}, near: {}}
"""
VISITS = """
journey: visits
entry: {on: opened, again: always}
exit: [{on: closed}]
topic: onboarding
start: inside
states: {inside: {on: {help_wanted: {do: [{task: call, sla: PT24H}]}}}}
"""


@pytest_asyncio.fixture
async def stack(database_url: str, temporal_address: str, task_queue: str, tmp_path: Path) -> AsyncIterator[LiveStack]:
    """A stack without relay and worker: each test starts them."""
    async with stack_without_workers(database_url, temporal_address, task_queue, tmp_path) as stack:
        await stack.publish(LOOKING)
        await stack.publish(VISITS)
        await stack.accept(stack.identify("ada", plan="team"))
        yield stack


class Calls:
    def __init__(self) -> None:
        self.count = 0

    def track(self, name: str, at: datetime | None = None, **who: Any) -> InboundEvent:
        self.count += 1
        return InboundEvent("track", f"t{self.count}", name, timestamp=at, **who)

    def sign_in(self, visitor: str, user: str = "ada") -> InboundEvent:
        self.count += 1
        return InboundEvent("identify", f"t{self.count}", "identify", user_id=user, anonymous_id=visitor)


@pytest_asyncio.fixture
async def calls() -> Calls:
    return Calls()


async def outcomes(stack: LiveStack) -> list[tuple[str, str | None]]:
    rows = await stack.rows("SELECT status, outcome FROM runs ORDER BY started_at, id")
    return [(row["status"], row["outcome"]) for row in rows]


async def key_of(stack: LiveStack, value: str) -> str:
    return str((await stack.rows("SELECT subject_key AS k FROM identities WHERE value = :value", value=value))[0]["k"])


async def test_U2_an_event_after_the_sign_in_of_its_batch_reaches_the_visitors_run(
    stack: LiveStack, calls: Calls
) -> None:
    await stack.accept(calls.track("looked", anonymous_id="phone"))
    await stack.accept(calls.sign_in("phone"), calls.track("bought", user_id="ada"))
    async with worker(stack), running_relay(stack):
        assert await stack.until("SELECT outcome FROM runs") == "exited"


async def test_U2_a_run_opened_and_merged_in_one_batch_is_in_the_users_lane(stack: LiveStack, calls: Calls) -> None:
    await stack.accept(calls.track("looked", anonymous_id="phone"), calls.sign_in("phone"))
    lane = (await stack.rows("SELECT lane FROM runs"))[0]["lane"]
    assert lane == await key_of(stack, "ada")
    await stack.accept(calls.track("bought", anonymous_id="phone"))
    async with worker(stack), running_relay(stack):
        assert await stack.until("SELECT outcome FROM runs") == "exited"


async def test_U2_signals_undelivered_before_a_merge_arrive_once_and_before_later_ones(
    stack: LiveStack, calls: Calls
) -> None:
    await stack.accept(calls.track("looked", anonymous_id="phone"), calls.track("peeked", anonymous_id="phone"))
    await stack.accept(calls.sign_in("phone"))
    await stack.accept(calls.track("bought", user_id="ada"))
    async with worker(stack), running_relay(stack):
        assert await stack.until("SELECT outcome FROM runs") == "exited"
    lines = [row["text"] for row in await stack.rows("SELECT text FROM timeline ORDER BY step, n")]
    assert (lines[0], lines[-1], len(lines)) == ("entered on looked", "left on bought", 4)
    assert (await stack.rows("SELECT state FROM runs"))[0]["state"] == "near"


async def test_U2_a_relay_that_died_before_its_commit_doubles_no_signal_after_a_merge(
    stack: LiveStack, calls: Calls
) -> None:
    await stack.accept(calls.track("opened", anonymous_id="phone"), calls.track("help_wanted", anonymous_id="phone"))
    async with worker(stack):
        async with running_relay(stack):
            await stack.until("SELECT count(*) FROM tasks", lambda n: n == 1)
        await stack.accept(calls.sign_in("phone"))
        async with stack.database.transaction() as connection:
            await connection.execute("UPDATE outbox SET delivered_at = NULL")
        await stack.accept(calls.track("closed", user_id="ada"))
        async with running_relay(stack):
            assert await stack.until("SELECT outcome FROM runs") == "exited"
    assert len(await stack.rows("SELECT 1 FROM tasks")) == 1


async def test_U2_an_open_run_gets_signals_beside_an_ended_run_of_its_lane(stack: LiveStack, calls: Calls) -> None:
    async with worker(stack), running_relay(stack):
        await stack.accept(calls.track("opened", user_id="ada"), calls.track("closed", user_id="ada"))
        await stack.until("SELECT outcome FROM runs")
        await stack.accept(calls.track("opened", anonymous_id="phone"))
        await stack.accept(calls.sign_in("phone"))
        await stack.accept(calls.track("closed", user_id="ada"))
        assert await stack.until("SELECT count(*) FROM runs WHERE outcome = 'exited'", lambda n: n == 2)


async def test_U2_the_users_open_run_stays_and_the_visitors_ends_as_merged(stack: LiveStack, calls: Calls) -> None:
    await stack.accept(calls.track("opened", user_id="ada"))
    await stack.accept(calls.track("opened", anonymous_id="phone"))
    await stack.accept(calls.sign_in("phone"), calls.track("opened", user_id="ada"))
    async with worker(stack), running_relay(stack):
        assert await stack.until("SELECT outcome FROM runs WHERE outcome IS NOT NULL") == "merged"
    assert await outcomes(stack) == [("open", None), ("closed", "merged")]


async def test_U2_the_visitors_run_stays_when_the_users_run_has_an_undelivered_exit(
    stack: LiveStack, calls: Calls
) -> None:
    await stack.accept(calls.track("opened", user_id="ada"), calls.track("closed", user_id="ada"))
    await stack.accept(calls.track("opened", anonymous_id="phone"))
    await stack.accept(calls.sign_in("phone"))
    async with worker(stack), running_relay(stack):
        await stack.until("SELECT outcome FROM runs WHERE outcome IS NOT NULL")
    assert await outcomes(stack) == [("closed", "exited"), ("open", None)]


async def test_U2_a_visitors_opt_out_holds_after_they_sign_in(stack: LiveStack, calls: Calls) -> None:
    await stack.accept(calls.track("opened", anonymous_id="phone"))
    ada, visitor = await key_of(stack, "ada"), await key_of(stack, "phone")
    for person, change in (
        (ada, ConsentChange("email", "news", True, "form")),
        (visitor, ConsentChange("*", "*", False, "link")),
    ):
        await change_consents(stack.database, stack.deps.catalogue, stack.deps.policy, person, [change])
    await stack.accept(calls.sign_in("phone"))
    consents = await stack.rows("SELECT channel, granted FROM consents WHERE subject_key = :key ORDER BY 1", key=ada)
    assert [(row["channel"], row["granted"]) for row in consents] == [("*", False), ("email", False)]


async def test_U2_a_merge_moves_messages_tickets_and_inbox_and_wakes_the_users_outreach(
    stack: LiveStack, calls: Calls
) -> None:
    await stack.accept(calls.track("opened", anonymous_id="phone"))
    ada, visitor = await key_of(stack, "ada"), await key_of(stack, "phone")
    async with stack.database.transaction() as connection:
        for number, status in enumerate(("sent", "deferred")):
            await connection.execute(
                "INSERT INTO messages (key, run, step, subject_key, recipient, journey, state, visit, action, template, via,"
                " priority, at, status, decided_at) SELECT $1, id, 1, lane, lane, journey, 'inside', 1, 'a', 't', '[]', 'l',"
                " now(), $2, now() FROM runs",
                str(number),
                status,
            )
        await connection.execute(
            "INSERT INTO tickets (subject_key, ticket_id, opened_at, ends_at) VALUES ($1, 'T1', now(), 'infinity')",
            visitor,
        )
        await connection.execute(
            "INSERT INTO inbox (key, recipient, content, created_at) VALUES ('k', $1, '{}', now())", visitor
        )
        await connection.execute("UPDATE subjects SET decided_at = now() + interval '1 hour' WHERE key = $1", visitor)
    await stack.accept(calls.sign_in("phone"))
    for table, column in (("messages", "recipient"), ("inbox", "recipient")):
        rows = await stack.rows(f"SELECT DISTINCT {column} AS who FROM {table}")
        assert [row["who"] for row in rows] == [ada]
    assert await stack.rows("SELECT 1 FROM tickets WHERE subject_key = :key AND resolved_at IS NULL", key=ada)
    assert await stack.rows("SELECT 1 FROM outbox WHERE recipient = :key AND kind = 'wake'", key=ada)
    assert await stack.rows("SELECT 1 FROM subjects WHERE key = :key AND decided_at > now()", key=ada)


async def test_U2_the_account_of_a_visitor_becomes_the_users_if_they_have_none(stack: LiveStack, calls: Calls) -> None:
    await stack.accept(InboundEvent("group", "g", "group", anonymous_id="phone", account_id="acme"))
    await stack.accept(calls.sign_in("phone"))
    rows = await stack.rows("SELECT account_key FROM subjects WHERE key = :key", key=await key_of(stack, "ada"))
    assert rows[0]["account_key"] == await key_of(stack, "acme")


async def test_an_event_is_dated_no_earlier_than_the_last_decision_of_its_lanes(stack: LiveStack, calls: Calls) -> None:
    await stack.accept(InboundEvent("group", "g", "group", user_id="ada", account_id="acme"))
    decided, acme = datetime.now(UTC) - timedelta(minutes=10), await key_of(stack, "acme")
    async with stack.database.transaction() as connection:
        await subjects.decided_until(connection, [acme], decided)
    await stack.accept(calls.track("looked", at=decided - timedelta(minutes=50), user_id="ada"))
    assert (await stack.rows("SELECT at FROM events WHERE name = 'looked'"))[0]["at"] == decided


async def test_a_batch_that_loses_a_deadlock_is_accepted_at_the_next_attempt(stack: LiveStack, calls: Calls) -> None:
    await stack.accept(calls.track("looked", user_id="bob"))
    first, second = sorted([await key_of(stack, "ada"), await key_of(stack, "bob")])
    accepted: list[asyncio.Task[Any]] = []
    async with stack.database.transaction() as connection:
        await connection.execute("SET LOCAL deadlock_timeout = '20s'")
        await subjects.lock_subjects(connection, [second])
        both = [calls.track("opened", user_id=user) for user in ("ada", "bob")]
        accepted.append(asyncio.create_task(stack.accept(*both)))
        await stack.until("SELECT count(*) FROM pg_locks WHERE NOT granted", lambda n: n > 0)
        await subjects.lock_subjects(connection, [first])
    assert (await accepted[0]).accepted == 2


async def test_A8_a_person_who_has_had_a_journey_that_may_be_entered_once_does_not_go_on_with_it_as_the_visitor(
    stack: LiveStack, calls: Calls
) -> None:
    async with running_relay(stack), worker(stack):
        await stack.accept(calls.track("looked", user_id="ada"))
        await stack.accept(calls.track("bought", user_id="ada"))
        await stack.until("SELECT outcome FROM runs")
        await stack.accept(calls.track("looked", anonymous_id="v1"))
        await stack.accept(calls.sign_in("v1"))
        await stack.until("SELECT count(*) FROM runs WHERE outcome = 'merged'", lambda n: n == 1)


async def test_A8_where_a_journey_may_always_be_entered_again_the_visitors_run_goes_on(
    stack: LiveStack, calls: Calls
) -> None:
    async with running_relay(stack), worker(stack):
        await stack.accept(calls.track("opened", user_id="ada"))
        await stack.accept(calls.track("closed", user_id="ada"))
        await stack.until("SELECT outcome FROM runs")
        await stack.accept(calls.track("opened", anonymous_id="v1"))
        await stack.accept(calls.sign_in("v1"))
        await stack.accept(calls.track("closed", user_id="ada"))
        await stack.until("SELECT count(*) FROM runs WHERE outcome = 'exited'", lambda n: n == 2)
