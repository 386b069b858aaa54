"""A person of several accounts, and one who moves: each message is about one account, and goes to who belongs there then (C8)."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import pytest_asyncio
import yaml

from activities.delivery import outreach
from activities.dependencies import Dependencies
from activities.steps import apply as steps
from journeys.decision.decide import decide
from journeys.decision.effects import effects_to_json, log_to_json
from journeys.decision.occurrences import Entered, Signal
from journeys.decision.state import RunState, state_from_json, state_to_json
from journeys.events.inbound import InboundEvent
from journeys.protocol import wire
from store.database import Database, execute, fetch_all, fetch_one, sql
from store.errors import Contended
from store.events import ingest
from store.messages import kill_switches
from store.people import subjects
from tests.support.live_stack import until
from tests.support.steps import publish
from worker.composition.dependencies import dependencies as built
from worker.settings import ROOT, Settings

POLICY: dict[str, Any] = {"timezone": "UTC", "consent": [{"default": "granted"}]}
JOURNEY = """
journey: renewal
subject: account
entry: {on: contract_started, again: always}
topic: renewal
priority: promotional
start: planning
states:
  planning:
    do: [{send: note/plan, via: [in_app], for: [champion, admin], data: {renewal_date: account.renewal_date}}]
    on: {renewal_plan_agreed: over}
  over: {final: done}
"""
OF_USER = """
journey: own
entry: {on: signed_up, again: never}
topic: onboarding
start: here
states:
  here: {do: [{send: note/plan, via: [in_app], data: {renewal_date: account.renewal_date}}], on: {activated: over}}
  over: {final: done}
"""
TEMPLATE = """---
owner: lifecycle-team
topic: renewal
stage: renewal
review_date: 2027-02-28
status: live
channels: [in_app]
subject: "Planning the next year of {{ account.name }}"
action: {label: Look at it, url: "https://app.example.com/plan"}
variables:
  renewal_date: {type: timestamp}
---
Before {{ renewal_date | date: "%d %B %Y" }}.
"""
NEW_YORK, TOKYO = "America/New_York", "Asia/Tokyo"


def night() -> dict[str, Any]:
    """It is quiet in New York just now, and for two hours more; in Tokyo it is another time of day."""
    now = datetime.now(ZoneInfo(NEW_YORK))
    start, end = (f"{now + timedelta(hours=hours):%H:%M}" for hours in (-2, 2))
    return {"quiet_hours": [{"name": "night", "start": start, "end": end}]}


_RUNS = sql("SELECT id, lane, definition, started_at FROM runs ORDER BY started_at, id")
_SUBJECT = sql("SELECT subject_key FROM identities WHERE value = :name")
_LEDGER = sql("SELECT * FROM messages ORDER BY id")
_INBOX = sql("SELECT content FROM inbox ORDER BY id")
_WAITERS = sql(
    "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)
_WOKEN = sql("SELECT DISTINCT recipient FROM outbox WHERE kind = 'wake'")


@dataclass
class Two:
    """Mia, who is an admin of north and was then put into south; what is known of them."""

    deps: Dependencies
    said: int = 0
    stop: int = 0

    async def tell(self, kind: Any, name: str = "", **call: Any) -> None:
        self.said += 1
        it = InboundEvent(kind, f"m{self.said}", name or kind, **call)
        await ingest.accept(self.deps.database, self.deps.catalogue, [it], source="test")

    async def begin(self) -> None:
        await self.tell("identify", user_id="mia", traits={"role": "admin"})
        for account, month in (("north", 3), ("south", 9)):
            traits = {"name": account.title(), "renewal_date": f"2027-{month:02}-01T00:00:00Z"}
            await self.tell("group", user_id="mia", account_id=account, traits=traits)

    async def ask(self, journey: str = JOURNEY, *, on: str = "contract_started", **who: Any) -> wire.StepInput:
        """The first step of the run that this opens; not applied yet."""
        await publish(self.deps.database, journey, {"account.renewal_date": "timestamp"})
        await self.tell("track", on, **(who or {"account_id": "north"}))
        async with self.deps.database.reading() as connection:
            opened = (await fetch_all(connection, _RUNS))[-1]
            chart = await self.deps.catalogue.chart(connection, opened["definition"])
            account = await subjects.account_of(connection, opened["lane"]) or opened["lane"]
            known = (await fetch_all(connection, sql("SELECT profile FROM subjects WHERE key = :key"), key=account))[0]
        facts = {"account": json.loads(known["profile"])}
        made = decide(chart, RunState(), Entered(opened["started_at"], on, facts=facts, lane=opened["lane"], seq=1))
        return _step(opened, 1, made)

    async def applied(self, asked: wire.StepInput) -> dict[str, Any]:
        """The one message, as it stands after this step."""
        await steps.apply_step(self.deps, asked)
        return await self.message()

    async def again(self) -> dict[str, Any]:
        """The same after Mia's outreach has looked at what is due."""
        await outreach.settle_due(self.deps, wire.SettleInput(await self.key("mia"), datetime.now(UTC).isoformat()), {})
        return await self.message()

    async def released(self) -> dict[str, Any]:
        """The same after what was stopped goes on."""
        await kill_switches.release_switch(self.deps.database, self.stop, "test")
        return await self.again()

    async def stopped(self, asked: wire.StepInput) -> None:
        """The message of this step waits for a stop."""
        async with self.deps.database.transaction() as connection:
            self.stop = (await kill_switches.engage(connection, "all", "", "not now", "test"))["id"]
        assert (await self.applied(asked))["status"] == "deferred"

    async def message(self) -> dict[str, Any]:
        (found,) = await self.rows(_LEDGER)
        return {**found, "reasons": [each["code"] for each in json.loads(found["reasons"])]}

    async def inbox(self) -> dict[str, Any]:
        (found,) = await self.rows(_INBOX)
        return dict(json.loads(found["content"]))

    async def key(self, name: str) -> str:
        return str((await self.rows(_SUBJECT, name=name))[0]["subject_key"])

    async def rows(self, statement: Any, **values: Any) -> list[Any]:
        async with self.deps.database.reading() as connection:
            return await fetch_all(connection, statement, **values)

    async def somebody_waits(self) -> None:
        """For a lock that somebody else holds."""

        async def waits() -> int:
            return int((await self.rows(_WAITERS))[0]["n"])

        await until(waits)

    async def ticket(self, name: str, **who: str) -> None:
        data = {"ticket_id": "77", "priority": "urgent"}
        await self.tell("track", name, data=data, **who)


