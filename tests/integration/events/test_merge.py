"""A visitor turns out to be a known user, at any moment and however much has been delivered: what was theirs is the user's."""

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
from tests.support.live_stack import Living
from tests.support.worker_parts import relaying, worker, workless

LOOKING = """
journey: looking
entry: {on: looked, again: never}
exit: [{on: bought}]
start: around
states: {around: {on: {peeked: near}}, near: {}}
"""
AGAIN = """
journey: visits
entry: {on: opened, again: always}
exit: [{on: closed}]
topic: onboarding
start: inside
states: {inside: {on: {help_wanted: {do: [{task: call, sla: PT24H}]}}}}
"""


@pytest_asyncio.fixture
async def deps(database_url: str, temporal_address: str, task_queue: str, tmp_path: Path) -> AsyncIterator[Living]:
    """Nothing is delivered and nobody decides until a test says so."""
    async with workless(database_url, temporal_address, task_queue, tmp_path) as found:
        await found.publish(LOOKING)
        await found.publish(AGAIN)
        await found.accept(found.identify("ada", plan="team"))
        yield found


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


async def outcomes(deps: Living) -> list[tuple[str, str | None]]:
    found = await deps.rows("SELECT status, outcome FROM runs ORDER BY started_at, id")
    return [(row["status"], row["outcome"]) for row in found]


async def key_of(deps: Living, value: str) -> str:
    return str((await deps.rows("SELECT subject_key AS k FROM identities WHERE value = :value", value=value))[0]["k"])


async def test_U2_what_follows_a_sign_in_within_its_batch_reaches_the_visitors_run(deps: Living, calls: Calls) -> None:
    await deps.accept(calls.track("looked", anonymous_id="phone"))
    await deps.accept(calls.sign_in("phone"), calls.track("bought", user_id="ada"))
    async with worker(deps), relaying(deps):
        assert await deps.until("SELECT outcome FROM runs") == "exited"


async def test_U2_a_run_that_opens_and_is_merged_in_one_batch_lives_in_the_users_lane(
    deps: Living, calls: Calls
) -> None:
    await deps.accept(calls.track("looked", anonymous_id="phone"), calls.sign_in("phone"))
    lane = (await deps.rows("SELECT lane FROM runs"))[0]["lane"]
    assert lane == await key_of(deps, "ada")
    await deps.accept(calls.track("bought", anonymous_id="phone"))
    async with worker(deps), relaying(deps):
        assert await deps.until("SELECT outcome FROM runs") == "exited"


async def test_U2_what_was_not_delivered_before_a_merge_is_told_once_and_before_what_follows(
    deps: Living, calls: Calls
) -> None:
    await deps.accept(calls.track("looked", anonymous_id="phone"), calls.track("peeked", anonymous_id="phone"))
    await deps.accept(calls.sign_in("phone"))
    await deps.accept(calls.track("bought", user_id="ada"))
    async with worker(deps), relaying(deps):
        assert await deps.until("SELECT outcome FROM runs") == "exited"
    told = [row["text"] for row in await deps.rows("SELECT text FROM timeline ORDER BY step, n")]
    assert (told[0], told[-1], len(told)) == ("entered on looked", "left on bought", 4)
    assert (await deps.rows("SELECT state FROM runs"))[0]["state"] == "near"


async def test_U2_a_relay_that_died_before_its_commit_tells_nothing_twice_after_a_merge(
    deps: Living, calls: Calls
) -> None:
    await deps.accept(calls.track("opened", anonymous_id="phone"), calls.track("help_wanted", anonymous_id="phone"))
    async with worker(deps):
        async with relaying(deps):
            await deps.until("SELECT count(*) FROM tasks", lambda n: n == 1)
        await deps.accept(calls.sign_in("phone"))
        async with deps.database.transaction() as connection:
            await connection.execute("UPDATE outbox SET delivered_at = NULL")
        await deps.accept(calls.track("closed", user_id="ada"))
        async with relaying(deps):
            assert await deps.until("SELECT outcome FROM runs") == "exited"
    assert len(await deps.rows("SELECT 1 FROM tasks")) == 1


async def test_U2_every_open_run_of_a_lane_hears_also_beside_one_that_ended(deps: Living, calls: Calls) -> None:
    async with worker(deps), relaying(deps):
        await deps.accept(calls.track("looked", user_id="ada"), calls.track("bought", user_id="ada"))
        await deps.until("SELECT outcome FROM runs")
        await deps.accept(calls.track("looked", anonymous_id="phone"))
        await deps.accept(calls.sign_in("phone"))
        await deps.accept(calls.track("bought", user_id="ada"))
        assert await deps.until("SELECT count(*) FROM runs WHERE outcome = 'exited'", lambda n: n == 2)


async def test_U2_of_two_open_runs_the_users_stays_and_the_visitors_ends_as_merged(deps: Living, calls: Calls) -> None:
    await deps.accept(calls.track("opened", user_id="ada"))
    await deps.accept(calls.track("opened", anonymous_id="phone"))
    await deps.accept(calls.sign_in("phone"), calls.track("opened", user_id="ada"))
    async with worker(deps), relaying(deps):
        assert await deps.until("SELECT outcome FROM runs WHERE outcome IS NOT NULL") == "merged"
    assert await outcomes(deps) == [("open", None), ("closed", "merged")]


