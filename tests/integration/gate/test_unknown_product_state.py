"""H8: what a message says of a person or an account is known, or it does not go; and it says which fields are not."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import yaml

from tests.support.live_stack import Living, living
from worker.settings import ROOT

POLICY = {
    "consent": [{"default": "granted"}],
    "consolidate": [{"name": "one", "channel": "in_app", "window": "PT1H", "template": "digest/together"}],
}
SAYS = """---
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
async def deps(database_url: str, temporal_address: str, task_queue: str, tmp_path: Path) -> AsyncIterator[Living]:
    catalog = tmp_path / "catalog"
    shutil.copytree(ROOT / "catalog", catalog)
    (catalog / "policy.yaml").write_text(yaml.safe_dump(POLICY))
    (catalog / "consent.yaml").unlink()
    (catalog / "templates" / "state").mkdir()
    (catalog / "templates" / "state" / "says.md").write_text(SAYS)
    async with living(database_url, temporal_address, task_queue, tmp_path, catalog=catalog) as found:
        yield found


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
            "the person has no address for sms",
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
async def test_H8_a_message_whose_words_need_what_nobody_has_told_is_withheld_with_the_fields(
    deps: Living, priority: str, traits: dict[str, str], outcome: str, codes: list[str], text: str
) -> None:
    await deps.publish(
        JOURNEY.replace("PRIORITY", priority),
        {"event.says.withheld.reason": "string", "event.says.failed.reason": "string"},
    )
    await deps.accept(deps.identify("ada", **traits), deps.track("ada", "signed_up"))
    assert await deps.until("SELECT outcome FROM runs") == outcome  # its run hears it, with the reason
    (row,) = await deps.rows(
        "SELECT status, reasons->0->>'text' AS text, jsonb_path_query_array(reasons, '$[*].code') AS codes FROM messages"
    )
    assert (row["status"], row["text"]) == (outcome, text)
    assert yaml.safe_load(str(row["codes"])) == codes


async def test_H8_what_one_part_of_a_digest_lacks_withholds_no_other(deps: Living) -> None:
    both = JOURNEY.replace("PRIORITY}]", "lifecycle}, {send: education/first-value, name: plain, via: [in_app]}]")
    await deps.publish(both, {"event.says.withheld.reason": "string", "event.says.failed.reason": "string"})
    await deps.accept(deps.identify("ada"), deps.track("ada", "signed_up"))
    await deps.until("SELECT count(*) FROM messages", lambda n: n == 2)
    found = {
        row["action"]: row
        for row in await deps.rows("SELECT action, status, reasons->0->>'code' AS code FROM messages")
    }
    assert (found["says"]["status"], found["says"]["code"]) == ("withheld", "state_unknown")
    assert (found["plain"]["status"], found["plain"]["code"]) == ("sent", None)
