"""A task in a CRM is the task here: shown as it is, closed from either side, whatever is lost on the way (C10)."""

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
def there(request: pytest.FixtureRequest, local: LocalProvider, way: HttpClient) -> Crm:
    return crm(local, request.param, way)


async def put(database: Database, key: str = KEY, task: str = "renewal-call") -> int:
    async with database.transaction() as connection:
        made = await fetch_one(connection, _PUT, key=key, task=task)
        assert made is not None
        return int(made["id"])


async def asked(database: Database, statement: str) -> list[dict[str, Any]]:
    async with database.transaction() as connection:
        return [dict(item) for item in await fetch_all(connection, sql(statement))]


async def patience_is_over(database: Database) -> None:
    """As if the lease had run out."""
    await asked(database, "UPDATE task_mirrors SET next_at = '-infinity'")


async def close(database: Database, number: int, word: str = "agreed") -> None:
    await close_task(database, number, resolution=word, by="dana", note="", roster=ROSTER, now=datetime.now(UTC))


async def note(database: Database, number: int, text: str = "called") -> None:
    await tasks.add_task_note(database, number, text=text, by="dana", now=datetime.now(UTC))


async def synced(database: Database, there: Crm) -> CrmSync:
    sync = CrmSync(database, ROSTER, [there.mirror])
    await sync.sync(there.mirror)
    return sync


# -- the same on both sides --------------------------------------------------------------------------------------------


async def test_C10_an_open_task_is_shown_and_what_changes_here_changes_there(database, there):
    number = await put(database)
    sync = await synced(database, there)
    shown = there.one()
    assert there.is_open()
    assert (shown.get("hs_task_body") or "").endswith("value: &lt;7&gt;") or "value: <7>" in shown["Description"]
    assert (shown.get("hubspot_owner_id") or shown.get("OwnerId")) in {"77", "005A"}
    assert (shown.get("tenure_task_key") or shown.get("Tenure_Task_Key__c")) == message_hash(KEY)
    before = there.asked
    await sync.sync(there.mirror)
    assert there.asked == before + 1, "nothing has changed: it is only asked whether it was closed there"
    await close(database, number)
    await sync.sync(there.mirror)
    assert not there.is_open()
    assert "agreed" in there.one().values()


async def test_C10_what_is_closed_there_is_closed_here_with_its_outcome_and_nothing_opens_it_again(database, there):
    number = await put(database)
    sync = await synced(database, there)
    there.close("at_risk")
    await note(database, number, "a change in the same moment")
    await sync.sync(there.mirror)
    (task,) = await asked(database, "SELECT status, resolution, closed_by FROM tasks")
    assert task == {"status": "closed", "resolution": "at_risk", "closed_by": there.name}
    assert not there.is_open()


async def test_a_change_here_does_not_open_what_was_closed_there_a_moment_ago(database, there):
    number = await put(database)
    sync = await synced(database, there)
    await note(database, number)
    there.close("agreed")
    while await sync._push(there.mirror):
        pass
    assert not there.is_open()


async def test_C10_a_word_that_is_not_declared_closes_nothing_and_it_is_open_there_again(database, there):
    await put(database)
    sync = await synced(database, there)
    there.close("who knows")
    await sync.sync(there.mirror)
    assert there.is_open()
    (line,) = await asked(database, "SELECT by, text FROM task_log")
    assert line["by"] == there.name
    assert "closed there as who knows, but renewal-call ends as agreed, at_risk" in line["text"]
    assert (await asked(database, "SELECT status FROM tasks")) == [{"status": "open"}]


async def test_where_any_word_may_close_a_task_none_is_needed(database, there):
    await put(database, task="visit")
    sync = await synced(database, there)
    there.close("")
    await sync.sync(there.mirror)
    assert (await asked(database, "SELECT resolution FROM tasks")) == [{"resolution": "closed_in_crm"}]


async def test_a_copy_that_somebody_deleted_there_is_made_again_with_the_next_change(database, there):
    number = await put(database)
    sync = await synced(database, there)
    there.delete()
    await sync.sync(there.mirror)
    assert not there.tasks, "who deletes a copy there closes nothing here"
    await note(database, number)
    await sync.sync(there.mirror)
    assert there.is_open()


# -- whatever goes wrong -----------------------------------------------------------------------------------------------


async def test_an_answer_that_was_lost_makes_no_second_copy(database, there):
    await put(database)
    there.goes_wrong(kind="reset_after_accept", to="Task")
    sync = await synced(database, there)
    (row_,) = await asked(database, "SELECT attempts, reference, last_error FROM task_mirrors")
    assert (row_["attempts"], row_["reference"]) == (1, None)
    assert "CrmFault" in row_["last_error"]
    before = there.asked
    await sync.sync(there.mirror)
    assert there.asked == before, "it waits before it tries again"
    await patience_is_over(database)
    await sync.sync(there.mirror)
    assert len(there.tasks) == 1
    (row_,) = await asked(database, "SELECT attempts, version = pushed AS fresh, last_error FROM task_mirrors")
    assert row_ == {"attempts": 0, "fresh": True, "last_error": None}


