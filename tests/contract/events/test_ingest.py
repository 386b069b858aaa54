"""Events by Segment's protocol: 200 means committed, and a malformed event affects no other of its batch."""

import asyncio
import gzip
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from segment.analytics.client import Client as SegmentClient

from tests.support.api import WRITE, application, served

EVENT = {"type": "track", "event": "setup_completed", "properties": {}}


def event(user: str, message: str | None = None, **more: Any) -> dict[str, Any]:
    return {**EVENT, "userId": user, **({"messageId": message} if message else {}), **more}


async def stored(db, user: str) -> list[tuple[str, str]]:
    """The (message id, name) of what is stored for a user, in order."""
    rows = await db.fetch(
        "SELECT e.message_id, e.name FROM events e JOIN identities i USING (subject_key) WHERE i.value = $1 ORDER BY e.id",
        user,
    )
    return [(row["message_id"], row["name"]) for row in rows]


async def quarantine_faults(db, message: str) -> list[str]:
    faults = await db.fetchval("SELECT faults FROM quarantine WHERE message_id = $1", message)
    return json.loads(faults) if faults else []


@pytest.mark.parametrize("gzipped", [False, True], ids=["plain", "gzip"])
async def test_the_unmodified_segment_library_works_as_a_client(module_database_url, db, gzipped):
    user = f"library-{gzipped}"

    def send_calls(url: str) -> None:
        library = SegmentClient(WRITE, host=url, gzip=gzipped, max_retries=0, send=True, on_error=pytest.fail)
        library.identify(user, {"plan": "team"})
        library.track(user, "Signed Up", {"plan": "team"})
        library.group(user, "acme", {"seats": 3})
        library.page(user, name="Pricing")
        library.screen(user, name="Home")
        library.alias(f"visitor-{gzipped}", user)
        library.flush()
        library.join()

    with served(application(module_database_url)) as url:
        await asyncio.to_thread(send_calls, url)
    assert [name for _, name in await stored(db, user)] == ["identify", "signed_up", "group", "page", "screen", "alias"]
    profile = await db.fetchval(
        "SELECT profile FROM subjects s JOIN identities i ON i.subject_key = s.key WHERE i.value = $1", user
    )
    assert json.loads(profile) == {"plan": "team"}


async def test_an_event_name_is_mapped_to_the_signal_of_the_tracking_plan(sender, db):
    taken = await sender.post("/v1/track", json=event("named", "named-1", event="Signed Up"))
    assert taken.json() == {"success": True}
    assert await stored(db, "named") == [("named-1", "signed_up")]


async def test_an_event_with_a_repeated_message_id_is_accepted_once(sender, db):
    body = {"batch": [event("twice", "t-1"), event("twice", "t-2")]}
    first = (await sender.post("/v1/batch", json=body)).json()
    again = (await sender.post("/v1/batch", json=body)).json()
    assert (first["accepted"], first["duplicates"]) == (2, 0)
    assert (again["accepted"], again["duplicates"]) == (0, 2)
    assert len(await stored(db, "twice")) == 2


async def test_two_hundred_concurrent_identical_requests_store_one_event(sender, db):
    answers = await asyncio.gather(*(sender.post("/v1/track", json=event("crowd", "crowd-1")) for _ in range(200)))
    assert {answer.status_code for answer in answers} == {200}
    assert await stored(db, "crowd") == [("crowd-1", "setup_completed")]


async def test_concurrent_batches_that_create_the_same_people_are_all_accepted(sender, db):
    batches = [[event(f"new-{(n * 7 + b) % 50}", f"new-{b}-{n}") for n in range(50)] for b in range(16)]
    answers = await asyncio.gather(*(sender.post("/v1/batch", json={"batch": batch}) for batch in batches))
    assert [(a.status_code, a.json()["accepted"]) for a in answers] == [(200, 50)] * 16
    assert await db.fetchval("SELECT count(*) FROM identities WHERE value LIKE 'new-%'") == 50


async def test_an_event_without_a_message_id_is_deduplicated_by_content_and_timestamp(sender, db):
    timed = event("nameless", timestamp="2026-05-03T10:00:00Z")
    for _ in range(2):
        await sender.post("/v1/track", json=timed)
    assert len(await stored(db, "nameless")) == 1
    for _ in range(2):
        await sender.post("/v1/track", json=event("nameless"))
    assert len(await stored(db, "nameless")) == 3, "events without a timestamp are not deduplicated"


