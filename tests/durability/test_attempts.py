"""How long a message is tried, and what the search for a lost one may cost the people who wait behind it."""

from __future__ import annotations

import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from activities import outreach
from activities.channels.email import EmailChannel, EmailSettings
from activities.channels.relay import Relay
from activities.house import House
from activities.step import apply_step
from activities.templates import load_templates
from journeys import wire
from journeys.incoming import Incoming
from journeys.policy import load_policy
from store import ingest, owed
from store.catalogue import Catalogue
from store.database import Database, rows, run, sql
from tests.living import Living, living
from tests.stepping import first_steps, publish
from worker.rehearsing import rehearsal
from worker.settings import ROOT

TWO_MAILS = """
journey: two-mails
entry: {on: signed_up, again: never}
topic: onboarding
start: waiting
states:
  waiting:
    do: [{send: setup/first-steps, via: [email]}]
    on: {setup_completed: {do: [{send: setup/checklist, via: [email]}]}}
"""
SILENCE = 1.5
RARELY = """
consent: [{default: granted}]
cooldowns: [{name: rarely, channel: email, between: P2D}]
"""


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """The shipped templates, and a policy that keeps mails two days apart."""
    folder = tmp_path / "catalog"
    shutil.copytree(ROOT / "catalog", folder)
    (folder / "policy.yaml").write_text(RARELY)
    (folder / "consent.yaml").unlink(missing_ok=True)  # it speaks of the shipped policy
    return folder


async def test_a_mail_that_was_held_for_two_days_is_tried_again_when_its_relay_is_busy(
    database_url: str, temporal_address: str, tmp_path: Path, catalog: Path
) -> None:
    async with rehearsal(database_url, temporal_address, tmp_path, catalog=catalog) as stage:
        await stage.publish(TWO_MAILS, checked=False)
        await stage.identify("ada", email="ada@example.com", first_name="Ada")
        await stage.signal("ada", "signed_up")
        await stage.signal("ada", "setup_completed")
        await stage.identify("ada", email="ada@busy.example")
        await stage.forward(days=2, minutes=10)
        (retried,) = await stage.messages(status="deferred")
        (row,) = await stage._rows(
            sql("SELECT attempts, first_attempt_at, due_at FROM messages WHERE status = 'deferred'")
        )
        assert row["attempts"] > 1
        assert retried["due_at"] > row["first_attempt_at"] > retried["at"]


async def test_a_mail_is_given_up_a_day_after_its_first_attempt(
    database_url: str, temporal_address: str, tmp_path: Path
) -> None:
    async with rehearsal(database_url, temporal_address, tmp_path) as stage:
        await stage.publish(TWO_MAILS, checked=False)
        await stage.identify("ada", email="ada@busy.example", first_name="Ada")
        await stage.signal("ada", "signed_up")
        async with stage.database.transaction() as connection:
            await run(connection, sql("UPDATE messages SET first_attempt_at = first_attempt_at - interval '24 hours'"))
        await stage.forward(minutes=1)
        (given_up,) = await stage.messages(status="failed")
        assert given_up["template"] == "setup/first-steps"


@pytest_asyncio.fixture
async def house(database_url: str, temporal_address: str, task_queue: str, tmp_path: Path) -> AsyncIterator[Living]:
    async with living(database_url, temporal_address, task_queue, tmp_path) as found:
        yield found


ONE_MAIL = """
journey: NAME
entry: {on: signed_up, again: never}
start: waiting
states:
  waiting: {do: [{send: setup/first-steps, via: [email]}], on: {left: over}}
  over: {final: done}
"""


async def test_a_provider_that_answers_no_search_holds_a_person_for_a_second_at_most(database_url: str) -> None:
    database = Database(database_url, pool=2)
    free = load_policy({"consent": [{"default": "granted"}]})
    house = House(database, Catalogue(), free, {"email": _silent()})
    for name in ("one", "two"):
        await publish(database, ONE_MAIL.replace("NAME", name))
    calls = [
        Incoming("identify", "i", "identify", user_id="ada", traits={"email": "ada@example.com"}),
        Incoming("track", "t", "signed_up", user_id="ada"),
    ]
    await ingest.accept(database, house.catalogue, calls, source="test")
    for step in (await first_steps(database, house.catalogue, "signed_up")).values():
        await apply_step(house, wire.StepInput(**step))
    async with database.transaction() as connection:
        await run(connection, sql("UPDATE messages SET status = 'sending', lease_until = now()"))
        person = (await rows(connection, sql("SELECT recipient FROM messages")))[0]["recipient"]
    began = time.monotonic()
    await outreach.settle_due(house, wire.SettleInput(person, "2026-01-01T00:00:00+00:00"), {})
    assert time.monotonic() - began < 2 * SILENCE
    async with database.reading() as connection:
        found = await rows(connection, sql("SELECT status, detail FROM messages"))
    assert [(row["status"], row["detail"]) for row in found] == [("sending", "cannot be asked now")] * 2
    await database.close()


def _silent() -> EmailChannel:
    """The channel, with a relay that is not there, and a provider that takes its time over every search."""

    def search(_: str) -> bool:
        time.sleep(SILENCE)
        return True

    nobody = Relay(host="127.0.0.1", port=1)
    return EmailChannel(load_templates(ROOT / "catalog" / "templates"), EmailSettings(relay=nobody), search=search)


async def test_a_mail_that_is_asked_for_again_by_hand_goes_through_the_gate_to_where_the_person_is_now(
    house: Living,
) -> None:
    await house.publish(TWO_MAILS)
    await house.accept(house.identify("ada", email="ada@bounce.example", first_name="Ada"))
    await house.accept(house.track("ada", "signed_up"))
    await house.until("SELECT count(*) FROM messages WHERE status = 'failed'")
    await house.accept(house.identify("ada", email="ada@example.com"))
    (row,) = await house.rows("SELECT id FROM messages")
    assert await owed.resend(house.database, row["id"])
    await house.until("SELECT count(*) FROM messages WHERE status = 'sent'")
    assert house.mail.count() == 1
    assert not await owed.resend(house.database, row["id"])
