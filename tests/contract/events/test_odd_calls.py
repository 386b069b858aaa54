"""Calls as real senders write them: a fault costs only what it concerns, and what is unusable is kept with its reason."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.contract.events.test_ingest import event, quarantine_faults, stored


async def notes(db, message: str) -> list[str]:
    """What was noted on a stored event."""
    context = await db.fetchval("SELECT context FROM events WHERE message_id = $1", message)
    found: list[str] = json.loads(context or "{}").get("$notes", [])
    return found


async def profile(db, user: str) -> dict[str, Any]:
    row = await db.fetchval(
        "SELECT profile FROM subjects s JOIN identities i ON i.subject_key = s.key WHERE i.value = $1", user
    )
    fields: dict[str, Any] = json.loads(row)
    return fields


@pytest.mark.parametrize(
    "empty",
    [{"properties": []}, {"context": []}, {"context": None}, {"type": "identify", "traits": []}],
    ids=["properties", "context", "null", "traits"],
)
@pytest.mark.parametrize("outer", [{}, {"context": []}, {"context": {"app": "shop"}}], ids=["bare", "[]", "context"])
async def test_an_empty_php_map_is_an_empty_object(sender, db, empty, outer):
    name = f"php-{'-'.join(empty)}-{empty.get('context', 0)}-{outer}"
    answer = (await sender.post("/v1/batch", json={**outer, "batch": [event("php", name, **empty)]})).json()
    assert (answer["accepted"], answer["quarantined"]) == (1, 0)
    assert await notes(db, name) == []
    if outer.get("context"):
        assert "shop" in await db.fetchval("SELECT context::text FROM events WHERE message_id = $1", name)


async def test_a_direct_signal_may_have_an_empty_php_map_too(sender):
    taken = await sender.post("/v1/users/php-2/signals", json={"name": "setup_completed", "data": []})
    assert (taken.status_code, taken.json()["quarantined"]) == (202, [])


@pytest.mark.parametrize(
    ("fault", "noted"),
    [
        ({"sentAt": ""}, []),
        ({"sentAt": None}, []),
        ({"sentAt": "soon"}, ['the batch\'s sentAt "soon" is not an instant and was left out']),
        ({"sentAt": {}}, ["the batch's sentAt {} is not an instant and was left out"]),
        ({"context": "x"}, ['the batch\'s context "x" is not an object and was left out']),
        ({"context": [1]}, ["the batch's context [1] is not an object and was left out"]),
    ],
    ids=["blank", "null", "word", "object", "text", "list"],
)
async def test_a_fault_of_the_envelope_costs_none_of_its_events(sender, db, fault, noted):
    name = f"envelope-{json.dumps(fault)}"
    answer = await sender.post("/v1/batch", json={**fault, "batch": [event("enveloped", name)]})
    assert (answer.status_code, answer.json()["accepted"]) == (200, 1)
    assert await notes(db, name) == noted


async def test_a_context_that_is_no_object_costs_only_itself(sender, db):
    answer = (await sender.post("/v1/batch", json={"batch": [event("odd", "odd-context", context="x" * 100)]})).json()
    assert (answer["accepted"], answer["quarantined"]) == (1, 0)
    (note,) = await notes(db, "odd-context")
    assert note.startswith('context "xxx')
    assert note.endswith("… is not an object and was left out")


async def test_a_senders_own_notes_are_dropped(sender, db):
    await sender.post("/v1/track", json=event("forger", "forged", context={"$notes": ["all is well"]}))
    assert await notes(db, "forged") == []


async def test_an_element_held_for_its_type_is_replayed_as_a_track_call(sender, api, db):
    bad = {**event("typeless", "typeless-1"), "type": "trakc"}
    await sender.post("/v1/batch", json={"batch": [bad, event("typeless", "typeless-2")]})
    assert len(await stored(db, "typeless")) == 1
    assert "type must be one of" in (await quarantine_faults(db, "typeless-1"))[0]
    number = await db.fetchval("SELECT id FROM quarantine WHERE message_id = 'typeless-1'")
    refused = await api.post(f"/v1/quarantine/{number}/replay")
    assert refused.status_code == 409, "it is still of no known type"
    assert refused.json()["errors"][0]["detail"].startswith("type must be")


async def test_a_replayed_event_keeps_its_time_by_the_clock_that_was_right_when_it_arrived(api, db):
    arrived = datetime.now(UTC) - timedelta(hours=2)
    times = {"timestamp": arrived + timedelta(minutes=9), "sentAt": arrived + timedelta(minutes=10)}
    raw = event("late", "late-1", **{name: at.isoformat() for name, at in times.items()})
    number = await db.fetchval(
        "INSERT INTO quarantine (source, message_id, key_id, name, faults, event, received_at)"
        " VALUES ('segment', 'late-1', 'write', 'x', '[]', $1, $2) RETURNING id",
        json.dumps(raw),
        arrived,
    )
    assert (await api.post(f"/v1/quarantine/{number}/replay")).status_code == 200
    at = await db.fetchval("SELECT at FROM events WHERE message_id = 'late-1'")
    assert abs(arrived - timedelta(minutes=1) - at) < timedelta(seconds=5)


@pytest.mark.parametrize(
    "shape",
    ["%Y-%m-%dT%H:%M:%S %p+0000", "%a %b %d %Y %H:%M:%S GMT+0000 (Coordinated Universal Time)", "s", "ms"],
    ids=str,
)
async def test_a_timestamp_with_one_meaning_counts(sender, db, shape):
    said = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=3)
    epochs = {"s": int(said.timestamp()), "ms": int(said.timestamp()) * 1000}
    written = epochs.get(shape) or said.strftime(shape)
    await sender.post("/v1/track", json=event("timed", f"timed-{shape}", timestamp=written))
    assert await db.fetchval("SELECT at FROM events WHERE message_id = $1", f"timed-{shape}") == said
    assert await notes(db, f"timed-{shape}") == []


@pytest.mark.parametrize("written", ["yesterday", "31/12/2026", 3, [], "2026-11-29T22:06:21 am"], ids=str)
async def test_for_another_timestamp_the_time_of_receipt_counts_and_the_event_says_so(sender, db, written):
    name = f"untimed-{written}"
    taken = await sender.post("/v1/track", json=event("untimed", name, timestamp=written))
    assert taken.json() == {"success": True}
    assert await db.fetchval("SELECT at = received_at FROM events WHERE message_id = $1", name)
    assert await notes(db, name) == [f"timestamp {json.dumps(written)} is not an instant and was left out"]


async def test_of_two_times_the_one_that_can_be_read_counts(sender, db):
    said = (datetime.now(UTC) - timedelta(hours=3)).isoformat()
    await sender.post("/v1/track", json=event("timed", "timed-both", timestamp="", originalTimestamp=said))
    assert (await db.fetchval("SELECT at FROM events WHERE message_id = 'timed-both'")).isoformat() == said


async def test_a_call_without_its_person_is_held_and_not_lost(sender, api, db):
    taken = await sender.post("/v1/track", json={**event("x", "nobody-1"), "userId": None})
    assert taken.json()["quarantined"] == ["userId or anonymousId is needed"]
    held = json.loads(await db.fetchval("SELECT event FROM quarantine WHERE message_id = 'nobody-1'"))
    assert (held["type"], held["event"]) == ("track", "setup_completed")