STRANGE = {
    "NUL": b'{"type":"track","event":"e","userId":"u","messageId":"%s","properties":{"a":{"b":"x\\u0000y"}}}',
    "NUL in a key": b'{"type":"track","event":"e","userId":"u","messageId":"%s","properties":{"a\\u0000":1}}',
    "half a surrogate": b'{"type":"track","event":"e","userId":"u","messageId":"%s","properties":{"a":"\\ud800"}}',
    "not UTF-8": b'{"type":"track","event":"e","userId":"u","messageId":"%s","properties":{"a":"\xff\xfe"}}',
    "NaN": b'{"type":"track","event":"e","userId":"u","messageId":"%s","properties":{"a":NaN}}',
    "beyond a double": b'{"type":"track","event":"e","userId":"u","messageId":"%s","properties":{"a":1e999}}',
    "deep": b'{"type":"track","event":"e","userId":"u","messageId":"%s","properties":{"a":'
    + b"[" * 40
    + b"]" * 40
    + b"}}",
    "wrong types": b'{"type":"track","event":7,"userId":["u"],"messageId":"%s","properties":"p","timestamp":3}',
    "no type": b'{"event":"e","userId":"u","messageId":"%s"}',
    "nobody": b'{"type":"track","event":"e","messageId":"%s"}',
    "too large": b'{"type":"track","event":"e","userId":"u","messageId":"%s","properties":{"a":"'
    + b"x" * 33_000
    + b'"}}',
}


@pytest.mark.parametrize("name", STRANGE)
async def test_a_bad_event_of_a_batch_is_quarantined_with_its_faults_and_the_others_accepted(sender, db, name):
    message = f"strange-{name}".replace(" ", "-")
    user = f"neighbour-{name}"
    neighbours = [json.dumps(event(user, f"{message}-{n}")).encode() for n in (1, 2)]
    bad = STRANGE[name] % message.encode()
    body = b'{"batch":[' + b",".join([neighbours[0], bad, neighbours[1]]) + b"]}"
    taken = await sender.post("/v1/batch", content=body)
    assert taken.status_code == 200
    answer = taken.json()
    assert (answer["accepted"], answer["quarantined"]) == (2, 1)
    (entry,) = answer["errors"]
    assert (entry["index"], entry["messageId"]) == (1, message)
    assert all(fault["detail"] and fault["turn"] == "caller" for fault in entry["errors"])
    assert await quarantine_faults(db, message) == [fault["detail"] for fault in entry["errors"]]
    assert len(await stored(db, user)) == 2


@pytest.mark.parametrize("name", STRANGE)
async def test_a_bad_event_alone_is_quarantined_with_its_faults_as_in_a_batch_of_one(sender, db, name):
    message = f"alone-{name}".replace(" ", "-")
    taken = await sender.post("/v1/track", content=STRANGE[name] % message.encode())
    if name == "too large":
        assert taken.status_code == 413
        return
    assert taken.status_code == 200
    faults = taken.json()["quarantined"]
    assert faults
    assert faults == await quarantine_faults(db, message)
    if name == "wrong types":
        assert {fault.split()[0] for fault in faults} == {"event", "userId", "properties"}


@pytest.mark.parametrize("element", [42, None, "text", [], {}, True], ids=str)
async def test_a_batch_element_that_is_not_an_event_is_quarantined(sender, element):
    answer = (await sender.post("/v1/batch", json={"batch": [element]})).json()
    assert answer["quarantined"] + answer["duplicates"] == 1
    assert answer["errors"][0]["index"] == 0


@pytest.mark.parametrize(
    "body", [b"", b"nonsense", b"[]", b"7", b'{"batch":{}}', b'{"batch":[', b"\xff", b"[" * 5_000], ids=lambda b: b[:8]
)
async def test_a_body_without_a_batch_is_refused_with_a_problem(sender, body):
    refused = await sender.post("/v1/batch", content=body)
    assert refused.status_code == 400
    assert refused.json()["turn"] == "caller"


