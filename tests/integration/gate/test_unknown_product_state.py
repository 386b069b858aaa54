"""A message whose template reads unknown fields is not sent, and its reason names them (H8)."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import yaml

from tests.support.live_stack import LiveStack, live_stack
from worker.settings import ROOT

POLICY = {
    "consent": [{"default": "granted"}],
    "consolidate": [{"name": "one", "channel": "in_app", "window": "PT1H", "template": "digest/together"}],
}
TEMPLATE = """---
owner: lifecycle-team
topic: onboarding
stage: onboarding
review_date: 2099-03-31
status: live
channels: [email, in_app]
subject: "{{ profile.plan }}: what it brings you"
action: {label: Look, url: "https://app.example.com/"}
---
{% if profile.campaign %}You came by {{ profile.campaign }}.{% endif %} {{ profile.first_name | default: "Friend" }}, you are in {{ profile.stage }}.
"""
JOURNEY = """
journey: says
entry: {on: signed_up, again: never}
exit: [{on: account_closed}]
topic: onboarding
start: inside
states:
  inside:
    do: [{send: state/says, name: says, via: [sms, in_app], priority: PRIORITY}]
    on:
      says.withheld: {to: withheld, when: event.reason == "state_unknown"}
      says.failed: {to: failed, when: event.reason == "template"}
      says.sent: sent
  withheld: {final: withheld}
  failed: {final: failed}
  sent: {final: sent}
"""


@pytest_asyncio.fixture
async def stack(database_url: str, temporal_address: str, task_queue: str, tmp_path: Path) -> AsyncIterator[LiveStack]:
    catalog = tmp_path / "catalog"
    shutil.copytree(ROOT / "catalog", catalog)
    (catalog / "policy.yaml").write_text(yaml.safe_dump(POLICY))
    (catalog / "consent.yaml").unlink()
    (catalog / "templates" / "state").mkdir()
    (catalog / "templates" / "state" / "says.md").write_text(TEMPLATE)
    async with live_stack(database_url, temporal_address, task_queue, tmp_path, catalog=catalog) as stack:
        yield stack


@pytest.mark.parametrize(
    ("priority", "traits", "outcome", "codes", "text"),
    [
        ("lifecycle", {}, "withheld", ["state_unknown", "no_address"], "not known: profile.plan, profile.stage"),
        ("lifecycle", {"plan": "team"}, "withheld", ["state_unknown", "no_address"], "not known: profile.stage"),
        (
            "lifecycle",
            {"plan": "team", "stage": "adoption"},
            "sent",
            ["no_address"],
            "no provider is configured for sms",
        ),
        (
            "transactional",
            {"plan": "team"},
            "failed",
            ["template", "no_address"],
            "state/says: profile.stage is undefined",
        ),
    ],
)
async def test_H8_a_message_whose_template_reads_unknown_fields_is_not_sent_and_names_them(
    stack: LiveStack, priority: str, traits: dict[str, str], outcome: str, codes: list[str], text: str
) -> None:
    await stack.publish(
        JOURNEY.replace("PRIORITY", priority),
        {"event.says.withheld.reason": "string", "event.says.failed.reason": "string"},
    )
    await stack.accept(stack.identify("ada", **traits), stack.track("ada", "signed_up"))
    assert await stack.until("SELECT outcome FROM runs") == outcome  # the run gets the outcome with the reason
    (row,) = await stack.rows(
        "SELECT status, reasons->0->>'text' AS text, jsonb_path_query_array(reasons, '$[*].code') AS codes FROM messages"
    )
    assert (row["status"], row["text"]) == (outcome, text)
    assert yaml.safe_load(str(row["codes"])) == codes


async def test_H8_an_unknown_field_of_one_part_withholds_only_that_part(stack: LiveStack) -> None:
    both = JOURNEY.replace("PRIORITY}]", "lifecycle}, {send: education/first-value, name: plain, via: [in_app]}]")
    await stack.publish(both, {"event.says.withheld.reason": "string", "event.says.failed.reason": "string"})
    await stack.accept(stack.identify("ada"), stack.track("ada", "signed_up"))
    await stack.until("SELECT count(*) FROM messages", lambda n: n == 2)
    messages = {
        row["action"]: row
        for row in await stack.rows("SELECT action, status, reasons->0->>'code' AS code FROM messages")
    }
    assert (messages["says"]["status"], messages["says"]["code"]) == ("withheld", "state_unknown")
    assert (messages["plain"]["status"], messages["plain"]["code"]) == ("sent", None)
