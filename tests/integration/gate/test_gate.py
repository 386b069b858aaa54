"""The send gate on real runs and a mail sink: caps, cooldowns, consent, digests, holds and kill switches."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
import yaml

from journeys.consent.changes import ConsentChange
from journeys.events.inbound import InboundEvent
from journeys.gate.policy import SurgeBrake
from store.consent import suppressions
from store.database import execute, sql
from store.events.changes import change_consents
from store.messages import holds, kill_switches
from tests.support.live_stack import LiveStack, live_stack
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
    (folder / "consent.yaml").unlink(missing_ok=True)  # it belongs to the shipped policy
    return folder


@pytest_asyncio.fixture
async def stack(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path, catalog: Path
) -> AsyncIterator[LiveStack]:
    async with live_stack(database_url, temporal_address, task_queue, tmp_path, catalog=catalog) as stack:
        await stack.accept(stack.identify("ada", email="ada@example.com", first_name="Ada"))
        yield stack


async def test_C2_a_cap_is_exact_when_many_journeys_send_at_once(stack: LiveStack) -> None:
    for n in range(MANY):
        await stack.publish(journey(f"j{n}"))
    await stack.accept(stack.track("ada", "signed_up"))
    await stack.until("SELECT count(*) FROM messages", lambda n: n == MANY)
    await stack.until("SELECT count(*) FROM messages WHERE status = 'sending'", lambda n: n == 0)
    counts = {
        row["status"]: row["n"] for row in await stack.rows("SELECT status, count(*) AS n FROM messages GROUP BY 1")
    }
    assert counts == {"sent": 3, "deferred": MANY - 3}
    assert stack.mail.count() == 3


async def test_C2_a_cooldown_defers_a_message_until_it_ends(stack: LiveStack) -> None:
    for name in ("a", "b"):
        await stack.publish(journey(name, "in_app"))
    await stack.accept(stack.track("ada", "signed_up"))
    await stack.until("SELECT count(*) FROM messages WHERE status = 'sent'", lambda n: n == 2)
    apart = await stack.rows("SELECT max(sent_at) - min(sent_at) AS apart FROM messages")
    assert apart[0]["apart"].total_seconds() >= 1.0
    deferred = await stack.rows(
        "SELECT text FROM timeline WHERE kind = 'gate' AND text LIKE 'deferred%cooldown inbox%'"
    )
    assert len(deferred) == 1


async def test_C3_a_queued_message_is_withdrawn_when_its_state_is_left(stack: LiveStack) -> None:
    for n in range(4):
        await stack.publish(journey(f"j{n}"))
    await stack.accept(stack.track("ada", "signed_up"))
    await stack.until("SELECT count(*) FROM messages WHERE status = 'deferred'", lambda n: n == 1)
    await stack.accept(stack.track("ada", "done"))
    await stack.until("SELECT count(*) FROM messages WHERE status = 'withdrawn'", lambda n: n == 1)
    lines = await stack.rows("SELECT text FROM timeline WHERE kind = 'withdrawn'")
    assert [row["text"] for row in lines] == ["withdrawn: inside was left for over on done"]


async def test_C5_an_opt_out_withdraws_queued_messages_and_ends_runs_without_a_channel(stack: LiveStack) -> None:
    for n in range(4):
        await stack.publish(journey(f"j{n}"))
    await stack.accept(stack.track("ada", "signed_up"))
    await stack.until("SELECT count(*) FROM messages WHERE status = 'deferred'", lambda n: n == 1)
    person = (await stack.rows("SELECT key FROM subjects"))[0]["key"]
    change = ConsentChange("email", "onboarding", granted=False, source="test")
    effect = await change_consents(stack.database, stack.deps.catalogue, stack.deps.policy, person, [change])
    assert (effect.withdrawn, effect.ended) == (1, 4)
    assert await stack.until("SELECT count(*) FROM runs WHERE outcome = 'opted_out'", lambda n: n == 4)
    assert stack.mail.count() == 3


async def test_a_message_without_an_address_is_withheld_with_the_reason(stack: LiveStack) -> None:
    await stack.publish(journey("a"))
    await stack.accept(stack.track("bob", "signed_up"))
    reasons = await stack.until("SELECT reasons FROM messages WHERE status = 'withheld'")
    assert "no_address" in str(reasons)


async def test_a_message_with_a_broken_template_fails_and_its_run_goes_on(stack: LiveStack, catalog: Path) -> None:
    await stack.publish(journey("a").replace("education/first-value", "no/such-template"))
    await stack.accept(stack.track("ada", "signed_up"))
    await stack.until("SELECT count(*) FROM messages WHERE status = 'failed'")
    await stack.accept(stack.track("ada", "done"))
    assert await stack.until("SELECT outcome FROM runs") == "finished"


# -- digests -----------------------------------------------------------------------------------------------------------

CONSOLIDATING = {
    "consent": [{"default": "granted"}],
    "cooldowns": [{"name": "breath", "channel": "in_app", "between": "PT2S"}],
    "consolidate": [{"name": "one", "channel": "in_app", "window": "PT1H", "template": "digest/together"}],
}


@pytest_asyncio.fixture
async def consolidating_stack(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path, catalog: Path
) -> AsyncIterator[LiveStack]:
    (catalog / "policy.yaml").write_text(yaml.safe_dump(CONSOLIDATING))
    (catalog / "consent.yaml").unlink(missing_ok=True)  # it belongs to the shipped policy
    async with live_stack(database_url, temporal_address, task_queue, tmp_path, catalog=catalog) as stack:
        await stack.accept(stack.identify("ada", email="ada@example.com", first_name="Ada"))
        yield stack


async def test_C4_messages_due_together_become_one_digest_and_every_run_gets_its_outcome(
    consolidating_stack: LiveStack,
) -> None:
    stack = consolidating_stack
    state = "inside: {do: [{send: education/first-value, via: [in_app], name: tip}], on: {tip.sent: over}}"
    for name in ("a", "b", "c"):
        await stack.publish(journey(name, states=state))
    await stack.accept(stack.track("ada", "signed_up"))
    await stack.until("SELECT count(*) FROM runs WHERE status = 'closed'", lambda n: n == 3)
    rows = await stack.rows("SELECT key, status, merged_into, sent_at FROM messages ORDER BY id")
    alone = [row for row in rows if row["status"] == "sent" and not row["key"].startswith("digest/")]
    digests = [row for row in rows if row["key"].startswith("digest/")]
    assert (len(alone), len(digests)) == (1, 1), "the first is sent at once, the two deferred ones become a digest"
    assert {row["merged_into"] for row in rows if row["status"] == "merged"} == {digests[0]["key"]}
    assert (await stack.rows("SELECT count(*) AS n FROM inbox"))[0]["n"] == 2
    content = (await stack.rows("SELECT content::text AS text FROM inbox ORDER BY id DESC LIMIT 1"))[0]["text"]
    assert content.count('"action"') >= 2, "each part keeps its own action"


async def test_C6_a_replaced_message_is_reported_to_its_run_as_withheld(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path, catalog: Path
) -> None:
    waiting = {"cooldowns": [{"name": "breath", "channel": "in_app", "between": "PT10M"}]}
    (catalog / "policy.yaml").write_text(yaml.safe_dump({**CONSOLIDATING, **waiting}))
    (catalog / "consent.yaml").unlink(missing_ok=True)
    state = "inside: {do: [{send: education/first-value, via: [in_app], name: tip}], on: {tip.withheld: over}}"
    async with live_stack(database_url, temporal_address, task_queue, tmp_path, catalog=catalog) as stack:
        for name, on, priority in (("news", "signed_up", "lifecycle"), ("offer", "pricing_viewed", "promotional"),
                                   ("help", "go", "lifecycle")):  # fmt: skip
            text = journey(name, states=state).replace("on: signed_up", f"on: {on}")
            await stack.publish(text.replace("topic: onboarding", f"topic: onboarding\npriority: {priority}"))
        await stack.accept(stack.track("ada", "signed_up"))
        await stack.until("SELECT count(*) FROM messages WHERE status = 'sent'", lambda n: n == 1)
        await stack.accept(stack.track("ada", "pricing_viewed"))
        await stack.until("SELECT count(*) FROM messages WHERE status = 'deferred'", lambda n: n == 1)
        await stack.accept(stack.track("ada", "go"))
        assert await stack.until("SELECT outcome FROM runs WHERE journey = 'offer'") == "finished"
        rows = await stack.rows("SELECT journey, status FROM messages ORDER BY id")
        assert [tuple(row.values()) for row in rows] == [("news", "sent"), ("offer", "replaced"), ("help", "deferred")]


async def test_C5_a_message_to_a_suppressed_address_is_withheld(stack: LiveStack) -> None:
    async with stack.database.transaction() as connection:
        addresses = stack.deps.catalogue.consent.addresses
        await suppressions.suppress(
            connection, addresses, "email", "ada@example.com", reason="hard_bounce", source="test", at=datetime.now(UTC)
        )
    await stack.publish(journey("a"))
    await stack.accept(stack.track("ada", "signed_up"))
    reasons = await stack.until("SELECT reasons FROM messages WHERE status = 'withheld'")
    assert "suppressed" in str(reasons)


async def test_P4_messages_to_a_person_on_hold_wait_until_it_is_released(stack: LiveStack) -> None:
    await stack.publish(journey("a"))
    person = (await stack.rows("SELECT key FROM subjects WHERE kind = 'user'"))[0]["key"]
    now = datetime.now(UTC)
    await holds.place_hold(stack.database, person, until=now + timedelta(days=1), by="dana", why="we talk", now=now)
    await stack.accept(stack.track("ada", "signed_up"))
    reasons = await stack.until("SELECT reasons FROM messages WHERE status = 'deferred'")
    assert "dana has put automation on hold" in str(reasons)
    await holds.release_hold(stack.database, person, by="dana", now=datetime.now(UTC))
    await stack.until("SELECT count(*) FROM messages WHERE status = 'sent'", lambda n: n == 1)


async def test_C6_after_a_hold_the_message_of_higher_priority_goes_first(stack: LiveStack) -> None:
    await stack.publish(journey("offer", "in_app").replace("topic:", "priority: promotional\ntopic:"))
    await stack.publish(journey("help", "in_app"))
    person = (await stack.rows("SELECT key FROM subjects WHERE kind = 'user'"))[0]["key"]
    now = datetime.now(UTC)
    await holds.place_hold(stack.database, person, until=now + timedelta(days=1), by="dana", why="we talk", now=now)
    await stack.accept(stack.track("ada", "signed_up"))
    await stack.until("SELECT count(*) FROM messages WHERE status = 'deferred'", lambda n: n == 2)
    # The offer has waited longer; the cooldown allows one message.
    async with stack.database.transaction() as connection:
        await connection.execute("UPDATE messages SET due_at = due_at - interval '1 second' WHERE journey = 'offer'")
    await holds.release_hold(stack.database, person, by="dana", now=datetime.now(UTC))
    await stack.until("SELECT count(*) FROM messages WHERE status = 'sent'", lambda n: n == 2)
    sent = await stack.rows("SELECT journey FROM messages ORDER BY sent_at")
    assert [item["journey"] for item in sent] == ["help", "offer"]


# -- kill switches -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "name"), [("all", ""), ("channel", "email"), ("journey", "a"), ("template", "education/first-value")]
)
async def test_a_kill_switch_defers_the_messages_in_its_scope_until_it_is_released(
    stack: LiveStack, scope: kill_switches.KillSwitchScope, name: str
) -> None:
    await stack.publish(journey("a"))
    async with stack.database.transaction() as connection:
        switch = await kill_switches.engage(connection, scope, name, "the link is broken", "dana")
    await stack.accept(stack.track("ada", "signed_up"))
    reasons = await stack.until("SELECT reasons FROM messages WHERE status = 'deferred'")
    assert "the link is broken" in str(reasons)
    released = await kill_switches.release_switch(stack.database, switch["id"], "dana")
    assert released is not None
    assert released["released_by"] == "dana"
    await stack.until("SELECT count(*) FROM messages WHERE status = 'sent'", lambda n: n == 1)
    assert stack.mail.count() == 1


async def test_the_surge_brake_stops_a_journey_once_and_not_again_after_its_release(
    stack: LiveStack,
) -> None:
    rule = SurgeBrake(times=3, least=5)
    for name in ("calm", "wild"):
        await stack.publish(journey(name))
    async with stack.database.transaction() as connection:
        await execute(connection, sql(_SURGE), journey="calm", count=5)
        await execute(connection, sql(_SURGE), journey="wild", count=6)
        stops = await kill_switches.engage_surging(connection, rule)
        assert [(stop["scope"], stop["name"], stop["by"]) for stop in stops] == [
            ("journey", "wild", kill_switches.BRAKE)
        ]
        assert await kill_switches.engage_surging(connection, rule) == [], "reported once"
        listed = await kill_switches.list_stops(connection, all_of_them=True, before=None, limit=10)
        assert [stop["id"] for stop in listed] == [stops[0]["id"]], "engaged once"
    await kill_switches.release_switch(stack.database, stops[0]["id"], "dana")
    async with stack.database.transaction() as connection:
        assert await kill_switches.engage_surging(connection, rule) == []


_SURGE = """
    INSERT INTO messages (key, run, step, subject_key, recipient, journey, state, visit, action, template, via, priority,
      at, status, decided_at, sent_at)
    SELECT CAST(:journey AS text) || n, 'r', 1, 'u', 'u', :journey, 's', 1, 'a', 't', '[]', 'lifecycle', now(), 'sent', now(), now()
    FROM generate_series(1, CAST(:count AS int)) AS n
"""


ACCOUNT = """
journey: ACCOUNT
subject: account
entry: {on: signed_up, again: never}
topic: onboarding
start: inside
states:
  inside:
    do: [{send: education/first-value, via: [in_app], for: [admin]}]
    on: {done: over}
  over: {final: finished}
"""


async def test_C8_a_person_of_two_accounts_gets_one_message_and_a_reason_for_the_other(stack: LiveStack) -> None:
    await stack.publish(ACCOUNT.replace("ACCOUNT", "value"))
    await stack.accept(stack.identify("mia", email="mia@example.com", role="admin"))
    for account in ("north", "south"):
        await stack.accept(
            InboundEvent("group", f"g-{account}", "group", user_id="mia", account_id=account, traits={"plan": "team"})
        )
    for account in ("north", "south"):
        await stack.accept(InboundEvent("track", f"t-{account}", "signed_up", account_id=account))
    messages = await stack.until(
        "SELECT json_agg(json_build_array(status, reasons) ORDER BY id)::text FROM messages HAVING count(*) = 2"
    )
    assert '"sent"' in messages
    assert "told_already" in messages