@pytest.mark.parametrize(
    ("timestamp", "sent_at"),
    [
        ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"),
        ("9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"),
        ("2126-01-01T00:00:00Z", None),
        ("1970-01-01T00:00:00+14:00", "1970-01-01T00:00:01-12:00"),
    ],
)
async def test_an_event_with_an_implausible_timestamp_gets_the_time_of_acceptance(sender, db, timestamp, sent_at):
    user = f"skewed-{timestamp}"
    body = event(user, timestamp=timestamp, **({"sentAt": sent_at} if sent_at else {}))
    assert (await sender.post("/v1/track", json=body)).status_code == 200
    at = await db.fetchval("SELECT e.at FROM events e JOIN identities i USING (subject_key) WHERE i.value = $1", user)
    assert abs((datetime.now(UTC) - at).total_seconds()) < 60, "acceptance counts"


async def test_an_event_over_32_kb_and_a_batch_over_500_kb_get_413(sender):
    large = await sender.post("/v1/track", json=event("large", properties={"a": "x" * 33_000}))
    batch = await sender.post("/v1/batch", json={"batch": [event("large", properties={"a": "x" * 25_000})] * 21})
    many = await sender.post("/v1/batch", json={"batch": [{}] * 2_501})
    assert [answer.status_code for answer in (large, batch, many)] == [413, 413, 413]
    assert large.json()["type"] == "urn:tenure:problem:too-large"


async def test_a_gzip_bomb_gets_413(sender):
    bomb = gzip.compress(b'{"batch":[' + b" " * 50_000_000 + b"]}")
    assert len(bomb) < 500 * 1024
    refused = await sender.post("/v1/batch", content=bomb, headers={"Content-Encoding": "gzip"})
    assert refused.status_code == 413


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [("gzip", b"no gzip", 400), ("gzip", gzip.compress(b"{}" * 9_000)[:-9], 400), ("br", b"{}", 415)],
    ids=["no gzip", "cut off", "br"],
)
async def test_a_body_that_does_not_match_its_content_encoding_is_refused(sender, encoding, body, status):
    refused = await sender.post("/v1/batch", content=body, headers={"Content-Encoding": encoding})
    assert refused.status_code == status


async def test_an_event_that_fails_the_tracking_plan_is_quarantined_with_the_reason(sender, db):
    taken = await sender.post("/v1/track", json=event("unplanned", "unplanned-1", event="Nobody Knows This"))
    assert taken.status_code == 200
    assert taken.json()["quarantined"] == await quarantine_faults(db, "unplanned-1")
    assert await stored(db, "unplanned") == []


async def test_a_signal_is_stored_once_and_answered_with_its_id(sender, db):
    signal = {"id": "signal-1", "name": "setup_completed", "data": {}}
    for _ in range(2):
        taken = await sender.post("/v1/users/a%2Fb/signals", json=signal)
        assert (taken.status_code, taken.json()["id"]) == (202, "signal-1")
    assert await stored(db, "a/b") == [("signal-1", "setup_completed")]
    account = await sender.post("/v1/accounts/acme-2/signals", json={"name": "setup_completed"})
    assert [message for message, _ in await stored(db, "acme-2")] == [account.json()["id"]]


@pytest.mark.parametrize(
    "signal",
    [{}, {"name": ""}, {"name": "tenure.event"}, {"name": "x", "at": 7}, {"name": "x", "extra": 1}, {"name": "a\x00"}],
    ids=str,
)
async def test_an_invalid_signal_is_refused(sender, signal):
    refused = await sender.post("/v1/users/u/signals", json=signal)
    assert refused.status_code in {400, 422}
    assert refused.json()["errors"]


async def test_an_event_whose_id_looks_like_another_is_quarantined_and_names_nobody(api, db):
    for path, call in (
        ("/v1/track", {"event": "setup_completed", "userId": "ad\u200ba"}),
        ("/v1/users/ad%E2%80%8Ba/signals", {"name": "setup_completed"}),
    ):
        answer = await api.post(path, json=call)
        assert answer.status_code in {200, 202}, answer.text
        assert answer.json()["quarantined"] == ["userId contains U+200B, which cannot be seen"]
    assert await db.fetchval("SELECT count(*) FROM identities WHERE value = 'ad\u200ba'") == 0
