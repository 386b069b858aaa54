"""People of several accounts: each message is about one account and goes to its members at that time (C8)."""

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
from worker.composition.dependencies import dependencies as build_dependencies
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


def quiet_hours_in_new_york() -> dict[str, Any]:
    """Quiet hours that in New York began two hours ago and last two more; in Tokyo it is another time of day."""
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
class TwoAccounts:
    """Mia, an admin who joined the account north and then the account south."""

    deps: Dependencies
    events: int = 0
    switch: int = 0

    async def accept(self, kind: Any, name: str = "", **call: Any) -> None:
        self.events += 1
        event = InboundEvent(kind, f"m{self.events}", name or kind, **call)
        await ingest.accept(self.deps.database, self.deps.catalogue, [event], source="test")

    async def begin(self) -> None:
        await self.accept("identify", user_id="mia", traits={"role": "admin"})
        for account, month in (("north", 3), ("south", 9)):
            traits = {"name": account.title(), "renewal_date": f"2027-{month:02}-01T00:00:00Z"}
            await self.accept("group", user_id="mia", account_id=account, traits=traits)

    async def first_step(self, journey: str = JOURNEY, *, on: str = "contract_started", **who: Any) -> wire.StepInput:
        """Open a run; its first step, not applied yet."""
        await publish(self.deps.database, journey, {"account.renewal_date": "timestamp"})
        await self.accept("track", on, **(who or {"account_id": "north"}))
        async with self.deps.database.reading() as connection:
            opened = (await fetch_all(connection, _RUNS))[-1]
            chart = await self.deps.catalogue.chart(connection, opened["definition"])
            account = await subjects.account_of(connection, opened["lane"]) or opened["lane"]
            known = (await fetch_all(connection, sql("SELECT profile FROM subjects WHERE key = :key"), key=account))[0]
        facts = {"account": json.loads(known["profile"])}
        decision = decide(chart, RunState(), Entered(opened["started_at"], on, facts=facts, lane=opened["lane"], seq=1))
        return _step(opened, 1, decision)

    async def apply(self, step: wire.StepInput) -> dict[str, Any]:
        """Apply the step; the only message after it."""
        await steps.apply_step(self.deps, step)
        return await self.message()

    async def settle(self) -> dict[str, Any]:
        """Settle what is due for Mia; the message after it."""
        await outreach.settle_due(
            self.deps, wire.SettleInput(await self.key_of("mia"), datetime.now(UTC).isoformat()), {}
        )
        return await self.message()

    async def release(self) -> dict[str, Any]:
        """Release the kill switch and settle; the message after it."""
        await kill_switches.release_switch(self.deps.database, self.switch, "test")
        return await self.settle()

    async def defer_by_kill_switch(self, step: wire.StepInput) -> None:
        """Apply the step under a kill switch, which defers the message."""
        async with self.deps.database.transaction() as connection:
            self.switch = (await kill_switches.engage(connection, "all", "", "not now", "test"))["id"]
        assert (await self.apply(step))["status"] == "deferred"

    async def message(self) -> dict[str, Any]:
        (row,) = await self.rows(_LEDGER)
        return {**row, "reasons": [reason["code"] for reason in json.loads(row["reasons"])]}

    async def inbox(self) -> dict[str, Any]:
        (row,) = await self.rows(_INBOX)
        return dict(json.loads(row["content"]))

    async def key_of(self, name: str) -> str:
        return str((await self.rows(_SUBJECT, name=name))[0]["subject_key"])

    async def rows(self, statement: Any, **values: Any) -> list[Any]:
        async with self.deps.database.reading() as connection:
            return await fetch_all(connection, statement, **values)

    async def wait_until_blocked(self) -> None:
        """Wait until a transaction waits for a lock."""

        async def waits() -> int:
            return int((await self.rows(_WAITERS))[0]["n"])

        await until(waits)

    async def ticket(self, name: str, **who: str) -> None:
        data = {"ticket_id": "77", "priority": "urgent"}
        await self.accept("track", name, data=data, **who)


