"""Tasks find their person and their deadline, are shared by those who ask for the same, and end when nobody asks any more."""

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
from store.operations import reconciliation
from store.reads.tasks import list_tasks
from store.runs import projection
from store.tasks import reassignment
from store.tasks import requests as task_requests
from tests.support.live_stack import Living, living
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
    """The shipped catalogue with people in it."""
    made = Path(shutil.copytree(ROOT / "catalog", tmp_path / "catalog"))
    (made / "team.yaml").write_text(TEAM)
    return made


@pytest_asyncio.fixture
async def deps(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path, catalog: Path
) -> AsyncIterator[Living]:
    async with living(database_url, temporal_address, task_queue, tmp_path, catalog=catalog) as found:
        yield found


@pytest_asyncio.fixture
async def still(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path, catalog: Path
) -> AsyncIterator[Living]:
    """Nothing is delivered: what a step would do is done by hand."""
    async with living(database_url, temporal_address, task_queue, tmp_path, catalog=catalog, relaying=False) as found:
        yield found


def of_account(user: str, account: str, csm: str | None = None) -> InboundEvent:
    traits = {} if csm is None else {"csm": csm}
    return InboundEvent("group", f"g-{user}", "group", user_id=user, account_id=account, traits=traits)


async def the_task(deps: Living, **where: Any) -> dict[str, Any]:
    async with deps.database.reading() as connection:
        (found,) = await list_tasks(connection, now=datetime.now(UTC), limit=10, **where)
    return found


async def opened(deps: Living, count: int = 1) -> None:
    await deps.until("SELECT count(*) FROM task_asks", lambda n: n == count)


async def close(deps: Living, number: int, word: str) -> Any:
    return await close_task(
        deps.database, number, resolution=word, by="abe", note="", roster=roster(), now=datetime.now(UTC)
    )


# -- who and until when ------------------------------------------------------------------------------------------------


async def test_C10_a_task_goes_to_the_accounts_owner_and_is_due_in_their_working_hours(deps: Living) -> None:
    await deps.publish(JOURNEY % "PT4H", TYPES)
    await deps.accept(of_account("ann", "acme", "bea"), deps.track("ann", "help_wanted"))
    await opened(deps)
    task = await the_task(deps)
    assert (task["owner"], task["team"], task["named"], task["why"]) == (
        "bea",
        "success",
        "success",
        "bea owns the account",
    )
    assert task["due_at"] == roster().due("bea", task["opened_at"], "PT4H")
    assert task["remind_at"] is not None
    assert task["opened_at"] <= task["remind_at"] < task["due_at"]
    due = await deps.until("SELECT next_due_at FROM runs")
    assert due == task["due_at"], "the run's own timer rings then"


async def test_C10_what_is_not_done_in_time_is_escalated_and_finds_a_person_there_too(deps: Living) -> None:
    await deps.publish(JOURNEY % "PT1S", TYPES)
    await deps.accept(of_account("ann", "acme", "abe"), deps.track("ann", "help_wanted"))
    await deps.until("SELECT level FROM tasks")
    task = await the_task(deps)
    assert (task["owner"], task["level"], task["team"]) == ("eve", 1, "leads")
    log = await deps.rows("SELECT kind, by, text FROM task_log ORDER BY id")
    assert [line["kind"] for line in log] == ["opened", "escalated"]
    assert log[1]["text"].startswith("overdue with abe, so it goes to eve")


async def test_C10_a_task_that_is_put_off_rings_later(deps: Living) -> None:
    await deps.publish(JOURNEY % "PT4H", TYPES)
    await deps.accept(of_account("ann", "acme", "abe"), deps.track("ann", "help_wanted"))
    await opened(deps)
    before = await the_task(deps)
    later = datetime.now(UTC) + timedelta(days=2)
    await reassignment.snooze_task(
        deps.database, before["id"], until=later, by="abe", why="on a fair", roster=roster(), now=datetime.now(UTC)
    )
    task = await the_task(deps)
    assert task["snoozed_until"] == later
    assert timedelta(hours=3, minutes=59) < task["due_at"] - later <= timedelta(hours=4)
    assert task["remind_at"] == task["due_at"] - timedelta(minutes=30)
    await deps.until("SELECT next_due_at FROM runs", lambda due: due == task["due_at"])


async def test_C10_who_takes_over_has_the_working_time_that_was_left_in_their_own_hours(deps: Living) -> None:
    await deps.publish(JOURNEY % "PT4H", TYPES)
    await deps.accept(of_account("ann", "acme", "abe"), deps.track("ann", "help_wanted"))
    await opened(deps)
    number = (await the_task(deps))["id"]
    await reassignment.reassign_task(
        deps.database, number, to="bea", by="eve", why="abe is ill", roster=roster(), now=datetime.now(UTC)
    )
    task = await the_task(deps)
    assert (task["owner"], task["why"], task["level"]) == ("bea", "by eve: abe is ill", 0)
    (line,) = await deps.rows("SELECT at, by, text FROM task_log WHERE kind = 'assigned'")
    assert (line["by"], line["text"]) == ("eve", "from abe to bea: abe is ill")
    left = task["opened_at"] + timedelta(hours=4) - line["at"]
    assert roster().hours("bea").between(line["at"], task["due_at"]) == left
    await deps.until("SELECT next_due_at FROM runs", lambda due: due == task["due_at"])


