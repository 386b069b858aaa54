"""Consent by events and text messages, what is in flight, and a log that nobody rewrites (C5)."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from journeys.consent.rules import DEV_KEY, ConsentRuleSet
from journeys.tokens.address_hash import AddressHash
from store.consent import sms_keywords, suppressions
from store.database import Database
from store.definitions.registry import DefinitionRegistry
from tests.support.api import CATALOG

KEY = "setup-and-activation"
ADDRESSES = AddressHash((DEV_KEY,))


@pytest.fixture(scope="module")
async def published(api) -> None:
    text = (CATALOG / "journeys" / f"{KEY}.yaml").read_bytes()
    (await api.put(f"/v1/journeys/{KEY}", content=text)).raise_for_status()


async def entered(api, sender, user: str, **traits: Any) -> tuple[str, str]:
    """A person with an open run: their key, and the run's id."""
    await identify(sender, user, {"email": f"{user}@example.com", **traits}, message=f"{user}-known")
    (await sender.post("/v1/track", json={"userId": user, "event": "Signed Up"})).raise_for_status()
    (run,) = (await api.get(f"/v1/users/{user}/journeys")).json()["items"]
    return (await api.get(f"/v1/users/{user}")).json()["key"], run["id"]


async def identify(sender, user: str, traits: dict[str, Any], *, message: str, **more: Any) -> dict[str, Any]:
    call = {"userId": user, "messageId": message, "traits": traits, **more}
    answer = await sender.post("/v1/identify", json=call)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def message(
    db, run: str, person: str, key: str, status: str, *, topic: str | None = "onboarding", via: str = "email"
) -> None:
    lease = datetime.now(UTC) + timedelta(seconds=60)
    await db.execute(
        """INSERT INTO messages (key, run, step, subject_key, recipient, journey, state, visit, action, template, via, topic,
             priority, at, status, channel, decided_at, due_at, lease_until)
           VALUES ($1, $2, 1, $3, $3, $4, 'setting_up', 1, $1, 'setup/first-steps', jsonb_build_array($5::text), $6,
             'lifecycle', now(), $7, $5, now(), CASE WHEN $7 = 'deferred' THEN now() + interval '1 day' END, $8)""",
        key, run, person, KEY, via, topic, status, lease if status == "sending" else None,
    )  # fmt: skip


async def said(api, user: str) -> dict[tuple[str, str], bool]:
    items = (await api.get(f"/v1/users/{user}/consents")).json()["items"]
    return {(item["channel"], item["topic"]): item["granted"] for item in items}


# -- Segment -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("traits", "place"),
    [
        ({"consents": {"email": {"onboarding": False}}}, ("email", "onboarding")),
        ({"unsubscribed": True}, ("*", "*")),
    ],
)
async def test_C5_a_trait_withdraws_in_the_events_own_commit(published, api, sender, db, traits, place):
    user = f"trait-{place[0]}".replace("*", "all")
    person, run = await entered(api, sender, user)
    await message(db, run, person, f"{user}-queued", "deferred")
    context = {"ip": "192.0.2.1", "consent": {"wording": "Tips by e-mail"}}
    await identify(sender, user, traits, message=f"{user}-no", context=context)
    assert await said(api, user) == {place: False}
    assert await db.fetchval("SELECT status FROM messages WHERE key = $1", f"{user}-queued") == "withdrawn"
    (entry,) = (await api.get(f"/v1/users/{user}/consents/log")).json()["items"]
    assert (entry["source"], entry["wording"]) == ("identify:identify", "Tips by e-mail")
    assert (entry["proof"]["event"], "192.0.2.1" in str(entry)) == (f"{user}-no", False)
    profile = (await api.get(f"/v1/users/{user}")).json()["profile"]
    assert not {"consents", "unsubscribed"} & set(profile), "a copy would only grow stale"


async def test_C5_an_event_that_comes_twice_speaks_once(published, api, sender):
    await entered(api, sender, "twice")
    for _ in range(2):
        await identify(sender, "twice", {"unsubscribed": True}, message="twice-no")
    assert len((await api.get("/v1/users/twice/consents/log")).json()["items"]) == 1


