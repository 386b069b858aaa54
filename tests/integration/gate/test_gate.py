"""The send gate on real Postgres, real runs and a real sink: exact caps, cooldowns that defer, consent that acts at once."""

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
from tests.support.live_stack import Living, living
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
    (folder / "consent.yaml").unlink(missing_ok=True)  # it speaks of the shipped policy
    return folder


@pytest_asyncio.fixture
async def deps(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path, catalog: Path
) -> AsyncIterator[Living]:
    async with living(database_url, temporal_address, task_queue, tmp_path, catalog=catalog) as found:
        await found.accept(found.identify("ada", email="ada@example.com", first_name="Ada"))
        yield found


async def test_C2_a_cap_is_exact_when_many_journeys_send_at_once(deps: Living) -> None:
    for n in range(MANY):
        await deps.publish(journey(f"j{n}"))
    await deps.accept(deps.track("ada", "signed_up"))
    await deps.until("SELECT count(*) FROM messages", lambda n: n == MANY)
    await deps.until("SELECT count(*) FROM messages WHERE status = 'sending'", lambda n: n == 0)
    found = {
        row["status"]: row["n"] for row in await deps.rows("SELECT status, count(*) AS n FROM messages GROUP BY 1")
    }
    assert found == {"sent": 3, "deferred": MANY - 3}
    assert deps.mail.count() == 3


async def test_C2_a_cooldown_defers_and_the_message_goes_when_it_ends(deps: Living) -> None:
    for name in ("a", "b"):
        await deps.publish(journey(name, "in_app"))
    await deps.accept(deps.track("ada", "signed_up"))
    await deps.until("SELECT count(*) FROM messages WHERE status = 'sent'", lambda n: n == 2)
    apart = await deps.rows("SELECT max(sent_at) - min(sent_at) AS apart FROM messages")
    assert apart[0]["apart"].total_seconds() >= 1.0
    deferred = await deps.rows("SELECT text FROM timeline WHERE kind = 'gate' AND text LIKE 'deferred%cooldown inbox%'")
    assert len(deferred) == 1


async def test_C3_what_was_queued_is_withdrawn_when_its_state_is_left(deps: Living) -> None:
    for n in range(4):
        await deps.publish(journey(f"j{n}"))
    await deps.accept(deps.track("ada", "signed_up"))
    await deps.until("SELECT count(*) FROM messages WHERE status = 'deferred'", lambda n: n == 1)
    await deps.accept(deps.track("ada", "done"))
    await deps.until("SELECT count(*) FROM messages WHERE status = 'withdrawn'", lambda n: n == 1)
    told = await deps.rows("SELECT text FROM timeline WHERE kind = 'withdrawn'")
    assert [row["text"] for row in told] == ["withdrawn: inside was left for over on done"]


async def test_C5_saying_no_takes_back_what_is_queued_and_ends_runs_that_have_no_channel_left(deps: Living) -> None:
    for n in range(4):
        await deps.publish(journey(f"j{n}"))
    await deps.accept(deps.track("ada", "signed_up"))
    await deps.until("SELECT count(*) FROM messages WHERE status = 'deferred'", lambda n: n == 1)
    person = (await deps.rows("SELECT key FROM subjects"))[0]["key"]
    change = ConsentChange("email", "onboarding", granted=False, source="test")
    effect = await change_consents(deps.database, deps.deps.catalogue, deps.deps.policy, person, [change])
    assert (effect.withdrawn, effect.ended) == (1, 4)
    assert await deps.until("SELECT count(*) FROM runs WHERE outcome = 'opted_out'", lambda n: n == 4)
    assert deps.mail.count() == 3


async def test_a_message_without_an_address_is_withheld_and_says_so(deps: Living) -> None:
    await deps.publish(journey("a"))
    await deps.accept(deps.track("bob", "signed_up"))
    reasons = await deps.until("SELECT reasons FROM messages WHERE status = 'withheld'")
    assert "no_address" in str(reasons)


async def test_a_template_that_cannot_be_sent_is_a_failed_row_and_the_run_goes_on(deps: Living, catalog: Path) -> None:
    await deps.publish(journey("a").replace("education/first-value", "no/such-template"))
    await deps.accept(deps.track("ada", "signed_up"))
    await deps.until("SELECT count(*) FROM messages WHERE status = 'failed'")
    await deps.accept(deps.track("ada", "done"))
    assert await deps.until("SELECT outcome FROM runs") == "finished"


# -- several at once ---------------------------------------------------------------------------------------------------

