"""The copy of a task in a CRM follows the task and may close it, also after failures (C10)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import SecretStr

from activities.channels.message_hash import message_hash
from activities.outgoing.client import HttpClient
from journeys.tasks.assignment import Roster
from journeys.tasks.team import Team
from store.database import Database, fetch_all, fetch_one, sql
from store.events.changes import close_task
from store.tasks import tasks
from tests.support.crms import NAMES, Crm, crm, provided_by
from tests.support.live_stack import until
from worker.composition.crm import crm_sync, crms
from worker.loops.crm_sync import STALE, CrmSync
from worker.stack.providers.serving import LocalProvider

ROSTER = Roster(
    Team.model_validate(
        {
            "people": {"dana": {"known_as": ["hubspot:77", "salesforce:005A"]}},
            "tasks": {"renewal-call": {"outcomes": ["agreed", "at_risk"]}},
        }
    )
)
_PUT = sql(
    """
    INSERT INTO tasks (key, run, subject_key, journey, action, task, owner, opened_at, data, why)
    VALUES (:key, 'r', 'u_1', 'renewal', 'renewal-call', :task, 'dana', now(), '{"value": "<7>"}', 'dana is named') RETURNING id
    """
)
KEY = "journey/renewal/a_1/it's%20%5C/1#securing.1/renewal-call.1"


@pytest.fixture(params=NAMES)
def remote(request: pytest.FixtureRequest, local: LocalProvider, http_client: HttpClient) -> Crm:
    return crm(local, request.param, http_client)


async def put(database: Database, key: str = KEY, task: str = "renewal-call") -> int:
    async with database.transaction() as connection:
        made = await fetch_one(connection, _PUT, key=key, task=task)
        assert made is not None
        return int(made["id"])


async def fetch(database: Database, statement: str) -> list[dict[str, Any]]:
    async with database.transaction() as connection:
        return [dict(item) for item in await fetch_all(connection, sql(statement))]


async def expire_lease(database: Database) -> None:
    """End the lease of every copy."""
    await fetch(database, "UPDATE task_mirrors SET next_at = '-infinity'")


async def close(database: Database, number: int, word: str = "agreed") -> None:
    await close_task(database, number, resolution=word, by="dana", note="", roster=ROSTER, now=datetime.now(UTC))


async def note(database: Database, number: int, text: str = "called") -> None:
    await tasks.add_task_note(database, number, text=text, by="dana", now=datetime.now(UTC))


async def synced(database: Database, remote: Crm) -> CrmSync:
    sync = CrmSync(database, ROSTER, [remote.mirror])
    await sync.sync(remote.mirror)
    return sync


# -- both sides --------------------------------------------------------------------------------------------------------


async def test_C10_an_open_task_is_copied_to_the_crm_and_its_changes_are_pushed(database, remote):
    number = await put(database)
    sync = await synced(database, remote)
    shown = remote.only_task()
    assert remote.is_open()
    assert (shown.get("hs_task_body") or "").endswith("value: &lt;7&gt;") or "value: <7>" in shown["Description"]
    assert (shown.get("hubspot_owner_id") or shown.get("OwnerId")) in {"77", "005A"}
    assert (shown.get("tenure_task_key") or shown.get("Tenure_Task_Key__c")) == message_hash(KEY)
    before = remote.calls
    await sync.sync(remote.mirror)
    assert remote.calls == before + 1, "nothing has changed: the sync only reads whether the task was closed there"
    await close(database, number)
    await sync.sync(remote.mirror)
    assert not remote.is_open()
    assert "agreed" in remote.only_task().values()


async def test_C10_a_task_closed_in_the_crm_is_closed_here_with_its_outcome_and_stays_closed(database, remote):
    number = await put(database)
    sync = await synced(database, remote)
    remote.close("at_risk")
    await note(database, number, "a change in the same moment")
    await sync.sync(remote.mirror)
    (task,) = await fetch(database, "SELECT status, resolution, closed_by FROM tasks")
    assert task == {"status": "closed", "resolution": "at_risk", "closed_by": remote.name}
    assert not remote.is_open()


async def test_pushing_a_change_does_not_reopen_a_task_just_closed_in_the_crm(database, remote):
    number = await put(database)
    sync = await synced(database, remote)
    await note(database, number)
    remote.close("agreed")
    while await sync._push(remote.mirror):
        pass
    assert not remote.is_open()


async def test_C10_an_undeclared_outcome_closes_nothing_and_the_copy_is_reopened(database, remote):
    await put(database)
    sync = await synced(database, remote)
    remote.close("who knows")
    await sync.sync(remote.mirror)
    assert remote.is_open()
    (line,) = await fetch(database, "SELECT by, text FROM task_log")
    assert line["by"] == remote.name
    assert "closed there as who knows, but renewal-call ends as agreed, at_risk" in line["text"]
    assert (await fetch(database, "SELECT status FROM tasks")) == [{"status": "open"}]


async def test_a_task_without_declared_outcomes_closes_without_an_outcome(database, remote):
    await put(database, task="visit")
    sync = await synced(database, remote)
    remote.close("")
    await sync.sync(remote.mirror)
    assert (await fetch(database, "SELECT resolution FROM tasks")) == [{"resolution": "closed_in_crm"}]


async def test_a_copy_deleted_in_the_crm_is_created_again_with_the_next_change(database, remote):
    number = await put(database)
    sync = await synced(database, remote)
    remote.delete()
    await sync.sync(remote.mirror)
    assert not remote.tasks, "deleting a copy closes no task"
    await note(database, number)
    await sync.sync(remote.mirror)
    assert remote.is_open()


# -- failures ----------------------------------------------------------------------------------------------------------


async def test_a_lost_answer_makes_no_second_copy(database, remote):
    await put(database)
    remote.add_fault(kind="reset_after_accept", to="Task")
    sync = await synced(database, remote)
    (mirror_row,) = await fetch(database, "SELECT attempts, reference, last_error FROM task_mirrors")
    assert (mirror_row["attempts"], mirror_row["reference"]) == (1, None)
    assert "CrmFault" in mirror_row["last_error"]
    before = remote.calls
    await sync.sync(remote.mirror)
    assert remote.calls == before, "it waits before the retry"
    await expire_lease(database)
    await sync.sync(remote.mirror)
    assert len(remote.tasks) == 1
    (mirror_row,) = await fetch(database, "SELECT attempts, version = pushed AS fresh, last_error FROM task_mirrors")
    assert mirror_row == {"attempts": 0, "fresh": True, "last_error": None}


async def test_a_refused_task_does_not_delay_the_others(database, remote):
    for key in ("a", "b", "c"):
        await put(database, key)
    remote.add_fault(kind="status", status=400, to=message_hash("b"))
    sync = await synced(database, remote)
    assert len(remote.tasks) == 2
    await expire_lease(database)
    await sync.sync(remote.mirror)
    assert len(remote.tasks) == 3


async def test_concurrent_syncs_make_one_copy_of_each_task(database, remote):
    for number in range(25):
        await put(database, f"k{number}")
    await asyncio.gather(*(CrmSync(database, ROSTER, [remote.mirror]).sync(remote.mirror) for _ in range(4)))
    assert len(remote.tasks) == 25
    assert (await fetch(database, "SELECT count(*) AS n FROM task_mirrors WHERE version > pushed")) == [{"n": 0}]


async def test_a_crm_that_is_down_is_called_three_times_and_then_left_alone(database, remote):
    for number in range(10):
        await put(database, f"k{number}")
    remote.add_fault(kind="status", status=503, times=None, to="")
    await synced(database, remote)
    assert remote.local.provider.faults.happened <= 6, "three failed calls, each perhaps with a call for a token"
    failed = await fetch(database, "SELECT count(*) AS n FROM task_mirrors WHERE last_error IS NOT NULL")
    assert failed == [{"n": 3}]
    assert STALE.labels(remote.name)._value.get() == 10
    remote.local.provider.faults.clear()


async def test_a_rate_limit_answer_pauses_the_sync_of_all_tasks(database, remote):
    for number in range(3):
        await put(database, f"k{number}")
    remote.add_fault(kind="status", status=429, code="RATE_LIMITS", to="Task")
    await synced(database, remote)
    before = remote.calls
    assert (await fetch(database, "SELECT max(attempts) AS n FROM task_mirrors WHERE last_error IS NULL")) == [{"n": 0}]
    await synced(database, remote)
    assert remote.calls == before


async def test_an_expired_token_is_renewed_without_an_error(database, local, http_client):
    remote = crm(local, "salesforce", http_client)
    await put(database)
    remote.add_fault(kind="status", status=401, code="INVALID_SESSION_ID", to="sobjects")
    await synced(database, remote)
    assert remote.is_open()
    assert (await fetch(database, "SELECT last_error FROM task_mirrors")) == [{"last_error": None}]


async def test_a_rejected_token_is_recorded_as_the_last_error(database, local, http_client):
    given = provided_by(local, "hubspot").model_copy(update={"hubspot_token": SecretStr("wrong")})
    (mirror,) = crms(given, http_client)
    await put(database)
    await CrmSync(database, ROSTER, [mirror]).sync(mirror)
    (kept,) = await fetch(database, "SELECT last_error FROM task_mirrors")
    assert kept["last_error"] == "CrmFault: hubspot upsert: 401"


# -- in the worker -----------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def running(*workers: CrmSync) -> AsyncIterator[None]:
    stop = asyncio.Event()
    loops = [asyncio.create_task(worker.run(stop, every=0.05)) for worker in workers]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*loops)


async def test_a_crm_that_is_down_does_not_stop_the_sync_of_the_other(database, local, http_client):
    down, up = crm(local, "hubspot", http_client), crm(local, "salesforce", http_client)
    down.add_fault(kind="status", status=503, times=None)
    number = await put(database)
    async with running(CrmSync(database, ROSTER, [down.mirror, up.mirror])):
        await until(lambda: _truth(lambda: bool(up.tasks)))
        await close(database, number)
        await until(lambda: _truth(lambda: not up.is_open()))


async def test_one_process_syncs_at_a_time_and_the_next_one_takes_over(database, remote, http_client):
    other_remote = crm(remote.local, remote.name, http_client)
    first, second = (CrmSync(database, ROSTER, [side.mirror]) for side in (remote, other_remote))
    async with running(second):
        async with running(first):
            await put(database, "a")
            await until(lambda: _truth(lambda: len(remote.tasks) == 1))
            leading = await fetch(
                database,
                "SELECT count(*) AS n FROM pg_locks WHERE objid = 7239014 AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            )
            assert leading == [{"n": 1}]
        await put(database, "b")
        await until(lambda: _truth(lambda: len(remote.tasks) == 2))


async def test_a_lock_that_is_lost_is_taken_again(database, remote):
    async with running(CrmSync(database, ROSTER, [remote.mirror])):
        await put(database, "a")
        await until(lambda: _truth(lambda: bool(remote.tasks)))
        await fetch(
            database,
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE objid = 7239014 AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        )
        await put(database, "b")
        await until(lambda: _truth(lambda: len(remote.tasks) == 2))


async def test_a_hanging_crm_does_not_delay_shutdown_and_its_task_is_retried(database, remote):
    await put(database)
    remote.add_fault(kind="hang", to=message_hash(KEY))
    async with running(CrmSync(database, ROSTER, [remote.mirror])):
        await until(lambda: _truth(lambda: remote.local.provider.faults.happened == 1))
        stopping = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - stopping < 8, "less than the call would have waited"
    await expire_lease(database)
    await synced(database, remote)
    assert remote.is_open()


async def test_the_sync_returns_at_once_without_a_crm(database, local):
    await asyncio.wait_for(crm_sync(database, ROSTER, provided_by(local), asyncio.Event()), 1)


async def _truth(read: Any) -> bool:
    return bool(read())
