"""Tasks: assignment, deadlines, escalation, and sharing by runs that request the same."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from journeys.decision.effects import ClosedTask, OpenedTask
from journeys.events.inbound import InboundEvent
from journeys.tasks.assignment import Roster
from journeys.tasks.team import read_team
from store.events.changes import close_task
from store.operations.closing import close_run
from store.reads.tasks import list_tasks
from store.runs import projection
from store.tasks import reassignment
from store.tasks import requests as task_requests
from tests.support.live_stack import LiveStack, live_stack
from worker.settings import ROOT

TEAM = """
owner: csm
zone: Europe/Berlin
hours: {mon-sun: "00:00-24:00"}
remind: PT30M
people:
  abe: {team: [success, turns, both]}
  bea: {team: [success, turns, both], hours: {mon-fri: "09:00-17:00"}, zone: America/New_York}
  cid: {team: [turns, both]}
  eve: {team: leads}
teams:
  success: {by: [owner, load]}
  turns: {by: round_robin}
  both: {by: [owner, round_robin]}
  leads: {by: load}
tasks:
  call: {outcomes: [reached, no_answer]}
"""
JOURNEY = """
journey: helping
entry: {on: help_wanted, again: always}
exit: [{on: account_closed}]
start: needed
states:
  needed:
    do: [{task: call, owner: success, within: %s, escalate: [leads]}]
    on: {call.closed: {to: done, when: event.outcome == "reached"}, setup_completed: done}
  done: {final: helped}