def _step(of: Any, number: int, made: Any) -> wire.StepInput:
    return wire.StepInput(
        of["id"], number, of["definition"], state_to_json(made.state), log_to_json(made.log),
        effects_to_json(made.effects), datetime.now(UTC).isoformat(),
    )  # fmt: skip


@pytest_asyncio.fixture
async def two(database_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Two]:
    catalog = tmp_path / "catalog"
    shutil.copytree(ROOT / "catalog", catalog)
    (catalog / "consent.yaml").unlink()  # it speaks of the shipped policy
    (catalog / "policy.yaml").write_text(yaml.safe_dump({**POLICY, **getattr(request, "param", {})}))
    (catalog / "templates" / "note").mkdir()
    (catalog / "templates" / "note" / "plan.md").write_text(TEMPLATE)
    database = Database(database_url)
    settings = Settings(database_url=database_url, smtp_url="smtp://127.0.0.1:9", catalog=catalog)
    made = Two(built(settings, database))
    await made.begin()
    yield made
    await database.close()


# -- whose data, whose clock -------------------------------------------------------------------------------------------


async def test_C8_a_message_of_one_account_is_made_of_its_data_though_its_reader_was_put_into_another(two: Two) -> None:
    assert (await two.applied(await two.ask()))["status"] == "sent"
    inbox = await two.inbox()
    assert (inbox["title"], inbox["body_text"]) == ("Planning the next year of North", "Before 01 March 2027.")


async def test_C8_so_it_is_when_it_has_waited(two: Two) -> None:
    await two.stopped(await two.ask())
    assert (await two.released())["status"] == "sent"
    assert (await two.inbox())["title"] == "Planning the next year of North"


async def test_who_moves_is_told_of_the_account_they_are_in_by_then(two: Two) -> None:
    """Their own journey speaks of their account, which is the one that they were put into last."""
    await two.stopped(await two.ask(OF_USER, on="signed_up", user_id="mia"))
    traits = {"name": "West", "renewal_date": "2028-01-01T00:00:00Z"}
    await two.tell("group", user_id="mia", account_id="west", traits=traits)
    assert (await two.released())["status"] == "sent"
    assert (await two.inbox())["title"] == "Planning the next year of West"


