"""Content on its whole way: a journey's mail is clicked and its checklist ticks itself, and the journey hears of both."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from store.engagement import clicks
from tests.support.live_stack import living
from worker.composition.mail import tracked_links

JOURNEY = """
journey: {key}
subject: user
entry: {{on: signed_up}}
goal: {{on: account_closed}}
topic: onboarding
start: here
states:
  here:
    do: [{{send: {template}, name: it, via: {channel}}}]
    on: {{{signal}: {{to: there, when: event.action == "it"}}}}
  there: {{final: heard}}
"""
TYPES = {f"event.{name}.action": "string" for name in ("message_clicked", "checklist_completed")}


@pytest.fixture
def linked(monkeypatch):
    monkeypatch.setenv("TENURE_LINK_BASE", "https://l.example")


async def test_M1_a_journey_hears_that_its_mail_was_clicked(
    linked, database_url, temporal_address, task_queue, run_folder
):
    async with living(database_url, temporal_address, task_queue, run_folder / task_queue) as deps:
        source = JOURNEY.format(key="mailed", template="setup/first-steps", channel="email", signal="message_clicked")
        await deps.publish(source, TYPES)
        await deps.accept(deps.identify("ada", email="ada@example.com", locale="de-AT"), deps.track("ada", "signed_up"))
        await deps.until("SELECT count(*) FROM messages WHERE status = 'sent'")
        (row,) = await deps.rows("SELECT key, summary FROM messages")
        summary = json.loads(row["summary"])
        assert (summary["variant"], summary["links"]) == ("de", [{"url": "https://app.example.com/setup"}])
        (mail,) = (path.read_text() for path in (Path(run_folder) / task_queue / "mail" / "new").iterdir())
        links = tracked_links(deps.settings)
        token = re.search(r"https://l\.example/c/([\w-]+)", mail.replace("=\n", "").replace("=\r\n", ""))
        assert links is not None
        assert token is not None
        key, link = links.read(token[1]) or ("", -1)
        assert (key, link) == (row["key"], 0)
        async with deps.database.transaction() as connection:
            await connection.execute("UPDATE messages SET sent_at = sent_at - interval '1 minute'")
        to = await clicks.record_click(deps.database, deps.deps.catalogue, key, link, counts=True)
        assert to == "https://app.example.com/setup"
        assert await deps.until("SELECT outcome FROM runs") == "heard"


async def test_C1_a_journey_hears_that_its_checklist_is_complete(
    database_url, temporal_address, task_queue, run_folder
):
    async with living(database_url, temporal_address, task_queue, run_folder / task_queue) as deps:
        await deps.publish(
            JOURNEY.format(
                key="listed", template="setup/your-checklist", channel="in_app", signal="checklist_completed"
            ),
            TYPES,
        )
        await deps.accept(deps.track("ada", "signed_up"))
        await deps.until("SELECT count(*) FROM inbox")
        await deps.accept(deps.track("ada", "integration_connected"), deps.track("bo", "activated"))
        ticked = "SELECT count(*) FROM checklist_items WHERE done_at IS NOT NULL"
        assert (await deps.rows(ticked))[0]["count"] == 1
        await deps.accept(deps.track("ada", "activated"), deps.track("ada", "setup_completed"))
        assert (await deps.rows(ticked))[0]["count"] == 3
        assert await deps.until("SELECT outcome FROM runs") == "heard"