async def test_C5_a_declared_signal_withdraws_and_ends_what_has_nothing_left_to_say(published, api, sender, db):
    _, run = await entered(api, sender, "signal")
    for channel in ("email", "in_app"):
        data = {"channel": channel, "topic": "onboarding", "granted": False}
        call = {"userId": "signal", "event": "Consent Changed", "properties": data}
        (await sender.post("/v1/batch", json={"batch": [{"type": "track", **call}]})).raise_for_status()
    assert await said(api, "signal") == {("email", "onboarding"): False, ("in_app", "onboarding"): False}
    assert await db.fetchval("SELECT count(*) FROM outbox WHERE target = $1 AND kind = 'opted_out'", run) == 1


async def test_C5_a_batch_that_joins_a_visitor_and_says_no_says_it_of_the_user(published, api, sender):
    visitor = {"anonymousId": "joined-device", "messageId": "joined-1"}
    await sender.post("/v1/identify", json={**visitor, "traits": {"consents": {"email": {"shop": False}}}})
    both = {"userId": "joined", "anonymousId": "joined-device", "messageId": "joined-2"}
    await sender.post("/v1/identify", json={**both, "traits": {"consents": {"in_app": {"shop": False}}}})
    assert await said(api, "joined") == {("email", "shop"): False, ("in_app", "shop"): False}


async def test_C5_ads_are_said_no_to_like_any_channel(published, api, sender):
    await identify(sender, "no-ads", {"consents": {"audience": {"*": False}}}, message="no-ads-1")
    assert await said(api, "no-ads") == {("audience", "*"): False}
    asked = {"channel": "audience", "topic": "offers", "granted": False, "source": "phone"}
    answer = await api.put("/v1/users/no-ads/consents", json=asked)
    assert answer.status_code == 200, answer.text
    assert await said(api, "no-ads") == {("audience", "*"): False, ("audience", "offers"): False}


async def test_what_cannot_be_understood_is_kept_and_nothing_is_guessed(published, api, sender):
    await entered(api, sender, "unclear")
    answer = await identify(sender, "unclear", {"consents": {"fax": False}, "plan": "team"}, message="unclear-no")
    assert "'fax' is not a channel" in answer["quarantined"][0]
    assert await said(api, "unclear") == {}


# -- what is in flight ----------------------------------------------------------------------------------------------------------


async def test_C5_the_answer_waits_for_what_is_under_way(published, api, sender, db):
    person, run = await entered(api, sender, "waiter")
    await message(db, run, person, "waiter-flying", "sending")
    no = {"channel": "email", "topic": "onboarding", "granted": False, "source": "tests"}
    asking = asyncio.create_task(api.put("/v1/users/waiter/consents", json=no))
    while await said(api, "waiter") == {}:
        await asyncio.sleep(0.01)
    done, _ = await asyncio.wait([asking], timeout=0.3)  # nothing tells of an answer that does not come
    assert not done
    await db.execute("UPDATE messages SET status = 'sent' WHERE key = 'waiter-flying'")
    assert (await asking).json()["in_flight"] == []


async def test_C5_the_answer_waits_for_a_digest_that_brings_what_is_not_wanted(published, api, sender, db):
    person, run = await entered(api, sender, "bundled")
    await message(db, run, person, "digest/bundled", "sending", topic=None)
    await db.execute(
        """UPDATE messages SET data = '{"topics": ["billing", "onboarding"]}' WHERE key = 'digest/bundled'"""
    )
    no = {"channel": "email", "topic": "onboarding", "granted": False, "source": "tests"}
    asking = asyncio.create_task(api.put("/v1/users/bundled/consents", json=no))
    while await said(api, "bundled") == {}:
        await asyncio.sleep(0.01)
    done, _ = await asyncio.wait([asking], timeout=0.3)  # nothing tells of an answer that does not come
    assert not done
    await db.execute("UPDATE messages SET status = 'sent' WHERE key = 'digest/bundled'")
    assert (await asking).json()["in_flight"] == []