async def test_C10_tasks_that_come_at_once_are_dealt_in_turn(still: Living) -> None:
    """Thirty transactions side by side: each reads whose turn it is under one lock."""
    await still.publish(JOURNEY % "PT4H", TYPES)
    rows = await asking(still, 30, lambda n: f"account-{n}")
    await asyncio.gather(*(ask(still, row, owner="turns") for row in rows))
    found = await still.rows("SELECT owner FROM tasks")
    assert Counter(item["owner"] for item in found) == {"abe": 10, "bea": 10, "cid": 10}


async def test_C10_a_task_of_the_accounts_owner_takes_nobodys_turn(still: Living) -> None:
    await still.publish(JOURNEY % "PT4H", TYPES)
    await still.accept(*(of_account(f"p{n}", f"account-{n}", "cid" if n % 2 else None) for n in range(12)))
    await still.accept(*(still.track(f"p{n}", "help_wanted") for n in range(12)))
    for item in await still.rows(
        "SELECT r.id FROM runs r JOIN identities i ON i.subject_key = r.lane ORDER BY i.value"
    ):
        async with still.database.reading() as connection:
            row = await projection.read_run(connection, item["id"])
        await ask(still, row, owner="both")
    found = await still.rows("SELECT owner FROM tasks WHERE why NOT LIKE '%cid owns the account%' ORDER BY id")
    assert [item["owner"] for item in found] == ["abe", "bea", "cid"] * 2


# -- one open task for each account and reason -------------------------------------------------------------------------


async def asking(deps: Living, count: int, account: Any) -> list[projection.Run]:
    """Open runs of as many people."""
    people = [f"p{n}" for n in range(count)]
    await deps.accept(*(of_account(person, account(n)) for n, person in enumerate(people)))
    await deps.accept(*(deps.track(person, "help_wanted") for person in people))
    async with deps.database.reading() as connection:
        return [
            await projection.read_run(connection, item["id"])
            for item in await deps.rows("SELECT id FROM runs ORDER BY id")
        ]


def effect(owner: str = "success", task: str = "call", state: str = "needed") -> OpenedTask:
    return OpenedTask("call", task, owner, state, 1, 1, datetime.now(UTC), within="PT4H")


async def ask(deps: Living, row: projection.Run, **terms: str) -> None:
    async with deps.database.transaction() as connection:
        await task_requests.apply_task_effect(connection, row, effect(**terms), roster())


async def test_C10_fifty_who_ask_at_once_share_one_task_and_all_hear_how_it_ended(still: Living) -> None:
    """None of them holds the account's lock: it is the unique index that makes it one."""
    await still.publish(JOURNEY % "PT4H", TYPES)
    rows = await asking(still, 50, lambda _: "acme")
    await asyncio.gather(*(ask(still, row) for row in rows))
    task = await the_task(still)
    assert {each["run"] for each in task["asked_by"]} == {row.id for row in rows}
    done, closed = await close(still, task["id"], "reached")
    assert (done, closed["status"], {each["status"] for each in closed["asked_by"]}) == (True, "closed", {"closed"})
    told = await still.rows("SELECT target FROM outbox WHERE name = 'call.closed'")
    assert sorted(item["target"] for item in told) == sorted(row.id for row in rows)


async def test_an_ask_that_is_applied_again_asks_once(still: Living) -> None:
    await still.publish(JOURNEY % "PT4H", TYPES)
    (row,) = await asking(still, 1, lambda _: "acme")
    for _ in range(2):
        await ask(still, row)
    assert len((await the_task(still))["asked_by"]) == 1


async def test_another_account_another_reason_or_a_closed_task_is_another_task(still: Living) -> None:
    await still.publish(JOURNEY % "PT4H", TYPES)
    rows = await asking(still, 3, lambda n: f"account-{n // 2}")
    together = Counter(row.account_key for row in rows).most_common(1)[0][0]
    first, second = (row for row in rows if row.account_key == together)
    (other,) = (row for row in rows if row.account_key != together)
    await ask(still, first)
    await ask(still, other)
    await ask(still, second, task="visit")
    numbers = [item["id"] for item in await still.rows("SELECT id FROM tasks ORDER BY id")]
    assert len(numbers) == 3
    await close(still, numbers[0], "reached")
    await ask(still, second, state="again")
    found = await still.rows("SELECT run, task_id FROM task_asks ORDER BY task_id")
    assert [(item["run"], item["task_id"]) for item in found] == [
        (first.id, numbers[0]), (other.id, numbers[1]), (second.id, numbers[2]), (second.id, max(each["task_id"] for each in found)),
    ]  # fmt: skip
    assert len({item["task_id"] for item in found}) == 4


