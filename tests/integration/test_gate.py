"""The send gate on real Postgres, real runs and a real sink: exact caps, cooldowns that defer, consent that acts at once."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
import yaml

from store.consents import Change, change_consent
from tests.living import Living, living
from worker.settings import ROOT

POLICY = {
    "consent": [{"default": "granted"}],
    "caps": [{"name": "three", "channel": "email", "limit": 3, "window": "P1D"}],
    "cooldowns": [{"name": "inbox", "channel": "in_app", "between": "PT1S"}],
}
MANY = 8


def journey(
    name: str,
    channel: str = "email",
    states: str = "inside: {do: [{send: education/first-value, via: [CHANNEL]}], on: {done: over}}",
) -> str:
    return f"""
journey: {name}
entry: {{on: signed_up, again: never}}
exit: [{{on: account_closed}}]
topic: onboarding
start: inside
states:
  {states.replace("CHANNEL", channel)}
  over: {{final: finished}}
"""


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    folder = tmp_path / "catalog"
    shutil.copytree(ROOT / "catalog", folder)
    (folder / "policy.yaml").write_text(yaml.safe_dump(POLICY))
    return folder


@pytest_asyncio.fixture
async def house(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path, catalog: Path
) -> AsyncIterator[Living]:
    async with living(database_url, temporal_address, task_queue, tmp_path, catalog=catalog) as found:
        await found.accept(found.identify("ada", email="ada@example.com", first_name="Ada"))
        yield found


async def test_C2_a_cap_is_exact_when_many_journeys_send_at_once(house: Living) -> None:
    for n in range(MANY):
        await house.publish(journey(f"j{n}"))
    await house.accept(house.track("ada", "signed_up"))
    await house.until("SELECT count(*) FROM messages", lambda n: n == MANY)
    await house.until("SELECT count(*) FROM messages WHERE status = 'sending'", lambda n: n == 0)
    found = {
        row["status"]: row["n"] for row in await house.rows("SELECT status, count(*) AS n FROM messages GROUP BY 1")
    }
    assert found == {"sent": 3, "deferred": MANY - 3}
    assert house.mail.count() == 3


async def test_C2_a_cooldown_defers_and_the_message_goes_when_it_ends(house: Living) -> None:
    for name in ("a", "b"):
        await house.publish(journey(name, "in_app"))
    await house.accept(house.track("ada", "signed_up"))
    await house.until("SELECT count(*) FROM messages WHERE status = 'sent'", lambda n: n == 2)
    apart = await house.rows("SELECT max(sent_at) - min(sent_at) AS apart FROM messages")
    assert apart[0]["apart"].total_seconds() >= 1.0
    deferred = await house.rows(
        "SELECT text FROM timeline WHERE kind = 'gate' AND text LIKE 'deferred%cooldown inbox%'"
    )
    assert len(deferred) == 1


async def test_C3_what_was_queued_is_withdrawn_when_its_state_is_left(house: Living) -> None:
    for n in range(4):
        await house.publish(journey(f"j{n}"))
    await house.accept(house.track("ada", "signed_up"))
    await house.until("SELECT count(*) FROM messages WHERE status = 'deferred'", lambda n: n == 1)
    await house.accept(house.track("ada", "done"))
    await house.until("SELECT count(*) FROM messages WHERE status = 'withdrawn'", lambda n: n == 1)
    told = await house.rows("SELECT text FROM timeline WHERE kind = 'withdrawn'")
    assert [row["text"] for row in told] == ["withdrawn: inside was left for over on done"]


async def test_C5_saying_no_takes_back_what_is_queued_and_ends_runs_that_have_no_channel_left(house: Living) -> None:
    for n in range(4):
        await house.publish(journey(f"j{n}"))
    await house.accept(house.track("ada", "signed_up"))
    await house.until("SELECT count(*) FROM messages WHERE status = 'deferred'", lambda n: n == 1)
    person = (await house.rows("SELECT key FROM subjects"))[0]["key"]
    change = Change("email", "onboarding", granted=False, source="test")
    effect = await change_consent(house.database, house.house.catalogue, house.house.policy, person, change)
    assert (effect.withdrawn, effect.ended) == (1, 4)
    assert await house.until("SELECT count(*) FROM runs WHERE outcome = 'opted_out'", lambda n: n == 4)
    assert house.mail.count() == 3


async def test_a_message_without_an_address_is_withheld_and_says_so(house: Living) -> None:
    await house.publish(journey("a"))
    await house.accept(house.track("bob", "signed_up"))
    reasons = await house.until("SELECT reasons FROM messages WHERE status = 'withheld'")
    assert "no_address" in str(reasons)


async def test_a_template_that_cannot_be_sent_is_a_failed_row_and_the_run_goes_on(house: Living, catalog: Path) -> None:
    await house.publish(journey("a").replace("education/first-value", "no/such-template"))
    await house.accept(house.track("ada", "signed_up"))
    await house.until("SELECT count(*) FROM messages WHERE status = 'failed'")
    await house.accept(house.track("ada", "done"))
    assert await house.until("SELECT outcome FROM runs") == "finished"
