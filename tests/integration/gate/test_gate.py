"""The send gate on real Postgres, real runs and a real sink: exact caps, cooldowns that defer, consent that acts at once."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
import yaml

from journeys.events.segment import Incoming
from journeys.gate.policy import Brake
from store.consent import suppressions
from store.consent.consents import Change, change_consent
from store.database import run, sql
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
    house = together
    heard = "inside: {do: [{send: education/first-value, via: [in_app], name: tip}], on: {tip.sent: over}}"
    for name in ("a", "b", "c"):
        await house.publish(journey(name, states=heard))
    await house.accept(house.track("ada", "signed_up"))
    await house.until("SELECT count(*) FROM runs WHERE status = 'closed'", lambda n: n == 3)
    found = await house.rows("SELECT key, status, merged_into, sent_at FROM messages ORDER BY id")
    alone = [row for row in found if row["status"] == "sent" and not row["key"].startswith("digest/")]
    digests = [row for row in found if row["key"].startswith("digest/")]
    assert (len(alone), len(digests)) == (1, 1), "the first went at once, the two that had to wait came as one"
    assert {row["merged_into"] for row in found if row["status"] == "merged"} == {digests[0]["key"]}
    assert (await house.rows("SELECT count(*) AS n FROM inbox"))[0]["n"] == 2
    content = (await house.rows("SELECT content::text AS text FROM inbox ORDER BY id DESC LIMIT 1"))[0]["text"]
    assert content.count('"action"') >= 2, "each part keeps its own action"


async def test_C6_what_gives_way_to_one_that_matters_more_is_told_to_its_run(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path, catalog: Path
) -> None:
    waiting = {"cooldowns": [{"name": "breath", "channel": "in_app", "between": "PT10M"}]}
    (catalog / "policy.yaml").write_text(yaml.safe_dump({**TOGETHER, **waiting}))
    (catalog / "consent.yaml").unlink(missing_ok=True)
    heard = "inside: {do: [{send: education/first-value, via: [in_app], name: tip}], on: {tip.withheld: over}}"
    async with living(database_url, temporal_address, task_queue, tmp_path, catalog=catalog) as house:
        for name, on, priority in (("news", "signed_up", "lifecycle"), ("offer", "pricing_viewed", "promotional"),
                                   ("help", "go", "lifecycle")):  # fmt: skip
            text = journey(name, states=heard).replace("on: signed_up", f"on: {on}")
            await house.publish(text.replace("topic: onboarding", f"topic: onboarding\npriority: {priority}"))
        await house.accept(house.track("ada", "signed_up"))
        await house.until("SELECT count(*) FROM messages WHERE status = 'sent'", lambda n: n == 1)
        await house.accept(house.track("ada", "pricing_viewed"))
        await house.until("SELECT count(*) FROM messages WHERE status = 'deferred'", lambda n: n == 1)
        await house.accept(house.track("ada", "go"))
        assert await house.until("SELECT outcome FROM runs WHERE journey = 'offer'") == "finished"
        found = await house.rows("SELECT journey, status FROM messages ORDER BY id")
        assert [tuple(row.values()) for row in found] == [("news", "sent"), ("offer", "replaced"), ("help", "deferred")]


async def test_C5_an_address_that_bounced_is_passed_over(house: Living) -> None:
    async with house.database.transaction() as connection:
        addresses = house.house.catalogue.consent.addresses
        await suppressions.suppress(
            connection, addresses, "email", "ada@example.com", reason="hard_bounce", source="test", at=datetime.now(UTC)
        )
    await house.publish(journey("a"))
    await house.accept(house.track("ada", "signed_up"))
    reasons = await house.until("SELECT reasons FROM messages WHERE status = 'withheld'")
    assert "suppressed" in str(reasons)


async def test_P4_a_held_account_hears_nothing_until_it_is_released(house: Living) -> None:
    await house.publish(journey("a"))
    person = (await house.rows("SELECT key FROM subjects WHERE kind = 'user'"))[0]["key"]
    now = datetime.now(UTC)
    await holds.hold(house.database, person, until=now + timedelta(days=1), by="dana", why="we talk", now=now)
    await house.accept(house.track("ada", "signed_up"))
    reasons = await house.until("SELECT reasons FROM messages WHERE status = 'deferred'")
    assert "dana looks after them" in str(reasons)
    await holds.release(house.database, person, by="dana", now=datetime.now(UTC))
    await house.until("SELECT count(*) FROM messages WHERE status = 'sent'", lambda n: n == 1)


async def test_C6_of_what_waited_for_the_same_end_the_more_pressing_goes_first(house: Living) -> None:
    await house.publish(journey("offer", "in_app").replace("topic:", "priority: promotional\ntopic:"))
    await house.publish(journey("help", "in_app"))
    person = (await house.rows("SELECT key FROM subjects WHERE kind = 'user'"))[0]["key"]
    now = datetime.now(UTC)
    await holds.hold(house.database, person, until=now + timedelta(days=1), by="dana", why="we talk", now=now)
    await house.accept(house.track("ada", "signed_up"))
    await house.until("SELECT count(*) FROM messages WHERE status = 'deferred'", lambda n: n == 2)
    # The offer has waited for longer; the cooldown lets one through.
    async with house.database.transaction() as connection:
        await connection.execute("UPDATE messages SET due_at = due_at - interval '1 second' WHERE journey = 'offer'")
    await holds.release(house.database, person, by="dana", now=datetime.now(UTC))
    await house.until("SELECT count(*) FROM messages WHERE status = 'sent'", lambda n: n == 2)
    sent = await house.rows("SELECT journey FROM messages ORDER BY sent_at")
    assert [item["journey"] for item in sent] == ["help", "offer"]


# -- stops -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "name"), [("all", ""), ("channel", "email"), ("journey", "a"), ("template", "education/first-value")]
)
async def test_a_stop_holds_what_it_names_until_it_is_released(
    house: Living, scope: kill_switches.StopScope, name: str
) -> None:
    await house.publish(journey("a"))
    async with house.database.transaction() as connection:
        thrown = await kill_switches.throw(connection, scope, name, "the link is broken", "dana")
    await house.accept(house.track("ada", "signed_up"))
    reasons = await house.until("SELECT reasons FROM messages WHERE status = 'deferred'")
    assert "the link is broken" in str(reasons)
    released = await kill_switches.release(house.database, thrown["id"], "dana")
    assert released is not None
    assert released["released_by"] == "dana"
    await house.until("SELECT count(*) FROM messages WHERE status = 'sent'", lambda n: n == 1)
    assert house.mail.count() == 1


async def test_the_brake_stops_a_journey_that_surges_until_somebody_releases_it_and_then_lets_it_be(
    house: Living,
) -> None:
    rule = Brake(times=3, least=5)
    for name in ("calm", "wild"):
        await house.publish(journey(name))
    async with house.database.transaction() as connection:
        await run(connection, sql(_SURGE), journey="calm", count=5)
        await run(connection, sql(_SURGE), journey="wild", count=6)
        found = await kill_switches.brake(connection, rule)
        assert [(stop["scope"], stop["name"], stop["by"]) for stop in found] == [
            ("journey", "wild", kill_switches.BRAKE)
        ]
        assert await kill_switches.brake(connection, rule) == [], "told once"
        thrown = await kill_switches.list_stops(connection, all_of_them=True, before=None, limit=10)
        assert [stop["id"] for stop in thrown] == [found[0]["id"]], "thrown once"
    await kill_switches.release(house.database, found[0]["id"], "dana")
    async with house.database.transaction() as connection:
        assert await kill_switches.brake(connection, rule) == []


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


async def test_C8_who_belongs_to_two_accounts_gets_one_message_and_the_second_says_why(house: Living) -> None:
    await house.publish(ACCOUNT.replace("ACCOUNT", "value"))
    await house.accept(house.identify("mia", email="mia@example.com", role="admin"))
    for account in ("north", "south"):
        await house.accept(
            Incoming("group", f"g-{account}", "group", user_id="mia", account_id=account, traits={"plan": "team"})
        )
    for account in ("north", "south"):
        await house.accept(Incoming("track", f"t-{account}", "signed_up", account_id=account))
    found = await house.until(
        "SELECT json_agg(json_build_array(status, reasons) ORDER BY id)::text FROM messages HAVING count(*) = 2"
    )
    assert '"sent"' in found
    assert "told_already" in found