async def test_C5_an_attempt_that_nobody_saw_end_is_named_and_not_waited_for(published, api, sender, db):
    person, run = await entered(api, sender, "doubtful")
    await message(db, run, person, "doubtful-ended", "sending")
    await db.execute("UPDATE messages SET detail = 'no answer in time' WHERE key = 'doubtful-ended'")
    no = {"channel": "email", "topic": "onboarding", "granted": False, "source": "tests"}
    began = time.monotonic()
    told = (await api.put("/v1/users/doubtful/consents", json=no)).json()
    assert time.monotonic() - began < 4.0
    assert [each["template"] for each in told["in_flight"]] == ["setup/first-steps"]


async def test_C5_after_five_seconds_what_is_left_is_named(published, api, sender, db):
    person, run = await entered(api, sender, "left")
    await message(db, run, person, "left-flying", "sending")
    await message(db, run, person, "left-allowed", "sending", topic="billing")
    await message(db, run, person, "left-inside", "sending", via="in_app")
    began = time.monotonic()
    no = {"channel": "email", "topic": "onboarding", "granted": False, "source": "tests"}
    told = (await api.put("/v1/users/left/consents", json=no)).json()
    assert 5.0 <= time.monotonic() - began < 8.0
    number = await db.fetchval("SELECT id FROM messages WHERE key = 'left-flying'")
    assert told["in_flight"] == [
        {"id": number, "channel": "email", "topic": "onboarding", "template": "setup/first-steps"}
    ]
    began = time.monotonic()
    by_event = await identify(sender, "left", {"consents": {"in_app": {"onboarding": False}}}, message="left-again")
    assert {each["channel"] for each in by_event["in_flight"]} == {"email", "in_app"}
    assert time.monotonic() - began < 8.0


async def test_an_attempt_whose_lease_is_over_is_waited_for_by_nobody(published, api, sender, db):
    person, run = await entered(api, sender, "zombie")
    await message(db, run, person, "zombie-flying", "sending")
    await db.execute("UPDATE messages SET lease_until = now() - interval '1 second' WHERE key = 'zombie-flying'")
    no = {"channel": "email", "topic": "onboarding", "granted": False, "source": "tests"}
    assert (await api.put("/v1/users/zombie/consents", json=no)).json()["in_flight"] == []


async def test_a_suppression_by_an_operator_waits_for_what_is_under_way_to_that_address(published, api, sender, db):
    person, run = await entered(api, sender, "flown")
    await message(db, run, person, "flown-to-them", "sending")
    await message(db, run, person, "flown-elsewhere", "sending")
    await db.execute("UPDATE messages SET address = 'flown@example.com' WHERE key = 'flown-to-them'")
    await db.execute("UPDATE messages SET address = 'else@example.com' WHERE key = 'flown-elsewhere'")
    wish = {"channel": "email", "address": " Flown@example.com", "by": "flo"}
    asking = asyncio.create_task(api.post("/v1/suppressions", json=wish))
    find = {"channel": "email", "address": "flown@example.com"}
    while not (await api.post("/v1/suppressions:find", json=find)).json()["suppressed"]:
        await asyncio.sleep(0.01)
    done, _ = await asyncio.wait([asking], timeout=0.3)  # nothing tells of an answer that does not come
    assert not done
    await db.execute("UPDATE messages SET status = 'sent' WHERE key = 'flown-to-them'")
    told = (await asking).json()
    assert (told["suppressed"], told["in_flight"]) == (True, [])


async def test_what_is_left_under_way_to_a_suppressed_address_is_named_and_nothing_else(published, api, sender, db):
    person, run = await entered(api, sender, "remains")
    await message(db, run, person, "remains-flying", "sending")
    await message(db, run, person, "remains-sent", "sent")
    await message(db, run, person, "remains-inside", "sending", via="in_app")
    await db.execute("UPDATE messages SET address = 'remains@example.com' WHERE key LIKE 'remains-%'")
    began = time.monotonic()
    wish = {"channel": "email", "address": "remains@example.com", "by": "flo"}
    told = (await api.post("/v1/suppressions", json=wish)).json()
    assert 5.0 <= time.monotonic() - began < 8.0
    number = await db.fetchval("SELECT id FROM messages WHERE key = 'remains-flying'")
    assert told["in_flight"] == [
        {"id": number, "channel": "email", "topic": "onboarding", "template": "setup/first-steps"}
    ]