"""
TYPES = {"event.call.closed.outcome": "string"}


def roster() -> Roster:
    team, source = read_team(TEAM)
    assert team is not None, source.problems
    return Roster(team)


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """The shipped catalogue with this team."""
    made = Path(shutil.copytree(ROOT / "catalog", tmp_path / "catalog"))
    (made / "team.yaml").write_text(TEAM)
    return made


@pytest_asyncio.fixture
async def stack(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path, catalog: Path
) -> AsyncIterator[LiveStack]:
    async with live_stack(database_url, temporal_address, task_queue, tmp_path, catalog=catalog) as stack:
        yield stack


@pytest_asyncio.fixture
async def idle_stack(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path, catalog: Path
) -> AsyncIterator[LiveStack]:
    """A stack without a relay: the tests apply the effects of steps themselves."""
    async with live_stack(
        database_url, temporal_address, task_queue, tmp_path, catalog=catalog, relaying=False
    ) as idle_stack:
        yield idle_stack


def of_account(user: str, account: str, csm: str | None = None) -> InboundEvent:
    traits = {} if csm is None else {"csm": csm}
    return InboundEvent("group", f"g-{user}", "group", user_id=user, account_id=account, traits=traits)


async def the_task(stack: LiveStack, **where: Any) -> dict[str, Any]:
    async with stack.database.reading() as connection:
        (task,) = await list_tasks(connection, now=datetime.now(UTC), limit=10, **where)
    return task


async def wait_for_requests(stack: LiveStack, count: int = 1) -> None:
    await stack.until("SELECT count(*) FROM task_asks", lambda n: n == count)


async def close(stack: LiveStack, number: int, word: str) -> Any:
    return await close_task(
        stack.database, number, resolution=word, by="abe", note="", roster=roster(), now=datetime.now(UTC)
    )


# -- owners and deadlines ----------------------------------------------------------------------------------------------


async def test_C10_a_task_goes_to_the_accounts_owner_and_is_due_in_their_working_hours(stack: LiveStack) -> None:
    await stack.publish(JOURNEY % "PT4H", TYPES)
    await stack.accept(of_account("ann", "acme", "bea"), stack.track("ann", "help_wanted"))
    await wait_for_requests(stack)
    task = await the_task(stack)
    assert (task["owner"], task["team"], task["named"], task["why"]) == (
        "bea",
        "success",
        "success",
        "bea owns the account",
    )
    assert task["due_at"] == roster().due("bea", task["opened_at"], "PT4H")
    assert task["remind_at"] is not None
    assert task["opened_at"] <= task["remind_at"] < task["due_at"]
    due = await stack.until("SELECT next_due_at FROM runs")
    assert due == task["due_at"], "the run's own timer is due then"


async def test_C10_an_overdue_task_is_escalated_to_a_person_of_the_next_team(stack: LiveStack) -> None:
    await stack.publish(JOURNEY % "PT1S", TYPES)
    await stack.accept(of_account("ann", "acme", "abe"), stack.track("ann", "help_wanted"))
    await stack.until("SELECT level FROM tasks")
    task = await the_task(stack)
    assert (task["owner"], task["level"], task["team"]) == ("eve", 1, "leads")
    log = await stack.rows("SELECT kind, by, text FROM task_log ORDER BY id")
    assert [line["kind"] for line in log] == ["opened", "escalated"]
    assert log[1]["text"].startswith("overdue with abe, so it goes to eve")


async def test_C10_snoozing_a_task_moves_its_deadline_reminder_and_timer(stack: LiveStack) -> None:
    await stack.publish(JOURNEY % "PT4H", TYPES)
    await stack.accept(of_account("ann", "acme", "abe"), stack.track("ann", "help_wanted"))
    await wait_for_requests(stack)
    before = await the_task(stack)
    later = datetime.now(UTC) + timedelta(days=2)
    await reassignment.snooze_task(
        stack.database, before["id"], until=later, by="abe", why="on a fair", roster=roster(), now=datetime.now(UTC)
    )
    task = await the_task(stack)
    assert task["snoozed_until"] == later
    assert timedelta(hours=3, minutes=59) < task["due_at"] - later <= timedelta(hours=4)
    assert task["remind_at"] == task["due_at"] - timedelta(minutes=30)
    await stack.until("SELECT next_due_at FROM runs", lambda due: due == task["due_at"])


async def test_C10_a_new_owner_gets_the_remaining_working_time_in_their_own_hours(stack: LiveStack) -> None:
    await stack.publish(JOURNEY % "PT4H", TYPES)
    await stack.accept(of_account("ann", "acme", "abe"), stack.track("ann", "help_wanted"))
    await wait_for_requests(stack)
    number = (await the_task(stack))["id"]
    await reassignment.reassign_task(
        stack.database, number, to="bea", by="eve", why="abe is ill", roster=roster(), now=datetime.now(UTC)
    )
    task = await the_task(stack)
    assert (task["owner"], task["why"], task["level"]) == ("bea", "by eve: abe is ill", 0)
    (line,) = await stack.rows("SELECT at, by, text FROM task_log WHERE kind = 'assigned'")
    assert (line["by"], line["text"]) == ("eve", "from abe to bea: abe is ill")
    left = task["opened_at"] + timedelta(hours=4) - line["at"]
    assert roster().hours("bea").between(line["at"], task["due_at"]) == left
    await stack.until("SELECT next_due_at FROM runs", lambda due: due == task["due_at"])


async def test_C10_concurrent_tasks_are_assigned_round_robin(idle_stack: LiveStack) -> None:
    """Thirty concurrent transactions: each reads whose turn it is under one lock."""
    await idle_stack.publish(JOURNEY % "PT4H", TYPES)
    rows = await open_runs(idle_stack, 30, lambda n: f"account-{n}")
    await asyncio.gather(*(request_task(idle_stack, row, owner="turns") for row in rows))
    assigned = await idle_stack.rows("SELECT owner FROM tasks")
    assert Counter(task["owner"] for task in assigned) == {"abe": 10, "bea": 10, "cid": 10}


async def test_C10_a_task_for_the_account_owner_uses_no_round_robin_turn(idle_stack: LiveStack) -> None:
    await idle_stack.publish(JOURNEY % "PT4H", TYPES)
    await idle_stack.accept(*(of_account(f"p{n}", f"account-{n}", "cid" if n % 2 else None) for n in range(12)))
    await idle_stack.accept(*(idle_stack.track(f"p{n}", "help_wanted") for n in range(12)))
    for item in await idle_stack.rows(
        "SELECT r.id FROM runs r JOIN identities i ON i.subject_key = r.lane ORDER BY i.value"
    ):
        async with idle_stack.database.reading() as connection:
            row = await projection.read_run(connection, item["id"])
        await request_task(idle_stack, row, owner="both")
    rows = await idle_stack.rows("SELECT owner FROM tasks WHERE why NOT LIKE '%cid owns the account%' ORDER BY id")
    assert [item["owner"] for item in rows] == ["abe", "bea", "cid"] * 2


# -- one open task for each account and reason -------------------------------------------------------------------------


async def open_runs(stack: LiveStack, count: int, account: Any) -> list[projection.Run]:
    """Open a run for each of `count` people; the runs."""
    people = [f"p{n}" for n in range(count)]
    await stack.accept(*(of_account(person, account(n)) for n, person in enumerate(people)))
    await stack.accept(*(stack.track(person, "help_wanted") for person in people))
    async with stack.database.reading() as connection:
        return [
            await projection.read_run(connection, item["id"])
            for item in await stack.rows("SELECT id FROM runs ORDER BY id")
        ]


def task_effect(owner: str = "success", task: str = "call", state: str = "needed") -> OpenedTask:
    return OpenedTask("call", task, owner, state, 1, 1, datetime.now(UTC), within="PT4H")


async def request_task(stack: LiveStack, row: projection.Run, **terms: str) -> None:
    async with stack.database.transaction() as connection:
        await task_requests.apply_task_effect(connection, row, task_effect(**terms), roster())


async def test_C10_fifty_concurrent_requests_share_one_task_and_all_get_its_outcome(idle_stack: LiveStack) -> None:
    """None of them holds the account's lock: the unique index prevents a second task."""
    await idle_stack.publish(JOURNEY % "PT4H", TYPES)
    rows = await open_runs(idle_stack, 50, lambda _: "acme")
    await asyncio.gather(*(request_task(idle_stack, row) for row in rows))
    task = await the_task(idle_stack)
    assert {request["run"] for request in task["asked_by"]} == {row.id for row in rows}
    done, closed = await close(idle_stack, task["id"], "reached")
    assert (done, closed["status"], {request["status"] for request in closed["asked_by"]}) == (
        True,
        "closed",
        {"closed"},
    )
    rows_told = await idle_stack.rows("SELECT target FROM outbox WHERE name = 'call.closed'")
    assert sorted(item["target"] for item in rows_told) == sorted(row.id for row in rows)


