"""Consent by events and text messages, attempts in flight, suppressions and the append-only log (C5)."""

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


async def entered_run(api, sender, user: str, **traits: Any) -> tuple[str, str]:
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


async def insert_message(
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


async def consents_of(api, user: str) -> dict[tuple[str, str], bool]:
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
async def test_C5_a_consent_trait_withdraws_messages_in_the_commit_of_its_event(
    published, api, sender, db, traits, place
):
    user = f"trait-{place[0]}".replace("*", "all")
    person, run = await entered_run(api, sender, user)
    await insert_message(db, run, person, f"{user}-queued", "deferred")
    context = {"ip": "192.0.2.1", "consent": {"wording": "Tips by e-mail"}}
    await identify(sender, user, traits, message=f"{user}-no", context=context)
    assert await consents_of(api, user) == {place: False}
    assert await db.fetchval("SELECT status FROM messages WHERE key = $1", f"{user}-queued") == "withdrawn"
    (entry,) = (await api.get(f"/v1/users/{user}/consents/log")).json()["items"]
    assert (entry["source"], entry["wording"]) == ("identify:identify", "Tips by e-mail")
    assert (entry["proof"]["event"], "192.0.2.1" in str(entry)) == (f"{user}-no", False)
    profile = (await api.get(f"/v1/users/{user}")).json()["profile"]
    assert not {"consents", "unsubscribed"} & set(profile), "consents are not copied to the profile"


async def test_C5_a_repeated_event_changes_consent_once(published, api, sender):
    await entered_run(api, sender, "twice")
    for _ in range(2):
        await identify(sender, "twice", {"unsubscribed": True}, message="twice-no")
    assert len((await api.get("/v1/users/twice/consents/log")).json()["items"]) == 1


async def test_C5_a_declared_signal_opts_out_and_ends_runs_without_a_channel(published, api, sender, db):
    _, run = await entered_run(api, sender, "signal")
    for channel in ("email", "in_app"):
        data = {"channel": channel, "topic": "onboarding", "granted": False}
        call = {"userId": "signal", "event": "Consent Changed", "properties": data}
        (await sender.post("/v1/batch", json={"batch": [{"type": "track", **call}]})).raise_for_status()
    assert await consents_of(api, "signal") == {("email", "onboarding"): False, ("in_app", "onboarding"): False}
    assert await db.fetchval("SELECT count(*) FROM outbox WHERE target = $1 AND kind = 'opted_out'", run) == 1


async def test_C5_a_visitors_opt_out_holds_for_the_user_they_become(published, api, sender):
    visitor = {"anonymousId": "joined-device", "messageId": "joined-1"}
    await sender.post("/v1/identify", json={**visitor, "traits": {"consents": {"email": {"shop": False}}}})
    both = {"userId": "joined", "anonymousId": "joined-device", "messageId": "joined-2"}
    await sender.post("/v1/identify", json={**both, "traits": {"consents": {"in_app": {"shop": False}}}})
    assert await consents_of(api, "joined") == {("email", "shop"): False, ("in_app", "shop"): False}


async def test_C5_ads_are_opted_out_of_like_any_channel(published, api, sender):
    await identify(sender, "no-ads", {"consents": {"audience": {"*": False}}}, message="no-ads-1")
    assert await consents_of(api, "no-ads") == {("audience", "*"): False}
    opt_out = {"channel": "audience", "topic": "offers", "granted": False, "source": "phone"}
    answer = await api.put("/v1/users/no-ads/consents", json=opt_out)
    assert answer.status_code == 200, answer.text
    assert await consents_of(api, "no-ads") == {("audience", "*"): False, ("audience", "offers"): False}


# -- precedence --------------------------------------------------------------------------------------------------------------


def hours_ago(hours: float) -> str:
    return (datetime.now(UTC) - timedelta(hours=hours)).isoformat()


async def put(api, user: str, *, granted: bool | None, **more: Any) -> dict[str, Any]:
    body = {"channel": "*", "topic": "*", "granted": granted, "source": "tests", **more}
    answer = await api.put(f"/v1/users/{user}/consents", json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def effects(api, user: str) -> list[str]:
    """The effects of a person's statements, in the order of their arrival."""
    items = (await api.get(f"/v1/users/{user}/consents/log")).json()["items"]
    return [item["effect"] for item in reversed(items)]


async def test_C5_a_statement_from_before_an_opt_out_does_not_lift_it(published, api, sender):
    await entered_run(api, sender, "stale")
    await identify(sender, "stale", {"unsubscribed": True}, message="stale-1", timestamp=hours_ago(1))
    for number, traits in enumerate(({"unsubscribed": False}, {"consents": {"*": {"*": True}}})):
        wording = {"consent": {"wording": "All messages"}}
        await identify(
            sender, "stale", traits, message=f"stale-old-{number}", timestamp=hours_ago(5), context=wording
        )  # fmt: skip
    assert await consents_of(api, "stale") == {("*", "*"): False}
    assert await effects(api, "stale") == ["applied", "stale", "stale"]
    await identify(
        sender, "stale", {"unsubscribed": False}, message="stale-new", context={"consent": {"wording": "Resume"}}
    )  # fmt: skip
    assert await consents_of(api, "stale") == {}


async def test_C5_the_senders_clock_is_corrected_before_statements_are_compared(published, api, sender):
    """A clock that is a day fast: a grant of five hours ago is sent as one of nineteen hours ahead."""
    await entered_run(api, sender, "fast-clock")
    await identify(sender, "fast-clock", {"unsubscribed": True}, message="fast-1", timestamp=hours_ago(1))
    ahead = {"timestamp": hours_ago(5 - 24), "sentAt": hours_ago(-24)}
    context = {"consent": {"wording": "Resume"}}
    await identify(sender, "fast-clock", {"unsubscribed": False}, message="fast-2", context=context, **ahead)
    assert await consents_of(api, "fast-clock") == {("*", "*"): False}


async def test_C5_an_opt_out_older_than_a_newer_grant_is_listed_and_the_grant_stays(published, api, sender):
    await entered_run(api, sender, "late")
    await put(api, "late", granted=True, channel="email", topic="shop", timestamp=hours_ago(1))
    refusal = {"consents": {"email": {"shop": False}}}
    await identify(sender, "late", refusal, message="late-no", timestamp=hours_ago(3))
    assert await consents_of(api, "late") == {("email", "shop"): True}
    key = (await api.get("/v1/users/late")).json()["key"]
    listed = (await api.get("/v1/consents/log", params={"effect": "late"})).json()["items"]
    assert [(item["granted"], item["proof"]["event"]) for item in listed if item["person"] == key] == [
        (False, "late-no")
    ]


async def test_C5_what_the_person_said_is_undone_by_them_or_an_operator_with_a_reason_only(published, api, sender):
    await entered_run(api, sender, "own")
    page = {"by": "person", "wording": "Stop everything", "proof": {"page": "settings", "session": "s1"}}
    await put(api, "own", granted=False, **page)
    context = {"consent": {"wording": "Resume"}}
    await identify(sender, "own", {"unsubscribed": False}, message="own-1", context=context)
    assert (await put(api, "own", granted=None))["effect"] == "protected", "an operator without a reason"
    secret = {"channel": "*", "topic": "*", "granted": None, "source": "server", "wording": "x", "reason": "they asked"}
    assert (await sender.put("/v1/users/own/consents", json=secret)).json()["effect"] == "protected"
    at_the_address = {("email", "*"): False}
    assert await consents_of(api, "own") == {("*", "*"): False, **at_the_address}
    assert (await put(api, "own", granted=None, reason="asked on the phone"))["effect"] == "applied"
    assert await consents_of(api, "own") == {}
    await put(api, "own", granted=False, **page)
    answer = await sender.put(
        "/v1/users/own/consents",
        json={"channel": "*", "topic": "*", "granted": None, "source": "settings", **page},
    )
    assert answer.json()["effect"] == "applied", "the company's own preference page"
    assert await consents_of(api, "own") == {}
    entry = (await api.get("/v1/users/own/consents/log")).json()["items"][0]
    assert (entry["by"], entry["proof"]["session"]) == ("person", "s1")


async def test_C5_by_person_needs_the_wording_and_a_proof(published, api, sender):
    await entered_run(api, sender, "unproven")
    body = {"channel": "*", "topic": "*", "granted": False, "source": "settings", "by": "person"}
    for more in ({}, {"wording": "Stop"}, {"proof": {"page": "settings"}}):
        assert (await sender.put("/v1/users/unproven/consents", json=body | more)).status_code == 422


# -- opt-outs that cannot be read -----------------------------------------------------------------------------------------------


async def test_C5_an_opt_out_that_cannot_be_read_is_one_of_everything_and_reported(published, api, sender):
    await entered_run(api, sender, "unclear")
    answer = await identify(sender, "unclear", {"consents": {"fax": False}, "plan": "team"}, message="unclear-no")
    assert "quarantined" not in answer
    assert await consents_of(api, "unclear") == {("*", "*"): False}
    key = (await api.get("/v1/users/unclear")).json()["key"]
    listed = (await api.get("/v1/consents/log", params={"unreadable": True})).json()["items"]
    (why,) = [item["unreadable"] for item in listed if item["person"] == key]
    assert "'fax' is not a channel" in why


async def test_a_grant_that_cannot_be_read_is_quarantined_and_changes_nothing(published, api, sender):
    await entered_run(api, sender, "half")
    traits = {"consents": {"fax": True}, "plan": "team"}
    answer = await identify(sender, "half", traits, message="half-yes", context={"consent": {"wording": "x"}})
    assert "'fax' is not a channel" in answer["quarantined"][0]
    assert await consents_of(api, "half") == {}


@pytest.mark.parametrize(
    ("name", "call", "place"),
    [
        ("mixed", {"type": "identify", "traits": {"consents": {"fax": True, "email": False}}}, ("email", "*")),
        (
            "failing",
            {"type": "track", "event": "Consent Changed",
             "properties": {"channel": "sms", "topic": "shop", "granted": False, "wording": {"a": 1}}},
            ("sms", "shop"),
        ),
        ("vague", {"type": "track", "event": "Consent Changed", "properties": {"channel": "email"}}, ("email", "*")),
    ],
)  # fmt: skip
async def test_C5_an_opt_out_counts_although_its_call_is_quarantined(published, api, sender, name, call, place):
    user = f"kept-{name}"
    await entered_run(api, sender, user)
    batch = {"batch": [{"userId": user, "messageId": f"{user}-no", "context": {"consent": {"wording": "x"}}, **call}]}
    answer = (await sender.post("/v1/batch", json=batch)).json()
    assert answer["quarantined"], answer
    assert await consents_of(api, user) == {place: False}


async def test_C5_an_opt_out_counts_although_its_time_cannot_be_read(published, api, sender):
    await entered_run(api, sender, "timeless")
    call = {"type": "identify", "userId": "timeless", "timestamp": "yesterday", "traits": {"unsubscribed": True}}
    assert (await sender.post("/v1/batch", json={"batch": [call]})).json()["accepted"] == 1
    assert await consents_of(api, "timeless") == {("*", "*"): False}


# -- attempts in flight --------------------------------------------------------------------------------------------------------------


async def test_C5_an_opt_out_is_answered_after_the_attempt_in_flight_ends(published, api, sender, db):
    person, run = await entered_run(api, sender, "waiter")
    await insert_message(db, run, person, "waiter-flying", "sending")
    opt_out = {"channel": "email", "topic": "onboarding", "granted": False, "source": "tests"}
    pending = asyncio.create_task(api.put("/v1/users/waiter/consents", json=opt_out))
    while await consents_of(api, "waiter") == {}:
        await asyncio.sleep(0.01)
    done, _ = await asyncio.wait([pending], timeout=0.3)  # no signal announces that an answer is withheld
    assert not done
    await db.execute("UPDATE messages SET status = 'sent' WHERE key = 'waiter-flying'")
    assert (await pending).json()["in_flight"] == []


async def test_C5_an_opt_out_is_answered_after_a_digest_in_flight_with_its_topic_ends(published, api, sender, db):
    person, run = await entered_run(api, sender, "bundled")
    await insert_message(db, run, person, "digest/bundled", "sending", topic=None)
    await db.execute(
        """UPDATE messages SET data = '{"topics": ["billing", "onboarding"]}' WHERE key = 'digest/bundled'"""
    )
    opt_out = {"channel": "email", "topic": "onboarding", "granted": False, "source": "tests"}
    pending = asyncio.create_task(api.put("/v1/users/bundled/consents", json=opt_out))
    while await consents_of(api, "bundled") == {}:
        await asyncio.sleep(0.01)
    done, _ = await asyncio.wait([pending], timeout=0.3)  # no signal announces that an answer is withheld
    assert not done
    await db.execute("UPDATE messages SET status = 'sent' WHERE key = 'digest/bundled'")
    assert (await pending).json()["in_flight"] == []


async def test_C5_an_attempt_with_an_unknown_result_is_listed_and_not_waited_for(published, api, sender, db):
    person, run = await entered_run(api, sender, "doubtful")
    await insert_message(db, run, person, "doubtful-ended", "sending")
    await db.execute("UPDATE messages SET detail = 'no answer in time' WHERE key = 'doubtful-ended'")
    opt_out = {"channel": "email", "topic": "onboarding", "granted": False, "source": "tests"}
    began = time.monotonic()
    answer = (await api.put("/v1/users/doubtful/consents", json=opt_out)).json()
    assert time.monotonic() - began < 4.0
    assert [attempt["template"] for attempt in answer["in_flight"]] == ["setup/first-steps"]


async def test_C5_an_opt_out_waits_five_seconds_and_lists_the_attempts_in_flight(published, api, sender, db):
    person, run = await entered_run(api, sender, "left")
    await insert_message(db, run, person, "left-flying", "sending")
    await insert_message(db, run, person, "left-allowed", "sending", topic="billing")
    await insert_message(db, run, person, "left-inside", "sending", via="in_app")
    began = time.monotonic()
    opt_out = {"channel": "email", "topic": "onboarding", "granted": False, "source": "tests"}
    answer = (await api.put("/v1/users/left/consents", json=opt_out)).json()
    assert 5.0 <= time.monotonic() - began < 8.0
    number = await db.fetchval("SELECT id FROM messages WHERE key = 'left-flying'")
    assert answer["in_flight"] == [
        {"id": number, "channel": "email", "topic": "onboarding", "template": "setup/first-steps"}
    ]
    began = time.monotonic()
    by_event = await identify(sender, "left", {"consents": {"in_app": {"onboarding": False}}}, message="left-again")
    assert {attempt["channel"] for attempt in by_event["in_flight"]} == {"email", "in_app"}
    assert time.monotonic() - began < 8.0


async def test_an_opt_out_does_not_wait_for_an_attempt_with_an_expired_lease(published, api, sender, db):
    person, run = await entered_run(api, sender, "zombie")
    await insert_message(db, run, person, "zombie-flying", "sending")
    await db.execute("UPDATE messages SET lease_until = now() - interval '1 second' WHERE key = 'zombie-flying'")
    opt_out = {"channel": "email", "topic": "onboarding", "granted": False, "source": "tests"}
    assert (await api.put("/v1/users/zombie/consents", json=opt_out)).json()["in_flight"] == []


async def test_a_suppression_is_answered_after_the_attempt_in_flight_to_its_address_ends(published, api, sender, db):
    person, run = await entered_run(api, sender, "flown")
    await insert_message(db, run, person, "flown-to-them", "sending")
    await insert_message(db, run, person, "flown-elsewhere", "sending")
    await db.execute("UPDATE messages SET address = 'flown@example.com' WHERE key = 'flown-to-them'")
    await db.execute("UPDATE messages SET address = 'else@example.com' WHERE key = 'flown-elsewhere'")
    body = {"channel": "email", "address": " Flown@example.com", "by": "flo"}
    pending = asyncio.create_task(api.post("/v1/suppressions", json=body))
    find = {"channel": "email", "address": "flown@example.com"}
    while not (await api.post("/v1/suppressions:find", json=find)).json()["suppressed"]:
        await asyncio.sleep(0.01)
    done, _ = await asyncio.wait([pending], timeout=0.3)  # no signal announces that an answer is withheld
    assert not done
    await db.execute("UPDATE messages SET status = 'sent' WHERE key = 'flown-to-them'")
    answer = (await pending).json()
    assert (answer["suppressed"], answer["in_flight"]) == (True, [])


async def test_a_suppression_lists_only_the_attempts_in_flight_to_its_address(published, api, sender, db):
    person, run = await entered_run(api, sender, "remains")
    await insert_message(db, run, person, "remains-flying", "sending")
    await insert_message(db, run, person, "remains-sent", "sent")
    await insert_message(db, run, person, "remains-inside", "sending", via="in_app")
    await db.execute("UPDATE messages SET address = 'remains@example.com' WHERE key LIKE 'remains-%'")
    began = time.monotonic()
    body = {"channel": "email", "address": "remains@example.com", "by": "flo"}
    answer = (await api.post("/v1/suppressions", json=body)).json()
    assert 5.0 <= time.monotonic() - began < 8.0
    number = await db.fetchval("SELECT id FROM messages WHERE key = 'remains-flying'")
    assert answer["in_flight"] == [
        {"id": number, "channel": "email", "topic": "onboarding", "template": "setup/first-steps"}
    ]


# -- text messages ---------------------------------------------------------------------------------------------------------------


async def is_suppressed(database_url: str, channel: str, address: str) -> bool:
    database = Database(database_url)
    async with database.reading() as connection:
        result = await suppressions.is_suppressed(connection, ADDRESSES, channel, address)
    await database.close()
    return result


async def test_C5_stop_suppresses_a_number_for_everybody_who_has_it_and_start_lifts_it(
    published, api, sender, module_database_url
):
    for user, written in (("texter", "+43 664 1234567"), ("partner", "+436641234567"), ("other", "+436641234568")):
        await entered_run(api, sender, user, phone=written)
    taken = (
        await api.post("/v1/inbound-texts", json={"phone": "+436641234567", "text": " Stop! ", "id": "SM1"})
    ).json()
    assert (taken["wish"], taken["people"]) == ("stop", 2)
    assert await consents_of(api, "texter") == await consents_of(api, "partner") == {("sms", "*"): False}
    assert await consents_of(api, "other") == {}
    assert await is_suppressed(module_database_url, "sms", "0043 664 1234567")
    (entry,) = (await api.get("/v1/users/texter/consents/log")).json()["items"]
    assert (entry["source"], entry["proof"]["message"]) == ("inbound-text", "SM1")
    assert entry["proof"].pop("phone_hash") == ADDRESSES.digest("sms", "436641234567")
    assert "1234567" not in str(entry)
    lifted = (await api.post("/v1/inbound-texts", json={"phone": "+436641234567", "text": "UNSTOP"})).json()
    assert lifted["wish"] == "start"
    again = (await api.post("/v1/inbound-texts", json={"phone": "+436641234567", "text": "stop", "id": "SM1"})).json()
    assert (again["wish"], again["people"]) == ("stop", 0)
    assert await consents_of(api, "texter") == {}, "START revokes the opt-out and is no opt-in"
    assert not await is_suppressed(module_database_url, "sms", "+436641234567")


async def test_start_does_not_lift_a_suppression_by_an_operator(api, module_database_url):
    await api.post("/v1/suppressions", json={"channel": "sms", "address": "+4366499", "by": "dana"})
    await api.post("/v1/inbound-texts", json={"phone": "+4366499", "text": "start"})
    assert await is_suppressed(module_database_url, "sms", "+4366499")


async def test_a_sentence_is_no_keyword_and_stop_from_an_unknown_number_suppresses_it(
    published, api, sender, module_database_url
):
    await entered_run(api, sender, "talker", phone="+4366477")
    taken = (await api.post("/v1/inbound-texts", json={"phone": "+4366477", "text": "please stop by"})).json()
    assert (taken["wish"], taken["people"]) == (None, 0)
    assert await consents_of(api, "talker") == {}
    unknown = (await api.post("/v1/inbound-texts", json={"phone": "+4366488", "text": "quit"})).json()
    assert (unknown["wish"], unknown["people"]) == ("stop", 0)
    assert await is_suppressed(module_database_url, "sms", "+4366488")


async def test_a_text_without_a_phone_number_is_ignored(module_database_url):
    database = Database(module_database_url)
    result = await sms_keywords.inbound_text(database, DefinitionRegistry(), "anonymous", "stop")
    assert result == sms_keywords.KeywordResult(None)
    await database.close()


# -- suppressions -----------------------------------------------------------------------------------------------------------------


async def send_event(api, user: str, name: str, number: int, **properties: Any) -> None:
    call = {"userId": user, "event": name, "messageId": f"{user}-{name}-{number}", "properties": properties}
    (await api.post("/v1/track", json=call)).raise_for_status()


async def find_suppression(api, address: str) -> dict[str, Any]:
    answer = await api.post("/v1/suppressions:find", json={"channel": "email", "address": address})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_a_hard_bounce_and_a_complaint_suppress_at_once(published, api, sender):
    for user, name, reason in (("hard", "Email Bounced", "hard_bounce"), ("spam", "Email Marked as Spam", "complaint")):
        await entered_run(api, sender, user)
        await send_event(api, user, name, 1, kind="hard")
        suppression = await find_suppression(api, f"{user}@EXAMPLE.com")
        assert (suppression["suppressed"], [item["reason"] for item in suppression["items"]]) == (True, [reason])


async def test_the_third_soft_bounce_suppresses_an_address_and_a_repeated_event_counts_once(published, api, sender):
    address = "elsewhere@example.com"
    for number in (1, 1, 1, 2):
        await send_event(api, "soft", "Email Bounced", number, kind="soft", address=address)
    assert (await find_suppression(api, address))["suppressed"] is False
    await send_event(api, "soft", "Email Bounced", 3, kind="soft", address=address)
    suppression = await find_suppression(api, address)
    assert [item["reason"] for item in suppression["items"]] == ["soft_bounces"]
    lifted = await api.post(f"/v1/suppressions/{suppression['items'][0]['id']}/lift", json={"by": "dana"})
    assert lifted.json()["lifted_by"] == "dana via operator"
    await send_event(api, "soft", "Email Bounced", 4, kind="soft", address=address)
    assert (await find_suppression(api, address))["suppressed"] is False, "lifting restarts the count"


async def test_soft_bounces_outside_the_window_do_not_count(module_database_url):
    database, rules = Database(module_database_url), ConsentRuleSet().rules.soft_bounces
    now = datetime.now(UTC)
    async with database.transaction() as connection:
        results = [
            await suppressions.note_bounce(
                connection, ADDRESSES, "email", "slow@example.com", hard=False, rules=rules, source="tests",
                reference=str(days), at=now - timedelta(days=days),
            )
            for days in (40, 30, 10, 5, 0)
        ]  # fmt: skip
    await database.close()
    assert results == [False, False, False, False, True]


async def test_soft_bounces_suppress_an_address_for_a_time_and_a_hard_one_until_it_is_lifted(module_database_url):
    database, rules = Database(module_database_url), ConsentRuleSet().rules.soft_bounces
    now, address = datetime.now(UTC), "rests@example.com"

    async def bounce(number: int, at: datetime, *, hard: bool = False) -> bool:
        async with database.transaction() as connection:
            return await suppressions.note_bounce(
                connection, ADDRESSES, "email", address, hard=hard, rules=rules, source="tests", reference=str(number), at=at
            )  # fmt: skip

    async def history() -> list[tuple[str, datetime | None, str | None]]:
        async with database.reading() as connection:
            rows = await suppressions.suppression_history(connection, ADDRESSES, "email", address)
        return [(row["reason"], row["ends_at"], row["lifted_by"]) for row in rows]

    long_ago = now - timedelta(days=31)
    assert [await bounce(number, long_ago) for number in range(3)] == [False, False, True]
    assert await history() == [("soft_bounces", long_ago + timedelta(days=30), None)]
    assert not await is_suppressed(module_database_url, "email", address), "it has ended"
    assert [await bounce(number, now) for number in range(3, 6)] == [False, False, True]
    assert await is_suppressed(module_database_url, "email", address)
    assert await bounce(6, now, hard=True), "a suppression that ends gives way to one that does not"
    assert [(reason, lifted_by) for reason, _, lifted_by in await history()] == [
        ("hard_bounce", None), ("soft_bounces", "tests"), ("soft_bounces", suppressions.ITS_END),
    ]  # fmt: skip
    assert (await history())[0][1] is None
    await bounce(7, now)
    assert len(await history()) == 3
    await database.close()


async def test_suppressions_are_listed_without_addresses_and_lifted_once(api, db):
    await api.post("/v1/suppressions", json={"channel": "email", "address": "listed@example.com", "by": "dana"})
    again = await api.post("/v1/suppressions", json={"channel": "email", "address": "Listed@example.com", "by": "erin"})
    assert len(again.json()["items"]) == 1
    page = (await api.get("/v1/suppressions", params={"in_force": True, "channel": "email"})).json()
    (item,) = [item for item in page["items"] if item["source"] == "dana via operator"]
    assert "listed" not in str(page)
    first = (await api.post(f"/v1/suppressions/{item['id']}/lift", json={"by": "erin"})).json()
    second = (await api.post(f"/v1/suppressions/{item['id']}/lift", json={"by": "someone"})).json()
    assert first == second
    assert (await api.post("/v1/suppressions/999999/lift", json={"by": "x"})).status_code == 404
    assert (await api.post("/v1/suppressions:find", json={"channel": "sms", "address": "none"})).status_code == 422
    stored = await db.fetch("SELECT * FROM suppressions")
    assert not [row for row in stored if "example.com" in str(row)]


async def test_suppressions_under_an_older_key_are_found_and_lifted(module_database_url):
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
async def test_the_consent_log_cannot_be_updated_or_deleted(published, api, sender, db, statement):
    await entered_run(api, sender, "logged")
    await identify(sender, "logged", {"unsubscribed": True}, message="logged-no")
    with pytest.raises(asyncpg.RestrictViolationError, match="only grows"):
        await db.execute(statement)
