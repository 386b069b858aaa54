"""Content end to end: a journey receives the click on its mail and the completion of its checklist."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from store.engagement import clicks
from tests.support.live_stack import live_stack
from tests.support.own_keys import OWN_ENVIRONMENT
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
def link_base(monkeypatch):
    for name, value in {**OWN_ENVIRONMENT, "TENURE_LINK_BASE": "https://l.example"}.items():
        monkeypatch.setenv(name, value)


async def test_M1_a_journey_receives_the_click_on_its_mail(
    link_base, database_url, temporal_address, task_queue, run_folder
):
    async with live_stack(database_url, temporal_address, task_queue, run_folder / task_queue) as stack:
        source = JOURNEY.format(key="mailed", template="setup/first-steps", channel="email", signal="message_clicked")
        await stack.publish(source, TYPES)
        await stack.accept(
            stack.identify("ada", email="ada@example.com", locale="de-AT"), stack.track("ada", "signed_up")
        )
        await stack.until("SELECT count(*) FROM messages WHERE status = 'sent'")
        (row,) = await stack.rows("SELECT key, summary FROM messages")
        summary = json.loads(row["summary"])
        assert (summary["variant"], summary["links"]) == ("de", [{"url": "https://app.example.com/setup"}])
        (mail,) = (path.read_text() for path in (Path(run_folder) / task_queue / "mail" / "new").iterdir())
        links = tracked_links(stack.settings)
        token = re.search(r"https://l\.example/c/([\w-]+)", mail.replace("=\n", "").replace("=\r\n", ""))
        assert links is not None
        assert token is not None
        key, link = links.read(token[1]) or ("", -1)
        assert (key, link) == (row["key"], 0)
        async with stack.database.transaction() as connection:
            await connection.execute("UPDATE messages SET sent_at = sent_at - interval '1 minute'")
        to = await clicks.record_click(stack.database, stack.deps.catalogue, key, link, counts=True)
        assert to == "https://app.example.com/setup"
        assert await stack.until("SELECT outcome FROM runs") == "heard"


async def test_C1_a_journey_receives_the_completion_of_its_checklist(
    database_url, temporal_address, task_queue, run_folder
):
    async with live_stack(database_url, temporal_address, task_queue, run_folder / task_queue) as stack:
        await stack.publish(
            JOURNEY.format(
                key="listed", template="setup/your-checklist", channel="in_app", signal="checklist_completed"
            ),
            TYPES,
        )
        await stack.accept(stack.track("ada", "signed_up"))
        await stack.until("SELECT count(*) FROM inbox")
        await stack.accept(stack.track("ada", "integration_connected"), stack.track("bo", "activated"))
        ticked = "SELECT count(*) FROM checklist_items WHERE done_at IS NOT NULL"
        assert (await stack.rows(ticked))[0]["count"] == 1
        await stack.accept(stack.track("ada", "activated"), stack.track("ada", "setup_completed"))
        assert (await stack.rows(ticked))[0]["count"] == 3
        assert await stack.until("SELECT outcome FROM runs") == "heard"