async def test_U2_a_users_run_that_has_ended_unheard_gives_way_to_the_visitors(deps: Living, calls: Calls) -> None:
    await deps.accept(calls.track("opened", user_id="ada"), calls.track("closed", user_id="ada"))
    await deps.accept(calls.track("opened", anonymous_id="phone"))
    await deps.accept(calls.sign_in("phone"))
    async with worker(deps), relaying(deps):
        await deps.until("SELECT outcome FROM runs WHERE outcome IS NOT NULL")
    assert await outcomes(deps) == [("closed", "exited"), ("open", None)]


async def test_U2_a_visitors_no_holds_after_they_sign_in(deps: Living, calls: Calls) -> None:
    await deps.accept(calls.track("opened", anonymous_id="phone"))
    ada, visitor = await key_of(deps, "ada"), await key_of(deps, "phone")
    for person, change in (
        (ada, ConsentChange("email", "news", True, "form")),
        (visitor, ConsentChange("*", "*", False, "link")),
    ):
        await change_consents(deps.database, deps.deps.catalogue, deps.deps.policy, person, [change])
    await deps.accept(calls.sign_in("phone"))
    said = await deps.rows("SELECT channel, granted FROM consents WHERE subject_key = :key ORDER BY 1", key=ada)
    assert [(row["channel"], row["granted"]) for row in said] == [("*", False), ("email", False)]


async def test_U2_what_the_gate_looks_at_comes_along_and_the_users_outreach_is_woken(
    deps: Living, calls: Calls
) -> None:
    await deps.accept(calls.track("opened", anonymous_id="phone"))
    ada, visitor = await key_of(deps, "ada"), await key_of(deps, "phone")
    async with deps.database.transaction() as connection:
        for number, status in enumerate(("sent", "deferred")):
            await connection.execute(
                "INSERT INTO messages (key, run, step, subject_key, recipient, journey, state, visit, action, template, via,"
                " priority, at, status, decided_at) SELECT $1, id, 1, lane, lane, journey, 'inside', 1, 'a', 't', '[]', 'l',"
                " now(), $2, now() FROM runs",
                str(number),
                status,
            )
        await connection.execute(
            "INSERT INTO tickets (subject_key, ticket_id, opened_at) VALUES ($1, 'T1', now())", visitor
        )
        await connection.execute(
            "INSERT INTO inbox (key, recipient, content, created_at) VALUES ('k', $1, '{}', now())", visitor
        )
        await connection.execute("UPDATE subjects SET decided_at = now() + interval '1 hour' WHERE key = $1", visitor)
    await deps.accept(calls.sign_in("phone"))
    for table, column in (("messages", "recipient"), ("inbox", "recipient")):
        found = await deps.rows(f"SELECT DISTINCT {column} AS who FROM {table}")
        assert [row["who"] for row in found] == [ada]
    assert await deps.rows("SELECT 1 FROM tickets WHERE subject_key = :key AND resolved_at IS NULL", key=ada)
    assert await deps.rows("SELECT 1 FROM outbox WHERE recipient = :key AND kind = 'wake'", key=ada)
    assert await deps.rows("SELECT 1 FROM subjects WHERE key = :key AND decided_at > now()", key=ada)


async def test_U2_the_account_of_a_visitor_becomes_the_users_if_they_have_none(deps: Living, calls: Calls) -> None:
    await deps.accept(InboundEvent("group", "g", "group", anonymous_id="phone", account_id="acme"))
    await deps.accept(calls.sign_in("phone"))
    found = await deps.rows("SELECT account_key FROM subjects WHERE key = :key", key=await key_of(deps, "ada"))
    assert found[0]["account_key"] == await key_of(deps, "acme")


async def test_nothing_happens_before_what_any_lane_it_enters_has_decided(deps: Living, calls: Calls) -> None:
    await deps.accept(InboundEvent("group", "g", "group", user_id="ada", account_id="acme"))
    decided, acme = datetime.now(UTC) - timedelta(minutes=10), await key_of(deps, "acme")
    async with deps.database.transaction() as connection:
        await subjects.decided_until(connection, [acme], decided)
    await deps.accept(calls.track("looked", at=decided - timedelta(minutes=50), user_id="ada"))
    assert (await deps.rows("SELECT at FROM events WHERE name = 'looked'"))[0]["at"] == decided


async def test_who_loses_a_deadlock_is_accepted_at_the_next_attempt(deps: Living, calls: Calls) -> None:
    await deps.accept(calls.track("looked", user_id="bob"))
    first, second = sorted([await key_of(deps, "ada"), await key_of(deps, "bob")])
    accepted: list[asyncio.Task[Any]] = []
    async with deps.database.transaction() as connection:
        await connection.execute("SET LOCAL deadlock_timeout = '20s'")
        await subjects.lock_subjects(connection, [second])
        both = [calls.track("opened", user_id=user) for user in ("ada", "bob")]
        accepted.append(asyncio.create_task(deps.accept(*both)))
        await deps.until("SELECT count(*) FROM pg_locks WHERE NOT granted", lambda n: n > 0)
        await subjects.lock_subjects(connection, [first])
    assert (await accepted[0]).accepted == 2