# -- text messages ---------------------------------------------------------------------------------------------------------------


async def suppressed(database_url: str, channel: str, address: str) -> bool:
    database = Database(database_url)
    async with database.reading() as connection:
        found = await suppressions.is_suppressed(connection, ADDRESSES, channel, address)
    await database.close()
    return found


async def test_C5_stop_silences_a_number_and_everybody_who_has_it_and_start_lifts_it(
    published, api, sender, module_database_url
):
    for user, written in (("texter", "+43 664 1234567"), ("partner", "+436641234567"), ("other", "+436641234568")):
        await entered(api, sender, user, phone=written)
    taken = (
        await api.post("/v1/inbound-texts", json={"phone": "+436641234567", "text": " Stop! ", "id": "SM1"})
    ).json()
    assert (taken["wish"], taken["people"]) == ("stop", 2)
    assert await said(api, "texter") == await said(api, "partner") == {("sms", "*"): False}
    assert await said(api, "other") == {}
    assert await suppressed(module_database_url, "sms", "0043 664 1234567")
    (entry,) = (await api.get("/v1/users/texter/consents/log")).json()["items"]
    assert (entry["source"], entry["proof"]["message"]) == ("inbound-text", "SM1")
    assert entry["proof"].pop("phone_hash") == ADDRESSES.digest("sms", "436641234567")
    assert "1234567" not in str(entry)
    lifted = (await api.post("/v1/inbound-texts", json={"phone": "+436641234567", "text": "UNSTOP"})).json()
    assert lifted["wish"] == "start"
    again = (await api.post("/v1/inbound-texts", json={"phone": "+436641234567", "text": "stop", "id": "SM1"})).json()
    assert (again["wish"], again["people"]) == ("stop", 0)
    assert await said(api, "texter") == {}, "START takes the no back, and is no yes"
    assert not await suppressed(module_database_url, "sms", "+436641234567")


async def test_start_does_not_lift_what_somebody_else_suppressed(api, module_database_url):
    await api.post("/v1/suppressions", json={"channel": "sms", "address": "+4366499", "by": "dana"})
    await api.post("/v1/inbound-texts", json={"phone": "+4366499", "text": "start"})
    assert await suppressed(module_database_url, "sms", "+4366499")


async def test_a_sentence_is_left_for_a_person_and_an_unknown_number_is_silenced_all_the_same(
    published, api, sender, module_database_url
):
    await entered(api, sender, "talker", phone="+4366477")
    taken = (await api.post("/v1/inbound-texts", json={"phone": "+4366477", "text": "please stop by"})).json()
    assert (taken["wish"], taken["people"]) == (None, 0)
    assert await said(api, "talker") == {}
    unknown = (await api.post("/v1/inbound-texts", json={"phone": "+4366488", "text": "quit"})).json()
    assert (unknown["wish"], unknown["people"]) == ("stop", 0)
    assert await suppressed(module_database_url, "sms", "+4366488")


async def test_a_text_without_a_number_is_nobodys(module_database_url):
    database = Database(module_database_url)
    heard = await sms_keywords.inbound_text(database, DefinitionRegistry(), "anonymous", "stop")
    assert heard == sms_keywords.KeywordResult(None)
    await database.close()


# -- suppressions -----------------------------------------------------------------------------------------------------------------


async def event(sender, user: str, name: str, number: int, **properties: Any) -> None:
    call = {"userId": user, "event": name, "messageId": f"{user}-{name}-{number}", "properties": properties}
    (await sender.post("/v1/track", json=call)).raise_for_status()


async def found(api, address: str) -> dict[str, Any]:
    answer = await api.post("/v1/suppressions:find", json={"channel": "email", "address": address})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_a_hard_bounce_and_a_complaint_suppress_at_once(published, api, sender):
    for user, name, reason in (("hard", "Email Bounced", "hard_bounce"), ("spam", "Email Marked as Spam", "complaint")):
        await entered(api, sender, user)
        await event(sender, user, name, 1, kind="hard")
        held = await found(api, f"{user}@EXAMPLE.com")
        assert (held["suppressed"], [item["reason"] for item in held["items"]]) == (True, [reason])