TOGETHER = {
    "consent": [{"default": "granted"}],
    "cooldowns": [{"name": "breath", "channel": "in_app", "between": "PT2S"}],
    "consolidate": [{"name": "one", "channel": "in_app", "window": "PT1H", "template": "digest/together"}],
}


@pytest_asyncio.fixture
async def together(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path, catalog: Path
) -> AsyncIterator[Living]:
    (catalog / "policy.yaml").write_text(yaml.safe_dump(TOGETHER))
    (catalog / "consent.yaml").unlink(missing_ok=True)  # it speaks of the shipped policy
    async with living(database_url, temporal_address, task_queue, tmp_path, catalog=catalog) as found:
        await found.accept(found.identify("ada", email="ada@example.com", first_name="Ada"))
        yield found


async def test_C4_what_falls_due_together_comes_as_one_and_every_run_hears_of_its_part(together: Living) -> None:
    deps = together
    heard = "inside: {do: [{send: education/first-value, via: [in_app], name: tip}], on: {tip.sent: over}}"
    for name in ("a", "b", "c"):
        await deps.publish(journey(name, states=heard))
    await deps.accept(deps.track("ada", "signed_up"))
    await deps.until("SELECT count(*) FROM runs WHERE status = 'closed'", lambda n: n == 3)
    found = await deps.rows("SELECT key, status, merged_into, sent_at FROM messages ORDER BY id")
    alone = [row for row in found if row["status"] == "sent" and not row["key"].startswith("digest/")]
    digests = [row for row in found if row["key"].startswith("digest/")]
    assert (len(alone), len(digests)) == (1, 1), "the first went at once, the two that had to wait came as one"
    assert {row["merged_into"] for row in found if row["status"] == "merged"} == {digests[0]["key"]}
    assert (await deps.rows("SELECT count(*) AS n FROM inbox"))[0]["n"] == 2
    content = (await deps.rows("SELECT content::text AS text FROM inbox ORDER BY id DESC LIMIT 1"))[0]["text"]
    assert content.count('"action"') >= 2, "each part keeps its own action"


async def test_C6_what_gives_way_to_one_that_matters_more_is_told_to_its_run(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path, catalog: Path
) -> None:
    waiting = {"cooldowns": [{"name": "breath", "channel": "in_app", "between": "PT10M"}]}
    (catalog / "policy.yaml").write_text(yaml.safe_dump({**TOGETHER, **waiting}))
    (catalog / "consent.yaml").unlink(missing_ok=True)
    heard = "inside: {do: [{send: education/first-value, via: [in_app], name: tip}], on: {tip.withheld: over}}"
    async with living(database_url, temporal_address, task_queue, tmp_path, catalog=catalog) as deps:
        for name, on, priority in (("news", "signed_up", "lifecycle"), ("offer", "pricing_viewed", "promotional"),
                                   ("help", "go", "lifecycle")):  # fmt: skip
            text = journey(name, states=heard).replace("on: signed_up", f"on: {on}")
            await deps.publish(text.replace("topic: onboarding", f"topic: onboarding\npriority: {priority}"))
        await deps.accept(deps.track("ada", "signed_up"))
        await deps.until("SELECT count(*) FROM messages WHERE status = 'sent'", lambda n: n == 1)
        await deps.accept(deps.track("ada", "pricing_viewed"))
        await deps.until("SELECT count(*) FROM messages WHERE status = 'deferred'", lambda n: n == 1)
        await deps.accept(deps.track("ada", "go"))
        assert await deps.until("SELECT outcome FROM runs WHERE journey = 'offer'") == "finished"
        found = await deps.rows("SELECT journey, status FROM messages ORDER BY id")
        assert [tuple(row.values()) for row in found] == [("news", "sent"), ("offer", "replaced"), ("help", "deferred")]


async def test_C5_an_address_that_bounced_is_passed_over(deps: Living) -> None:
    async with deps.database.transaction() as connection:
        addresses = deps.deps.catalogue.consent.addresses
        await suppressions.suppress(
            connection, addresses, "email", "ada@example.com", reason="hard_bounce", source="test", at=datetime.now(UTC)
        )
    await deps.publish(journey("a"))
    await deps.accept(deps.track("ada", "signed_up"))
    reasons = await deps.until("SELECT reasons FROM messages WHERE status = 'withheld'")
    assert "suppressed" in str(reasons)