async def test_a_request_applied_twice_is_stored_once(idle_stack: LiveStack) -> None:
    await idle_stack.publish(JOURNEY % "PT4H", TYPES)
    (row,) = await open_runs(idle_stack, 1, lambda _: "acme")
    for _ in range(2):
        await request_task(idle_stack, row)
    assert len((await the_task(idle_stack))["asked_by"]) == 1


async def test_another_account_another_reason_or_a_closed_task_opens_a_new_task(idle_stack: LiveStack) -> None:
    await idle_stack.publish(JOURNEY % "PT4H", TYPES)
    rows = await open_runs(idle_stack, 3, lambda n: f"account-{n // 2}")
    shared_account = Counter(row.account_key for row in rows).most_common(1)[0][0]
    first, second = (row for row in rows if row.account_key == shared_account)
    (other,) = (row for row in rows if row.account_key != shared_account)
    await request_task(idle_stack, first)
    await request_task(idle_stack, other)
    await request_task(idle_stack, second, task="visit")
    numbers = [item["id"] for item in await idle_stack.rows("SELECT id FROM tasks ORDER BY id")]
    assert len(numbers) == 3
    await close(idle_stack, numbers[0], "reached")
    await request_task(idle_stack, second, state="again")
    requests = await idle_stack.rows("SELECT run, task_id FROM task_asks ORDER BY task_id")
    assert [(item["run"], item["task_id"]) for item in requests] == [
        (first.id, numbers[0]), (other.id, numbers[1]), (second.id, numbers[2]), (second.id, max(request["task_id"] for request in requests)),
    ]  # fmt: skip
    assert len({item["task_id"] for item in requests}) == 4


async def test_C10_a_shared_task_is_withdrawn_when_its_last_requesting_run_ends(stack: LiveStack) -> None:
    await stack.publish(JOURNEY % "PT4H", TYPES)
    await stack.accept(of_account("ann", "acme"), of_account("ben", "acme"))
    await stack.accept(stack.track("ann", "help_wanted"), stack.track("ben", "help_wanted"))
    await wait_for_requests(stack, 2)
    await stack.accept(stack.track("ann", "setup_completed"))
    await stack.until("SELECT count(*) FROM task_asks WHERE status = 'withdrawn'", lambda n: n == 1)
    assert (await the_task(stack))["status"] == "open"
    await stack.accept(stack.track("ben", "account_closed"))
    await stack.until("SELECT status FROM tasks", lambda status: status == "withdrawn")
    assert (await the_task(stack))["resolution"] == "left on account_closed"