async def test_C10_a_shared_task_ends_when_the_last_run_that_asked_has_ended(deps: Living) -> None:
    await deps.publish(JOURNEY % "PT4H", TYPES)
    await deps.accept(of_account("ann", "acme"), of_account("ben", "acme"))
    await deps.accept(deps.track("ann", "help_wanted"), deps.track("ben", "help_wanted"))
    await opened(deps, 2)
    await deps.accept(deps.track("ann", "setup_completed"))
    await deps.until("SELECT count(*) FROM task_asks WHERE status = 'withdrawn'", lambda n: n == 1)
    assert (await the_task(deps))["status"] == "open"
    await deps.accept(deps.track("ben", "account_closed"))
    await deps.until("SELECT status FROM tasks", lambda status: status == "withdrawn")
    assert (await the_task(deps))["resolution"] == "left on account_closed"


async def test_C10_both_runs_move_when_the_shared_task_is_closed(deps: Living) -> None:
    await deps.publish(JOURNEY % "PT4H", TYPES)
    await deps.accept(of_account("ann", "acme"), of_account("ben", "acme"))
    await deps.accept(deps.track("ann", "help_wanted"), deps.track("ben", "help_wanted"))
    await opened(deps, 2)
    await close(deps, (await the_task(deps))["id"], "reached")
    await deps.until("SELECT count(*) FROM runs WHERE outcome = 'helped'", lambda n: n == 2)


async def test_two_who_let_go_at_once_leave_no_task_that_nobody_asks_for(still: Living) -> None:
    await still.publish(JOURNEY % "PT4H", TYPES)
    rows = await asking(still, 8, lambda _: "acme")
    for row in rows:
        await ask(still, row)

    async def leave(row: projection.Run) -> None:
        async with still.database.transaction() as connection:
            await task_requests.apply_task_effect(
                connection, row, ClosedTask("call", "enough", datetime.now(UTC)), roster()
            )

    await asyncio.gather(*(leave(row) for row in rows))
    task = await the_task(still)
    assert (task["status"], task["resolution"]) == ("withdrawn", "enough")


async def test_a_run_that_ended_in_temporal_only_lets_go_of_its_task(still: Living) -> None:
    await still.publish(JOURNEY % "PT4H", TYPES)
    first, second = await asking(still, 2, lambda _: "acme")
    await ask(still, first)
    await ask(still, second)
    for row, status in ((first, "open"), (second, "withdrawn")):
        async with still.database.transaction() as connection:
            assert await reconciliation.close_run(connection, row.id, "terminated", datetime.now(UTC))
        assert (await the_task(still))["status"] == status


async def test_U2_a_visitors_task_becomes_the_users_and_two_of_one_reason_become_one(still: Living) -> None:
    await still.publish(JOURNEY % "PT4H", TYPES)
    visitor = InboundEvent("track", "v1", "help_wanted", anonymous_id="visitor")
    await still.accept(still.identify("ada"), visitor, still.track("ada", "help_wanted"))
    async with still.database.reading() as connection:
        rows = [await projection.read_run(connection, item["id"]) for item in await still.rows("SELECT id FROM runs")]
    for row in rows:
        await ask(still, row)
    assert len(await still.rows("SELECT 1 FROM tasks WHERE status = 'open'")) == 2
    await still.accept(InboundEvent("identify", "v2", "identify", user_id="ada", anonymous_id="visitor"))
    task = await the_task(still, status="open")
    assert {each["run"] for each in task["asked_by"]} == {row.id for row in rows}
    assert (await the_task(still, status="withdrawn"))["resolution"] == f"duplicate of task {task['id']}"


async def test_closing_races_with_joining_and_nobody_is_left_waiting(still: Living) -> None:
    """Whoever joins in time hears the end; whoever comes too late has a task of their own."""
    await still.publish(JOURNEY % "PT4H", TYPES)
    first, *others = await asking(still, 20, lambda _: "acme")
    await ask(still, first)
    number = (await the_task(still))["id"]
    await asyncio.gather(close(still, number, "reached"), *(ask(still, row) for row in others))
    told = {item["target"] for item in await still.rows("SELECT target FROM outbox WHERE name = 'call.closed'")}
    waiting = await still.rows("SELECT a.run, t.status FROM task_asks a JOIN tasks t ON t.id = a.task_id WHERE a.status = 'open'")  # fmt: skip
    assert {item["status"] for item in waiting} <= {"open"}
    assert told | {item["run"] for item in waiting} == {row.id for row in (first, *others)}
    assert not told & {item["run"] for item in waiting}
