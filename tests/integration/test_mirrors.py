"""A task in a CRM is the task here: shown as it is, closed from either side, whatever is lost on the way (C10)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio

from activities.mirrors.hubspot import HubSpot
from activities.mirrors.port import TaskMirror
from activities.mirrors.salesforce import Salesforce
from journeys.assigning import Roster
from journeys.team import Team
from store import tasks
from store.database import Database, row, rows, sql
from tests.integration.crms import Crm, HubSpotByHand, SalesforceByHand
from worker.mirrors import Mirrors

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
    VALUES (:key, 'r', 'u_1', 'renewal', 'renewal-call', :task, 'dana', now(), '{"value": 7}', 'dana is named') RETURNING id
    """
)
KEY = "journey/renewal/a_1/it's%20%5C/1#securing.1/renewal-call.1"


@pytest_asyncio.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    found = Database(database_url)
    yield found
    await found.close()


@pytest.fixture(params=["hubspot", "salesforce"])
def crm(request: pytest.FixtureRequest) -> tuple[Crm, TaskMirror]:
    if request.param == "hubspot":
        hubspot = HubSpotByHand()
        return hubspot, HubSpot(hubspot.call())
    salesforce = SalesforceByHand()
    return salesforce, Salesforce(salesforce.call())


async def put(database: Database, key: str = KEY, task: str = "renewal-call") -> int:
    async with database.transaction() as connection:
        made = await row(connection, _PUT, key=key, task=task)
        assert made is not None
        return int(made["id"])


async def asked(database: Database, statement: str) -> list[dict[str, Any]]:
    async with database.transaction() as connection:
        return [dict(item) for item in await rows(connection, sql(statement))]


async def patience_is_over(database: Database) -> None:
    """As if the lease had run out."""
    await asked(database, "UPDATE task_mirrors SET next_at = '-infinity'")


def is_open(shown: dict[str, Any]) -> bool:
    return (shown.get("hs_task_status") or shown.get("Status")) in {"NOT_STARTED", "Not Started"}


async def close(database: Database, number: int, word: str = "agreed") -> None:
    await tasks.close_task(database, number, resolution=word, by="dana", note="", roster=ROSTER, now=datetime.now(UTC))


async def test_C10_an_open_task_is_shown_and_what_changes_here_changes_there(database, crm):
    there, mirror = crm
    number = await put(database)
    sync = Mirrors(database, ROSTER, [mirror])
    await sync.sync(mirror)
    (shown,) = there.tasks.values()
    assert is_open(shown)
    assert "value: 7" in (shown.get("hs_task_body") or shown.get("Description"))
    assert (shown.get("hubspot_owner_id") or shown.get("OwnerId")) in {"77", "005A"}
    before = len(there.asked)
    await sync.sync(mirror)
    assert len(there.asked) == before + 1, "nothing has changed: it is only asked whether it was closed there"
    await close(database, number)
    await sync.sync(mirror)
    (shown,) = there.tasks.values()
    assert not is_open(shown)
    assert "agreed" in shown.values()


async def test_C10_what_is_closed_there_is_closed_here_with_its_outcome_and_nothing_opens_it_again(database, crm):
    there, mirror = crm
    number = await put(database)
    sync = Mirrors(database, ROSTER, [mirror])
    await sync.sync(mirror)
    there.close(next(iter(there.tasks)), "at_risk")
    await tasks.note(database, number, text="a change in the same moment", by="dana", now=datetime.now(UTC))
    await sync.sync(mirror)
    (task,) = await asked(database, "SELECT status, resolution, closed_by FROM tasks")
    assert task == {"status": "closed", "resolution": "at_risk", "closed_by": mirror.name}
    assert not any(is_open(shown) for shown in there.tasks.values())


async def test_a_change_here_does_not_open_what_was_closed_there_a_moment_ago(database, crm):
    there, mirror = crm
    number = await put(database)
    sync = Mirrors(database, ROSTER, [mirror])
    await sync.sync(mirror)
    await tasks.note(database, number, text="called", by="dana", now=datetime.now(UTC))
    there.close(next(iter(there.tasks)), "agreed")
    while await sync._push(mirror):
        pass
    assert not any(is_open(shown) for shown in there.tasks.values())