@pytest.mark.parametrize("two", [night()], indirect=True)
async def test_C7_what_waits_for_the_morning_is_looked_at_when_its_person_moves(two: Two) -> None:
    await two.tell("identify", user_id="mia", traits={"timezone": NEW_YORK})
    waits = await two.applied(await two.ask())
    assert (waits["status"], waits["reasons"]) == ("deferred", ["quiet_hours"])
    assert (await two.again())["status"] == "deferred", "nothing is due"
    async with two.deps.database.transaction() as connection:
        await execute(connection, sql("DELETE FROM outbox"))
    await two.tell("identify", user_id="mia", traits={"timezone": TOKYO})
    assert [each["recipient"] for each in await two.rows(_WOKEN)] == [await two.key("mia")]
    assert (await two.again())["status"] == "sent"


@pytest.mark.parametrize("two", [night()], indirect=True)
async def test_C7_a_time_zone_counts_from_the_event_of_a_batch_that_tells_it(two: Two) -> None:
    """What an event has changed is read once, with that event: neither lost nor taken for the next one's."""
    await two.tell("identify", user_id="mia", traits={"timezone": NEW_YORK})
    assert (await two.applied(await two.ask()))["reasons"] == ["quiet_hours"]
    moved, later = (datetime.now(UTC) - timedelta(minutes=minutes) for minutes in (20, 10))
    batch = [
        InboundEvent("identify", "moves", "identify", user_id="mia", traits={"timezone": TOKYO}, timestamp=moved),
        InboundEvent("identify", "reads", "identify", user_id="mia", traits={"plan": "team"}, timestamp=later),
    ]
    await ingest.accept(two.deps.database, two.deps.catalogue, batch, source="test")
    assert (await two.message())["due_at"] == moved


@pytest.mark.parametrize("two", [night()], indirect=True)
async def test_C7_who_has_no_clock_of_their_own_lives_by_that_of_the_account_a_message_is_about(two: Two) -> None:
    await two.tell("group", user_id="mia", account_id="north", traits={"timezone": NEW_YORK})
    await two.tell("group", user_id="mia", account_id="south", traits={"timezone": TOKYO})
    assert (await two.applied(await two.ask()))["reasons"] == ["quiet_hours"]
    await two.tell("group", account_id="north", traits={"timezone": TOKYO})
    assert (await two.again())["status"] == "sent"


@pytest.mark.parametrize("asks", [True, False])
async def test_who_is_put_into_another_account_between_look_and_lock_is_looked_at_again(two: Two, asks: bool) -> None:
    """A step, or a look at what is due, that has locked the wrong account knows nothing of the right one: it begins anew."""
    asked = await two.ask(OF_USER, on="signed_up", user_id="mia")
    if not asks:
        await two.stopped(asked)
        await kill_switches.release_switch(two.deps.database, two.stop, "test")
    async with two.deps.database.transaction() as moving:
        mia = (await subjects.lock_subjects(moving, [await two.key("mia")])).popitem()[1]
        deciding = asyncio.create_task(two.applied(asked) if asks else two.again())
        await two.somebody_waits()
        mia.account_key, mia.dirty = await two.key("north"), True
        await subjects.save_subjects(moving, [mia])
    with pytest.raises(Contended):
        await deciding
    assert (await two.applied(asked) if asks else await two.again())["status"] == "sent"
    assert (await two.inbox())["title"] == "Planning the next year of North"


# -- urgent tickets ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("account", ["north", "south"])
async def test_C6_an_urgent_ticket_of_any_account_of_theirs_keeps_it_waiting_until_it_is_resolved(
    two: Two, account: str
) -> None:
    await two.ticket("ticket_opened", user_id="noa", account_id=account)
    waits = await two.applied(await two.ask())
    assert (waits["status"], waits["reasons"]) == ("deferred", ["urgent_ticket"])
    assert (await two.again())["status"] == "deferred"
    await two.ticket("ticket_resolved", user_id="noa", account_id=account)
    assert (await two.again())["status"] == "sent"


# -- who leaves --------------------------------------------------------------------------------------------------------


