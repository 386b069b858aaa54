"""Message ids: a repetition has no further effect, and an id that comes with something else is held."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from api.http.limits import Limits
from store.events.message_ids import OTHER_CONTENT
from tests.support.api import application, client
from tests.support.api_keys import make_api_key


def track(message: str, user: str = "ada", **more: Any) -> dict[str, Any]:
    return {"type": "track", "event": "setup_completed", "messageId": message, "userId": user, "properties": {}, **more}


async def stored(db, message: str) -> list[dict[str, Any]]:
    rows = await db.fetch("SELECT data FROM events WHERE message_id = $1 ORDER BY id", message)
    return [json.loads(row["data"]) for row in rows]


async def held(db, message: str) -> int:
    return int(await db.fetchval("SELECT count(*) FROM quarantine WHERE message_id = $1 AND status = 'held'", message))


OTHERS: dict[str, dict[str, Any]] = {
    "another person": {"userId": "eve"},
    "another visitor": {"userId": None, "anonymousId": "v-1"},
    "another account": {"context": {"groupId": "acme"}},
    "other properties": {"properties": {"steps": 3}},
    "another event": {"event": "signed_up"},
    "another call": {"type": "page"},
}


@pytest.mark.parametrize("name", sorted(OTHERS))
async def test_an_id_that_comes_with_something_else_is_held_and_the_first_event_stands(sender, db, name):
    message = f"other-{name}"
    await sender.post("/v1/track", json=track(message))
    second = {**track(message), **OTHERS[name]}
    answer = (await sender.post(f"/v1/{second['type']}", json=second)).json()
    assert answer == {"success": True, "quarantined": [OTHER_CONTENT]}
    assert len(await stored(db, message)) == 1
    assert await held(db, message) == 1
    third = {**track(message), "properties": {"third": True}}
    assert (await sender.post("/v1/track", json=third)).json()["quarantined"] == [OTHER_CONTENT]
    assert await held(db, message) == 2, "each content of the id is held"
    await sender.post("/v1/track", json=third)
    assert await held(db, message) == 2, "and once"


SAME: dict[str, dict[str, Any]] = {
    "all of it": {},
    "another time of sending": {"sentAt": "2026-05-03T10:00:07Z", "timestamp": "2026-05-03T10:00:00Z"},
    "another library": {"context": {"library": {"version": "2.0"}}},
    "a hash made with another secret": {"userHash": "0" * 64},
}


@pytest.mark.parametrize("name", sorted(SAME))
async def test_a_repetition_is_answered_as_a_duplicate(sender, db, name):
    message = f"same-{name}"
    sent = track(message, timestamp="2026-05-03T09:00:00Z", sentAt="2026-05-03T09:00:01Z")
    assert (await sender.post("/v1/track", json=sent)).json() == {"success": True}
    answer = (await sender.post("/v1/track", json={**sent, **SAME[name]})).json()
    assert answer == {"success": True, "duplicate": True}
    assert (len(await stored(db, message)), await held(db, message)) == (1, 0)


async def test_a_signal_is_a_duplicate_or_held_likewise(api, db):
    sent = {"id": "signal-1", "name": "setup_completed", "data": {}}
    answers = [
        (await api.post(path, json={**sent, "data": data})).json()
        for path, data in (
            ("/v1/users/ada/signals", {}),
            ("/v1/users/ada/signals", {}),
            ("/v1/users/eve/signals", {}),
            ("/v1/users/ada/signals", {"steps": 3}),
        )
    ]
    assert [answer["duplicate"] for answer in answers] == [False, True, False, False]
    assert [answer["quarantined"] for answer in answers] == [[], [], [OTHER_CONTENT], [OTHER_CONTENT]]
    assert len(await stored(db, "signal-1")) == 1


async def test_a_batch_lists_what_was_held_for_its_id(sender, db):
    await sender.post("/v1/track", json=track("b-1"))
    batch = [track("b-1"), track("b-1", "eve"), track("b-2"), track("b-2", properties={"n": 1}), track("b-2")]
    answer = (await sender.post("/v1/batch", json={"batch": batch})).json()
    assert (answer["accepted"], answer["duplicates"], answer["quarantined"]) == (1, 2, 2)
    assert [(item["index"], item["messageId"]) for item in answer["errors"]] == [(1, "b-1"), (3, "b-2")]
    assert answer["errors"][0]["errors"][0]["detail"].startswith("messageId")
    assert answer["errors"][0]["errors"][0]["pointer"] == "/batch/1/messageId"
    again = (await sender.post("/v1/batch", json={"batch": batch})).json()
    assert (again["accepted"], again["duplicates"], again["quarantined"]) == (0, 5, 0)


async def test_of_callers_at_once_with_one_id_each_is_answered_for_its_own_event(sender, db):
    calls = [track("at-once", properties={"n": n % 4}) for n in range(40)]
    answers = [
        answer.json() for answer in await asyncio.gather(*(sender.post("/v1/track", json=call) for call in calls))
    ]
    (accepted,) = [n for n, answer in enumerate(answers) if answer == {"success": True}]
    for n, answer in enumerate(answers):
        if n % 4 != accepted % 4:
            assert answer["quarantined"] == [OTHER_CONTENT]
        elif n != accepted:
            assert answer == {"success": True, "duplicate": True}
    assert await stored(db, "at-once") == [{"n": accepted % 4}]
    assert await held(db, "at-once") == 3


async def test_a_retry_after_a_merge_is_one_event(sender, db):
    visitor = {**track("before-merge"), "userId": None, "anonymousId": "v-merged"}
    await sender.post("/v1/track", json=visitor)
    await sender.post("/v1/identify", json={"userId": "merged", "traits": {"plan": "team"}})
    await sender.post("/v1/identify", json={"userId": "merged", "anonymousId": "v-merged"})
    key = await db.fetchval("SELECT merged_into FROM subjects WHERE merged_into IS NOT NULL")
    assert key is not None
    assert (await sender.post("/v1/track", json=visitor)).json() == {"success": True, "duplicate": True}
    assert len(await stored(db, "before-merge")) == 1


async def test_a_retry_with_a_rotated_key_is_one_event(api, db):
    key = await make_api_key(api, "rotating", "secret", source="rotating")
    await api.post("/v1/track", json=track("rotated"), auth=(key.secret, ""))
    secret = (await api.post(f"/v1/keys/{key.view['id']}/rotate", json={})).json()["secret"]
    answer = await api.post("/v1/track", json=track("rotated"), auth=(secret, ""))
    assert answer.json() == {"success": True, "duplicate": True}
    assert len(await stored(db, "rotated")) == 1


async def test_an_opt_out_counts_though_its_id_was_used(sender, api):
    def refuses(topic: str) -> dict[str, Any]:
        return {"messageId": "used", "userId": "olga", "traits": {"consents": {"email": {topic: False}}}}

    await sender.post("/v1/track", json=track("used", "olga"))
    for topic in ("offers", "education"):
        answer = (await sender.post("/v1/identify", json=refuses(topic))).json()
        assert answer["quarantined"] == [OTHER_CONTENT]
    consents = (await api.get("/v1/users/olga/consents")).json()["items"]
    assert {item["topic"] for item in consents if item["granted"] is False} >= {"offers", "education"}


async def test_a_held_event_stays_held_until_its_id_is_free_or_it_is_discarded(api, sender, db):
    await sender.post("/v1/track", json=track("replayed"))
    await sender.post("/v1/track", json=track("replayed", "eve"))
    identity = await db.fetchval("SELECT id FROM quarantine WHERE message_id = 'replayed'")
    refused = await api.post(f"/v1/quarantine/{identity}/replay")
    assert refused.status_code == 409
    assert OTHER_CONTENT in refused.text
    assert (await api.post(f"/v1/quarantine/{identity}/discard")).status_code == 200


async def test_ids_that_are_used_again_count_as_events_for_quarantine(database_url):
    app = application(database_url, limits=Limits(network_held=2, wrong_key_seconds=0))
    async with client(app) as operator:
        key = await make_api_key(operator, "website", "public")
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://api", auth=(key.secret, "")
        ) as web:

            def page(n: int) -> dict[str, Any]:
                return {"type": "page", "messageId": "one", "anonymousId": "v-1", "properties": {"n": n}}

            answers = [await web.post("/v1/page", json=page(n)) for n in range(4)]
            assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
            assert "quarantine" in answers[-1].json()["detail"]
            batch = await web.post("/v1/batch", json={"batch": [{**page(n), "messageId": "two"} for n in range(4)]})
            assert batch.status_code == 429