async def test_C10_both_runs_move_when_the_shared_task_is_closed(stack: LiveStack) -> None:
    await stack.publish(JOURNEY % "PT4H", TYPES)
    await stack.accept(of_account("ann", "acme"), of_account("ben", "acme"))
    await stack.accept(stack.track("ann", "help_wanted"), stack.track("ben", "help_wanted"))
    await wait_for_requests(stack, 2)
    await close(stack, (await the_task(stack))["id"], "reached")
    await stack.until("SELECT count(*) FROM runs WHERE outcome = 'helped'", lambda n: n == 2)


async def test_a_shared_task_is_withdrawn_when_all_its_requests_are_withdrawn_at_once(idle_stack: LiveStack) -> None:
    await idle_stack.publish(JOURNEY % "PT4H", TYPES)
    rows = await open_runs(idle_stack, 8, lambda _: "acme")
    for row in rows:
        await request_task(idle_stack, row)

    async def leave(row: projection.Run) -> None:
        async with idle_stack.database.transaction() as connection:
            await task_requests.apply_task_effect(
                connection, row, ClosedTask("call", "enough", datetime.now(UTC)), roster()
            )

    await asyncio.gather(*(leave(row) for row in rows))
    task = await the_task(idle_stack)
    assert (task["status"], task["resolution"]) == ("withdrawn", "enough")


async def test_a_run_closed_by_reconciliation_withdraws_its_request_for_a_task(idle_stack: LiveStack) -> None:
    await idle_stack.publish(JOURNEY % "PT4H", TYPES)
    first, second = await open_runs(idle_stack, 2, lambda _: "acme")
    await request_task(idle_stack, first)
    await request_task(idle_stack, second)
    for row, status in ((first, "open"), (second, "withdrawn")):
        async with idle_stack.database.transaction() as connection:
            assert await close_run(connection, row.id, "terminated", "terminated by hand")
        assert (await the_task(idle_stack))["status"] == status


async def test_U2_a_visitors_task_becomes_the_users_and_duplicates_are_merged(idle_stack: LiveStack) -> None:
    await idle_stack.publish(JOURNEY % "PT4H", TYPES)
    visitor = InboundEvent("track", "v1", "help_wanted", anonymous_id="visitor")
    await idle_stack.accept(idle_stack.identify("ada"), visitor, idle_stack.track("ada", "help_wanted"))
    async with idle_stack.database.reading() as connection:
        rows = [
            await projection.read_run(connection, item["id"]) for item in await idle_stack.rows("SELECT id FROM runs")
        ]
    for row in rows:
        await request_task(idle_stack, row)
    assert len(await idle_stack.rows("SELECT 1 FROM tasks WHERE status = 'open'")) == 2
    await idle_stack.accept(InboundEvent("identify", "v2", "identify", user_id="ada", anonymous_id="visitor"))
    task = await the_task(idle_stack, status="open")
    assert {request["run"] for request in task["asked_by"]} == {row.id for row in rows}
    assert (await the_task(idle_stack, status="withdrawn"))["resolution"] == f"duplicate of task {task['id']}"


async def test_every_request_that_races_with_closing_gets_the_outcome_or_a_new_task(idle_stack: LiveStack) -> None:
    """A request that joins in time gets the outcome; a later one opens a new task."""
    await idle_stack.publish(JOURNEY % "PT4H", TYPES)
    first, *others = await open_runs(idle_stack, 20, lambda _: "acme")
    await request_task(idle_stack, first)
    number = (await the_task(idle_stack))["id"]
    await asyncio.gather(close(idle_stack, number, "reached"), *(request_task(idle_stack, row) for row in others))
    informed = {
        item["target"] for item in await idle_stack.rows("SELECT target FROM outbox WHERE name = 'call.closed'")
    }
    waiting = await idle_stack.rows("SELECT a.run, t.status FROM task_asks a JOIN tasks t ON t.id = a.task_id WHERE a.status = 'open'")  # fmt: skip
    assert {item["status"] for item in waiting} <= {"open"}
    assert informed | {item["run"] for item in waiting} == {row.id for row in (first, *others)}
    assert not informed & {item["run"] for item in waiting}