async def test_C8_who_has_left_the_account_gets_nothing_more_about_it(two: Two) -> None:
    await two.stopped(await two.ask())
    await two.tell("track", "account_left", user_id="mia", account_id="north")
    ended = await two.released()
    assert (ended["status"], ended["reasons"]) == ("withheld", ["no_recipient"])
    assert (await two.rows(sql("SELECT count(*) AS n FROM members")))[0]["n"] == 1, "south has her still"


async def test_C8_a_step_asks_nobody_who_has_left(two: Two) -> None:
    await two.tell("track", "account_left", user_id="mia", account_id="north")
    asked = await two.applied(await two.ask())
    assert (asked["recipient"], asked["reasons"]) == ("-", ["no_recipient"])


async def test_of_the_account_they_have_left_nothing_is_known_of_them_and_their_journeys_are_told(two: Two) -> None:
    await two.applied(await two.ask(OF_USER, on="signed_up", user_id="mia"))
    await two.tell("track", "account_left", user_id="mia", account_id="south")
    mia = await two.key("mia")
    (known,) = await two.rows(sql("SELECT account_key FROM subjects WHERE key = :key"), key=mia)
    assert known["account_key"] is None
    (told,) = await two.rows(sql("SELECT facts FROM outbox WHERE recipient = :key ORDER BY seq DESC LIMIT 1"), key=mia)
    assert json.loads(told["facts"])["account"] == {}


async def test_who_is_put_into_an_account_and_taken_out_in_one_batch_is_what_was_said_last(two: Two) -> None:
    calls = [
        InboundEvent("group", "x1", "group", user_id="mia", account_id="west"),
        InboundEvent("track", "x2", "account_left", user_id="mia", account_id="west"),
        InboundEvent("track", "x3", "account_left", user_id="mia", account_id="north"),
        InboundEvent("group", "x4", "group", user_id="mia", account_id="north"),
    ]
    await ingest.accept(two.deps.database, two.deps.catalogue, calls, source="test")
    found = await two.rows(
        sql("SELECT i.value FROM members m JOIN identities i ON i.subject_key = m.account_key ORDER BY 1")
    )
    assert [each["value"] for each in found] == ["north", "south"]


async def test_C8_who_is_not_what_it_is_for_any_more_when_it_is_decided_again_does_not_get_it(two: Two) -> None:
    await two.stopped(await two.ask())
    await two.tell("identify", user_id="mia", traits={"role": "finance"})
    ended = await two.released()
    assert (ended["status"], ended["reasons"]) == ("withheld", ["no_recipient"])


async def test_C8_another_role_that_it_is_for_too_will_do(two: Two) -> None:
    await two.stopped(await two.ask())
    await two.tell("identify", user_id="mia", traits={"role": "champion"})
    assert (await two.released())["status"] == "sent"


# -- in which order ----------------------------------------------------------------------------------------------------


async def test_C3_a_step_of_an_account_waits_for_whoever_decides_on_its_peoples_messages(two: Two) -> None:
    asked = await two.ask()
    await two.stopped(asked)
    async with two.deps.database.reading() as connection:
        chart = await two.deps.catalogue.chart(connection, asked.definition)
        opened = await fetch_one(connection, _RUNS)
    inside = state_from_json(asked.state)
    assert opened is not None
    made = decide(chart, inside, Signal(datetime.now(UTC), "renewal_plan_agreed", lane=opened["lane"], seq=2))
    async with two.deps.database.transaction() as deciding:
        await subjects.lock_subjects(deciding, [await two.key("mia")])
        leaving = asyncio.create_task(steps.apply_step(two.deps, _step(opened, 2, made)))
        await two.somebody_waits()
        assert not leaving.done()
    await leaving
    assert (await two.message())["status"] == "withdrawn"


async def test_who_resolves_a_ticket_waits_for_whoever_decides_on_its_peoples_messages(two: Two) -> None:
    """People first, then their messages: the other way round two would wait for each other in a circle."""
    await two.ticket("ticket_opened", user_id="noa", account_id="north")
    await two.applied(await two.ask())
    async with two.deps.database.transaction() as deciding:
        await subjects.lock_subjects(deciding, [await two.key("mia")])
        resolving = asyncio.create_task(two.ticket("ticket_resolved", user_id="noa", account_id="north"))
        await two.somebody_waits()
        await execute(deciding, sql("UPDATE messages SET decided_at = now()"))  # its row is free
        assert not resolving.done()
    await resolving
    assert (await two.again())["status"] == "sent"