def _step(of: Any, number: int, made: Any) -> wire.StepInput:
    return wire.StepInput(
        of["id"], number, of["definition"], state_to_json(made.state), log_to_json(made.log),
        effects_to_json(made.effects), datetime.now(UTC).isoformat(),
    )  # fmt: skip


@pytest_asyncio.fixture
async def scenario(database_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[TwoAccounts]:
    catalog = tmp_path / "catalog"
    shutil.copytree(ROOT / "catalog", catalog)
    (catalog / "consent.yaml").unlink()  # it belongs to the shipped policy
    (catalog / "policy.yaml").write_text(yaml.safe_dump({**POLICY, **getattr(request, "param", {})}))
    (catalog / "templates" / "note").mkdir()
    (catalog / "templates" / "note" / "plan.md").write_text(TEMPLATE)
    database = Database(database_url)
    settings = Settings(database_url=database_url, smtp_url="smtp://127.0.0.1:9", catalog=catalog)
    made = TwoAccounts(build_dependencies(settings, database))
    await made.begin()
    yield made
    await database.close()


# -- data and time zone ------------------------------------------------------------------------------------------------


async def test_C8_a_message_about_an_account_is_rendered_with_that_accounts_data(scenario: TwoAccounts) -> None:
    assert (await scenario.apply(await scenario.first_step()))["status"] == "sent"
    inbox = await scenario.inbox()
    assert (inbox["title"], inbox["body_text"]) == ("Planning the next year of North", "Before 01 March 2027.")


async def test_C8_a_deferred_message_about_an_account_is_rendered_with_that_accounts_data(
    scenario: TwoAccounts,
) -> None:
    await scenario.defer_by_kill_switch(await scenario.first_step())
    assert (await scenario.release())["status"] == "sent"
    assert (await scenario.inbox())["title"] == "Planning the next year of North"


async def test_a_user_journey_renders_the_account_that_the_person_joined_last(scenario: TwoAccounts) -> None:
    """A journey of a user reads the account that the user joined last."""
    await scenario.defer_by_kill_switch(await scenario.first_step(OF_USER, on="signed_up", user_id="mia"))
    traits = {"name": "West", "renewal_date": "2028-01-01T00:00:00Z"}
    await scenario.accept("group", user_id="mia", account_id="west", traits=traits)
    assert (await scenario.release())["status"] == "sent"
    assert (await scenario.inbox())["title"] == "Planning the next year of West"


@pytest.mark.parametrize("scenario", [quiet_hours_in_new_york()], indirect=True)
async def test_C7_a_message_in_quiet_hours_is_decided_again_when_the_time_zone_changes(scenario: TwoAccounts) -> None:
    await scenario.accept("identify", user_id="mia", traits={"timezone": NEW_YORK})
    message = await scenario.apply(await scenario.first_step())
    assert (message["status"], message["reasons"]) == ("deferred", ["quiet_hours"])
    assert (await scenario.settle())["status"] == "deferred", "nothing is due"
    async with scenario.deps.database.transaction() as connection:
        await execute(connection, sql("DELETE FROM outbox"))
    await scenario.accept("identify", user_id="mia", traits={"timezone": TOKYO})
    assert [row["recipient"] for row in await scenario.rows(_WOKEN)] == [await scenario.key_of("mia")]
    assert (await scenario.settle())["status"] == "sent"


@pytest.mark.parametrize("scenario", [quiet_hours_in_new_york()], indirect=True)
async def test_C7_a_changed_time_zone_counts_from_the_instant_of_its_event(scenario: TwoAccounts) -> None:
    """The change of an event is applied with that event: it is neither lost nor counted for the next event."""
    before = datetime.now(UTC) - timedelta(minutes=30)
    await scenario.accept("identify", user_id="mia", traits={"timezone": NEW_YORK}, timestamp=before)
    assert (await scenario.apply(await scenario.first_step()))["reasons"] == ["quiet_hours"]
    moved, later = (datetime.now(UTC) - timedelta(minutes=minutes) for minutes in (20, 10))
    batch = [
        InboundEvent("identify", "moves", "identify", user_id="mia", traits={"timezone": TOKYO}, timestamp=moved),
        InboundEvent("identify", "reads", "identify", user_id="mia", traits={"plan": "team"}, timestamp=later),
    ]
    await ingest.accept(scenario.deps.database, scenario.deps.catalogue, batch, source="test")
    assert (await scenario.message())["due_at"] == moved


@pytest.mark.parametrize("scenario", [quiet_hours_in_new_york()], indirect=True)
async def test_C7_quiet_hours_use_the_accounts_time_zone_for_a_person_without_one(scenario: TwoAccounts) -> None:
    await scenario.accept("group", user_id="mia", account_id="north", traits={"timezone": NEW_YORK})
    await scenario.accept("group", user_id="mia", account_id="south", traits={"timezone": TOKYO})
    assert (await scenario.apply(await scenario.first_step()))["reasons"] == ["quiet_hours"]
    await scenario.accept("group", account_id="north", traits={"timezone": TOKYO})
    assert (await scenario.settle())["status"] == "sent"


@pytest.mark.parametrize("asks", [True, False])
async def test_a_decision_is_retried_when_the_person_changes_account_before_the_lock(
    scenario: TwoAccounts, asks: bool
) -> None:
    """A step or a settlement that has locked the wrong account raises `Contended` and is tried again."""
    step = await scenario.first_step(OF_USER, on="signed_up", user_id="mia")
    if not asks:
        await scenario.defer_by_kill_switch(step)
        await kill_switches.release_switch(scenario.deps.database, scenario.switch, "test")
    async with scenario.deps.database.transaction() as moving:
        mia = (await subjects.lock_subjects(moving, [await scenario.key_of("mia")])).popitem()[1]
        deciding = asyncio.create_task(scenario.apply(step) if asks else scenario.settle())
        await scenario.wait_until_blocked()
        mia.account_key, mia.dirty = await scenario.key_of("north"), True
        await subjects.save_subjects(moving, [mia])
    with pytest.raises(Contended):
        await deciding
    assert (await scenario.apply(step) if asks else await scenario.settle())["status"] == "sent"
    assert (await scenario.inbox())["title"] == "Planning the next year of North"


# -- urgent tickets ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("account", ["north", "south"])
async def test_C6_an_urgent_ticket_of_any_account_of_the_person_defers_messages_until_resolved(
    scenario: TwoAccounts, account: str
) -> None:
    await scenario.ticket("ticket_opened", user_id="noa", account_id=account)
    message = await scenario.apply(await scenario.first_step())
    assert (message["status"], message["reasons"]) == ("deferred", ["urgent_ticket"])
    assert (await scenario.settle())["status"] == "deferred"
    await scenario.ticket("ticket_resolved", user_id="noa", account_id=account)
    assert (await scenario.settle())["status"] == "sent"


# -- leaving an account ------------------------------------------------------------------------------------------------


async def test_C8_a_person_who_left_the_account_gets_no_deferred_message_about_it(scenario: TwoAccounts) -> None:
    await scenario.defer_by_kill_switch(await scenario.first_step())
    await scenario.accept("track", "account_left", user_id="mia", account_id="north")
    message = await scenario.release()
    assert (message["status"], message["reasons"]) == ("withheld", ["no_recipient"])
    assert (await scenario.rows(sql("SELECT count(*) AS n FROM members")))[0]["n"] == 1, (
        "she is still a member of south"
    )


async def test_C8_a_step_requests_no_message_for_a_person_who_left(scenario: TwoAccounts) -> None:
    await scenario.accept("track", "account_left", user_id="mia", account_id="north")
    message = await scenario.apply(await scenario.first_step())
    assert (message["recipient"], message["reasons"]) == ("-", ["no_recipient"])


async def test_leaving_an_account_removes_its_fields_from_the_persons_journeys(scenario: TwoAccounts) -> None:
    await scenario.apply(await scenario.first_step(OF_USER, on="signed_up", user_id="mia"))
    await scenario.accept("track", "account_left", user_id="mia", account_id="south")
    mia = await scenario.key_of("mia")
    (known,) = await scenario.rows(sql("SELECT account_key FROM subjects WHERE key = :key"), key=mia)
    assert known["account_key"] is None
    (facts_row,) = await scenario.rows(
        sql("SELECT facts FROM outbox WHERE recipient = :key ORDER BY seq DESC LIMIT 1"), key=mia
    )
    assert json.loads(facts_row["facts"])["account"] == {}


async def test_the_last_event_of_a_batch_decides_the_membership_of_an_account(scenario: TwoAccounts) -> None:
    calls = [
        InboundEvent("group", "x1", "group", user_id="mia", account_id="west"),
        InboundEvent("track", "x2", "account_left", user_id="mia", account_id="west"),
        InboundEvent("track", "x3", "account_left", user_id="mia", account_id="north"),
        InboundEvent("group", "x4", "group", user_id="mia", account_id="north"),
    ]
    await ingest.accept(scenario.deps.database, scenario.deps.catalogue, calls, source="test")
    rows = await scenario.rows(
        sql("SELECT i.value FROM members m JOIN identities i ON i.subject_key = m.account_key ORDER BY 1")
    )
    assert [row["value"] for row in rows] == ["north", "south"]


async def test_C8_a_deferred_message_is_withheld_when_the_person_lost_the_role(scenario: TwoAccounts) -> None:
    await scenario.defer_by_kill_switch(await scenario.first_step())
    await scenario.accept("identify", user_id="mia", traits={"role": "finance"})
    message = await scenario.release()
    assert (message["status"], message["reasons"]) == ("withheld", ["no_recipient"])


async def test_C8_a_deferred_message_is_sent_when_the_person_has_another_addressed_role(scenario: TwoAccounts) -> None:
    await scenario.defer_by_kill_switch(await scenario.first_step())
    await scenario.accept("identify", user_id="mia", traits={"role": "champion"})
    assert (await scenario.release())["status"] == "sent"


# -- lock order --------------------------------------------------------------------------------------------------------


async def test_C3_an_account_step_waits_for_the_transaction_that_decides_its_members_messages(
    scenario: TwoAccounts,
) -> None:
    step = await scenario.first_step()
    await scenario.defer_by_kill_switch(step)
    async with scenario.deps.database.reading() as connection:
        chart = await scenario.deps.catalogue.chart(connection, step.definition)
        opened = await fetch_one(connection, _RUNS)
    inside = state_from_json(step.state)
    assert opened is not None
    made = decide(chart, inside, Signal(datetime.now(UTC), "renewal_plan_agreed", lane=opened["lane"], seq=2))
    async with scenario.deps.database.transaction() as deciding:
        await subjects.lock_subjects(deciding, [await scenario.key_of("mia")])
        leaving = asyncio.create_task(steps.apply_step(scenario.deps, _step(opened, 2, made)))
        await scenario.wait_until_blocked()
        assert not leaving.done()
    await leaving
    assert (await scenario.message())["status"] == "withdrawn"


async def test_resolving_a_ticket_waits_for_the_transaction_that_decides_the_members_messages(
    scenario: TwoAccounts,
) -> None:
    """People are locked before their messages: in the other order two transactions could deadlock."""
    await scenario.ticket("ticket_opened", user_id="noa", account_id="north")
    await scenario.apply(await scenario.first_step())
    async with scenario.deps.database.transaction() as deciding:
        await subjects.lock_subjects(deciding, [await scenario.key_of("mia")])
        resolving = asyncio.create_task(scenario.ticket("ticket_resolved", user_id="noa", account_id="north"))
        await scenario.wait_until_blocked()
        await execute(deciding, sql("UPDATE messages SET decided_at = now()"))  # the row is not locked
        assert not resolving.done()
    await resolving
    assert (await scenario.settle())["status"] == "sent"