async def test_soft_bounces_suppress_when_enough_came_and_one_told_twice_counts_once(published, api, sender):
    address = "elsewhere@example.com"
    for number in (1, 1, 1, 2):
        await event(sender, "soft", "Email Bounced", number, kind="soft", address=address)
    assert (await found(api, address))["suppressed"] is False
    await event(sender, "soft", "Email Bounced", 3, kind="soft", address=address)
    held = await found(api, address)
    assert [item["reason"] for item in held["items"]] == ["soft_bounces"]
    lifted = await api.post(f"/v1/suppressions/{held['items'][0]['id']}/lift", json={"by": "dana"})
    assert lifted.json()["lifted_by"] == "dana"
    await event(sender, "soft", "Email Bounced", 4, kind="soft", address=address)
    assert (await found(api, address))["suppressed"] is False, "lifting begins anew"


async def test_soft_bounces_of_long_ago_are_forgotten(module_database_url):
    database, rules = Database(module_database_url), ConsentRuleSet().rules.soft_bounces
    now = datetime.now(UTC)
    async with database.transaction() as connection:
        told = [
            await suppressions.note_bounce(
                connection, ADDRESSES, "email", "slow@example.com", hard=False, rules=rules, source="tests",
                reference=str(days), at=now - timedelta(days=days),
            )
            for days in (40, 30, 10, 5, 0)
        ]  # fmt: skip
    await database.close()
    assert told == [False, False, False, False, True]


async def test_suppressions_are_listed_without_any_address_and_lifted_once(api, db):
    await api.post("/v1/suppressions", json={"channel": "email", "address": "listed@example.com", "by": "dana"})
    again = await api.post("/v1/suppressions", json={"channel": "email", "address": "Listed@example.com", "by": "erin"})
    assert len(again.json()["items"]) == 1
    page = (await api.get("/v1/suppressions", params={"in_force": True, "channel": "email"})).json()
    (item,) = [item for item in page["items"] if item["source"] == "dana"]
    assert "listed" not in str(page)
    first = (await api.post(f"/v1/suppressions/{item['id']}/lift", json={"by": "erin"})).json()
    second = (await api.post(f"/v1/suppressions/{item['id']}/lift", json={"by": "someone"})).json()
    assert first == second
    assert (await api.post("/v1/suppressions/999999/lift", json={"by": "x"})).status_code == 404
    assert (await api.post("/v1/suppressions:find", json={"channel": "sms", "address": "none"})).status_code == 422
    stored = await db.fetch("SELECT * FROM suppressions")
    assert not [row for row in stored if "example.com" in str(row)]


async def test_the_gate_asks_once_for_all_addresses_of_a_person_also_under_an_older_key(module_database_url):
    database, both = Database(module_database_url), AddressHash(("new" * 16, DEV_KEY))
    async with database.transaction() as connection:
        now = datetime.now(UTC)
        for _ in range(2):
            await suppressions.note_complaint(connection, ADDRESSES, "email", "old@example.com", source="x", at=now)
        known = {"email": "old@example.com", "sms": "+4366400"}
        assert await suppressions.suppressed_among(connection, both, known) == {"email": "complaint"}
        assert await suppressions.suppressed_among(connection, both, {}) == {}
        again = await suppressions.suppress(
            connection, both, "email", "old@example.com", reason="operator", source="x", at=now
        )
        assert not again, "suppressed under the old key is suppressed"
        lifted = await suppressions.lift(connection, both, "email", "old@example.com", by="dana", at=now)
        assert lifted
        assert await suppressions.suppressed_among(connection, both, known) == {}
    await database.close()


# -- the log -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE consent_log SET granted = true",
        "DELETE FROM consent_log",
        "TRUNCATE consent_log",
        "DELETE FROM consent_log WHERE id = -1",
    ],
)
async def test_the_consent_log_only_grows(published, api, sender, db, statement):
    await entered(api, sender, "logged")
    await identify(sender, "logged", {"unsubscribed": True}, message="logged-no")
    with pytest.raises(asyncpg.RestrictViolationError, match="only grows"):
        await db.execute(statement)