async def test_C10_a_word_that_is_not_declared_closes_nothing_and_it_is_open_there_again(database, crm):
    there, mirror = crm
    await put(database)
    sync = Mirrors(database, ROSTER, [mirror])
    await sync.sync(mirror)
    there.close(next(iter(there.tasks)), "who knows")
    await sync.sync(mirror)
    assert all(is_open(shown) for shown in there.tasks.values())
    (line,) = await asked(database, "SELECT by, text FROM task_log")
    assert line["by"] == mirror.name
    assert "closed there as who knows, but renewal-call ends as agreed, at_risk" in line["text"]
    assert (await asked(database, "SELECT status FROM tasks")) == [{"status": "open"}]


async def test_where_any_word_may_close_a_task_none_is_needed(database, crm):
    there, mirror = crm
    await put(database, task="visit")
    sync = Mirrors(database, ROSTER, [mirror])
    await sync.sync(mirror)
    there.close(next(iter(there.tasks)), "")
    await sync.sync(mirror)
    assert (await asked(database, "SELECT resolution FROM tasks")) == [{"resolution": "closed_in_crm"}]


async def test_an_answer_that_was_lost_makes_no_second_copy(database, crm):
    there, mirror = crm
    await put(database)
    there.lost_replies = 1
    sync = Mirrors(database, ROSTER, [mirror])
    await sync.sync(mirror)
    (row_,) = await asked(database, "SELECT attempts, reference, last_error FROM task_mirrors")
    assert (row_["attempts"], row_["reference"]) == (1, None)
    assert "ReadTimeout" in row_["last_error"]
    await sync.sync(mirror)
    assert len(there.asked) <= 2, "it waits before it tries again"
    await patience_is_over(database)
    await sync.sync(mirror)
    assert len(there.tasks) == 1
    (row_,) = await asked(database, "SELECT attempts, version = pushed AS fresh, last_error FROM task_mirrors")
    assert row_ == {"attempts": 0, "fresh": True, "last_error": None}


async def test_one_task_that_is_refused_keeps_no_other_waiting(database, crm):
    there, mirror = crm
    for key in ("a", "b", "c"):
        await put(database, key)
    there.ill = [500]
    await Mirrors(database, ROSTER, [mirror]).sync(mirror)
    assert len(there.tasks) == 2
    await patience_is_over(database)
    await Mirrors(database, ROSTER, [mirror]).sync(mirror)
    assert len(there.tasks) == 3


async def test_many_processes_make_one_copy_of_each_task(database, crm):
    there, mirror = crm
    for number in range(25):
        await put(database, f"k{number}")
    await asyncio.gather(*(Mirrors(database, ROSTER, [mirror]).sync(mirror) for _ in range(4)))
    assert len(there.tasks) == 25
    assert (await asked(database, "SELECT count(*) AS n FROM task_mirrors WHERE version > pushed")) == [{"n": 0}]


async def test_one_crm_that_is_down_stops_neither_the_other_nor_the_task(database):
    down, up = HubSpotByHand(), SalesforceByHand()
    down.ill = [503] * 50
    number = await put(database)
    stop = asyncio.Event()
    running = asyncio.create_task(
        Mirrors(database, ROSTER, [HubSpot(down.call()), Salesforce(up.call())]).run(stop, every=0.05)
    )
    while not up.tasks:
        await asyncio.sleep(0.01)
    await close(database, number)
    while any(is_open(shown) for shown in up.tasks.values()):
        await asyncio.sleep(0.01)
    stop.set()
    await running


async def test_a_copy_that_somebody_deleted_in_hubspot_is_made_again(database):
    there = HubSpotByHand()
    mirror = HubSpot(there.call())
    number = await put(database)
    sync = Mirrors(database, ROSTER, [mirror])
    await sync.sync(mirror)
    there.tasks = {"9": {"tenure_task_key": "another"}}
    await tasks.note(database, number, text="called", by="dana", now=datetime.now(UTC))
    await sync.sync(mirror)
    assert [shown["tenure_task_key"] for shown in there.tasks.values()] == ["another", KEY]