async def test_P4_a_held_account_hears_nothing_until_it_is_released(deps: Living) -> None:
    await deps.publish(journey("a"))
    person = (await deps.rows("SELECT key FROM subjects WHERE kind = 'user'"))[0]["key"]
    now = datetime.now(UTC)
    await holds.place_hold(deps.database, person, until=now + timedelta(days=1), by="dana", why="we talk", now=now)
    await deps.accept(deps.track("ada", "signed_up"))
    reasons = await deps.until("SELECT reasons FROM messages WHERE status = 'deferred'")
    assert "dana has put automation on hold" in str(reasons)
    await holds.release_hold(deps.database, person, by="dana", now=datetime.now(UTC))
    await deps.until("SELECT count(*) FROM messages WHERE status = 'sent'", lambda n: n == 1)


async def test_C6_of_what_waited_for_the_same_end_the_more_pressing_goes_first(deps: Living) -> None:
    await deps.publish(journey("offer", "in_app").replace("topic:", "priority: promotional\ntopic:"))
    await deps.publish(journey("help", "in_app"))
    person = (await deps.rows("SELECT key FROM subjects WHERE kind = 'user'"))[0]["key"]
    now = datetime.now(UTC)
    await holds.place_hold(deps.database, person, until=now + timedelta(days=1), by="dana", why="we talk", now=now)
    await deps.accept(deps.track("ada", "signed_up"))
    await deps.until("SELECT count(*) FROM messages WHERE status = 'deferred'", lambda n: n == 2)
    # The offer has waited for longer; the cooldown lets one through.
    async with deps.database.transaction() as connection:
        await connection.execute("UPDATE messages SET due_at = due_at - interval '1 second' WHERE journey = 'offer'")
    await holds.release_hold(deps.database, person, by="dana", now=datetime.now(UTC))
    await deps.until("SELECT count(*) FROM messages WHERE status = 'sent'", lambda n: n == 2)
    sent = await deps.rows("SELECT journey FROM messages ORDER BY sent_at")
    assert [item["journey"] for item in sent] == ["help", "offer"]


# -- stops -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "name"), [("all", ""), ("channel", "email"), ("journey", "a"), ("template", "education/first-value")]
)
async def test_a_stop_holds_what_it_names_until_it_is_released(
    deps: Living, scope: kill_switches.KillSwitchScope, name: str
) -> None:
    await deps.publish(journey("a"))
    async with deps.database.transaction() as connection:
        thrown = await kill_switches.engage(connection, scope, name, "the link is broken", "dana")
    await deps.accept(deps.track("ada", "signed_up"))
    reasons = await deps.until("SELECT reasons FROM messages WHERE status = 'deferred'")
    assert "the link is broken" in str(reasons)
    released = await kill_switches.release_switch(deps.database, thrown["id"], "dana")
    assert released is not None
    assert released["released_by"] == "dana"
    await deps.until("SELECT count(*) FROM messages WHERE status = 'sent'", lambda n: n == 1)
    assert deps.mail.count() == 1


async def test_the_brake_stops_a_journey_that_surges_until_somebody_releases_it_and_then_lets_it_be(
    deps: Living,
) -> None:
    rule = SurgeBrake(times=3, least=5)
    for name in ("calm", "wild"):
        await deps.publish(journey(name))
    async with deps.database.transaction() as connection:
        await execute(connection, sql(_SURGE), journey="calm", count=5)
        await execute(connection, sql(_SURGE), journey="wild", count=6)
        found = await kill_switches.engage_surging(connection, rule)
        assert [(stop["scope"], stop["name"], stop["by"]) for stop in found] == [
            ("journey", "wild", kill_switches.BRAKE)
        ]
        assert await kill_switches.engage_surging(connection, rule) == [], "told once"
        thrown = await kill_switches.list_stops(connection, all_of_them=True, before=None, limit=10)
        assert [stop["id"] for stop in thrown] == [found[0]["id"]], "thrown once"
    await kill_switches.release_switch(deps.database, found[0]["id"], "dana")
    async with deps.database.transaction() as connection:
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


async def test_C8_who_belongs_to_two_accounts_gets_one_message_and_the_second_says_why(deps: Living) -> None:
    await deps.publish(ACCOUNT.replace("ACCOUNT", "value"))
    await deps.accept(deps.identify("mia", email="mia@example.com", role="admin"))
    for account in ("north", "south"):
        await deps.accept(
            InboundEvent("group", f"g-{account}", "group", user_id="mia", account_id=account, traits={"plan": "team"})
        )
    for account in ("north", "south"):
        await deps.accept(InboundEvent("track", f"t-{account}", "signed_up", account_id=account))
    found = await deps.until(
        "SELECT json_agg(json_build_array(status, reasons) ORDER BY id)::text FROM messages HAVING count(*) = 2"
    )
    assert '"sent"' in found
    assert "told_already" in found