async def test_one_task_that_is_refused_keeps_no_other_waiting(database, there):
    for key in ("a", "b", "c"):
        await put(database, key)
    there.goes_wrong(kind="status", status=400, to=message_hash("b"))
    sync = await synced(database, there)
    assert len(there.tasks) == 2
    await patience_is_over(database)
    await sync.sync(there.mirror)
    assert len(there.tasks) == 3


async def test_many_processes_make_one_copy_of_each_task(database, there):
    for number in range(25):
        await put(database, f"k{number}")
    await asyncio.gather(*(CrmSync(database, ROSTER, [there.mirror]).sync(there.mirror) for _ in range(4)))
    assert len(there.tasks) == 25
    assert (await asked(database, "SELECT count(*) AS n FROM task_mirrors WHERE version > pushed")) == [{"n": 0}]


async def test_a_crm_that_is_down_is_left_alone_and_no_task_is_blamed(database, there):
    for number in range(10):
        await put(database, f"k{number}")
    there.goes_wrong(kind="status", status=503, times=None, to="")
    await synced(database, there)
    assert there.local.provider.faults.happened <= 6, "three calls that fail, each perhaps with one for a token"
    failed = await asked(database, "SELECT count(*) AS n FROM task_mirrors WHERE last_error IS NOT NULL")
    assert failed == [{"n": 3}]
    assert STALE.labels(there.name)._value.get() == 10
    there.local.provider.faults.clear()


async def test_too_fast_is_a_pause_for_all_of_them(database, there):
    for number in range(3):
        await put(database, f"k{number}")
    there.goes_wrong(kind="status", status=429, code="RATE_LIMITS", to="Task")
    await synced(database, there)
    before = there.asked
    assert (await asked(database, "SELECT max(attempts) AS n FROM task_mirrors WHERE last_error IS NULL")) == [{"n": 0}]
    await synced(database, there)
    assert there.asked == before


async def test_a_token_that_is_over_is_fetched_anew_and_nobody_notices(database, local, way):
    there = crm(local, "salesforce", way)
    await put(database)
    there.goes_wrong(kind="status", status=401, code="INVALID_SESSION_ID", to="sobjects")
    await synced(database, there)
    assert there.is_open()
    assert (await asked(database, "SELECT last_error FROM task_mirrors")) == [{"last_error": None}]


async def test_a_token_that_is_not_taken_is_the_operators_turn(database, local, way):
    given = provided_by(local, "hubspot").model_copy(update={"hubspot_token": SecretStr("wrong")})
    (mirror,) = crms(given, way)
    await put(database)
    await CrmSync(database, ROSTER, [mirror]).sync(mirror)
    (kept,) = await asked(database, "SELECT last_error FROM task_mirrors")
    assert kept["last_error"] == "CrmFault: hubspot upsert: 401"


# -- in the worker -----------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def running(*workers: CrmSync) -> AsyncIterator[None]:
    stop = asyncio.Event()
    tasks_ = [asyncio.create_task(each.run(stop, every=0.05)) for each in workers]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*tasks_)


async def test_one_crm_that_is_down_stops_neither_the_other_nor_the_task(database, local, way):
    down, up = crm(local, "hubspot", way), crm(local, "salesforce", way)
    down.goes_wrong(kind="status", status=503, times=None)
    number = await put(database)
    async with running(CrmSync(database, ROSTER, [down.mirror, up.mirror])):
        await until(lambda: _is(lambda: bool(up.tasks)))
        await close(database, number)
        await until(lambda: _is(lambda: not up.is_open()))


async def test_one_process_at_a_time_asks_and_the_next_one_takes_over(database, there, way):
    other = crm(there.local, there.name, way)
    first, second = (CrmSync(database, ROSTER, [each.mirror]) for each in (there, other))
    async with running(second):
        async with running(first):
            await put(database, "a")
            await until(lambda: _is(lambda: len(there.tasks) == 1))
            leading = await asked(
                database,
                "SELECT count(*) AS n FROM pg_locks WHERE objid = 7239014 AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            )
            assert leading == [{"n": 1}]
        await put(database, "b")
        await until(lambda: _is(lambda: len(there.tasks) == 2))


async def test_a_lock_that_is_lost_is_taken_again(database, there):
    async with running(CrmSync(database, ROSTER, [there.mirror])):
        await put(database, "a")
        await until(lambda: _is(lambda: bool(there.tasks)))
        await asked(
            database,
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE objid = 7239014 AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        )
        await put(database, "b")
        await until(lambda: _is(lambda: len(there.tasks) == 2))


async def test_a_crm_that_hangs_keeps_no_process_from_ending_and_its_task_is_tried_again(database, there):
    await put(database)
    there.goes_wrong(kind="hang", to=message_hash(KEY))
    async with running(CrmSync(database, ROSTER, [there.mirror])):
        await until(lambda: _is(lambda: there.local.provider.faults.happened == 1))
        stopping = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - stopping < 8, "less than the call would have waited"
    await patience_is_over(database)
    await synced(database, there)
    assert there.is_open()


async def test_without_a_crm_there_is_nothing_to_run(database, local):
    await asyncio.wait_for(crm_sync(database, ROSTER, provided_by(local), asyncio.Event()), 1)


async def _is(ask: Any) -> bool:
    return bool(ask())
