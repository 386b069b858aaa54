"""IP addresses that senders give: stored as keyed hashes in every table, in clear in none."""

from __future__ import annotations

import json

import pytest

from store.schema import metadata
from tests.support.api import CATALOG

V4, V6 = "203.0.113.77", "2001:db8::4:17"
USER = "addressed"


async def tables_with(db, text: str) -> list[str]:
    """The tables with a row that contains the text anywhere."""
    return [
        table.name
        for table in metadata.sorted_tables
        if await db.fetchval(f'SELECT count(*) FROM "{table.name}" AS t WHERE strpos(t::text, $1) > 0', text)
    ]


@pytest.mark.parametrize("address", [V4, V6])
async def test_no_table_has_an_ip_address_that_an_event_a_batch_or_a_consent_gives(api, sender, db, address):
    urgent = (CATALOG / "journeys" / "urgent-support.yaml").read_bytes()
    (await api.put("/v1/journeys/urgent-support", content=urgent)).raise_for_status()
    given, mark = {"ip": address, "locale": "de", "screen": {"width": 3}}, address[:4]
    person = {"userId": USER + mark, "context": given}
    await sender.post("/v1/identify", json={**person, "traits": {"consents": {"email": {"offers": False}}}})
    await sender.post("/v1/page", json={**person, "messageId": "page" + mark})
    ticket = {"ticket_id": "1", "priority": "urgent", "subject": "Down"}
    await sender.post("/v1/track", json={**person, "event": "ticket_opened", "properties": ticket})
    unknown = {**person, "type": "track", "event": "no_such_event", "ip": address, "messageId": "unknown" + mark}
    (await sender.post("/v1/track", json=unknown)).raise_for_status()
    odd = {"type": "track", "event": 7, "userId": "x", "messageId": "odd" + mark}
    unstorable = {"type": "track", "userId": "x", "event": "\ud800" + mark, "context": given}
    body = {"context": given, "batch": [{**unknown, "messageId": "batched" + mark}, odd, unstorable]}
    (await sender.post("/v1/batch", content=json.dumps(body))).raise_for_status()
    consent = {"channel": "email", "topic": "onboarding", "granted": True, "source": "form", "wording": "Tips"}
    consent |= {"ip": address, "proof": {"form": "7", "ip": address}}
    (await sender.put(f"/v1/users/{USER}{mark}/consents", json=consent)).raise_for_status()
    assert await tables_with(db, "no_such_event") == ["quarantine"], "the search finds what is there"
    assert await db.fetchval("SELECT count(*) FROM quarantine WHERE strpos(event::text, $1) > 0", mark) == 4
    assert await tables_with(db, address) == []


async def test_the_hash_of_an_address_is_the_proof_of_a_consent_and_survives_a_replay_from_quarantine(api, sender, db):
    context = {"ip": V4, "consent": {"wording": "Tips"}}
    traits = {"consents": {"email": {"offers": False}}}
    first = {"userId": "proven", "messageId": "proven-1", "context": context, "traits": traits}
    (await sender.post("/v1/identify", json=first)).raise_for_status()
    (entry,) = (await api.get("/v1/users/proven/consents/log")).json()["items"]
    digest = entry["proof"]["ip_hash"]
    stored = await db.fetchval("SELECT context FROM events WHERE message_id = 'proven-1'")
    assert digest in stored
    late = {"userId": "proven", "messageId": "proven-2", "event": "no_such_event_yet", "context": context}
    (await sender.post("/v1/track", json=late)).raise_for_status()
    assert digest in await db.fetchval("SELECT event FROM quarantine WHERE message_id = 'proven-2'")
    again = {**first, "messageId": "proven-3", "context": {"ip_hash": digest, "consent": {"wording": "Tips"}}}
    (await sender.post("/v1/identify", json=again)).raise_for_status()
    *_, replayed = (await api.get("/v1/users/proven/consents/log")).json()["items"]
    assert replayed["proof"]["ip_hash"] == digest


@pytest.mark.parametrize("given", ["<script>", "x" * 64, 7, None], ids=["markup", "letters", "number", "null"])
async def test_a_hash_that_is_none_is_no_proof(api, sender, given):
    user = f"forged-{given!s:.3}"
    call = {"userId": user, "context": {"ip_hash": given}, "traits": {"consents": {"email": {"offers": False}}}}
    (await sender.post("/v1/identify", json=call)).raise_for_status()
    (entry,) = (await api.get(f"/v1/users/{user}/consents/log")).json()["items"]
    assert "ip_hash" not in entry["proof"]


async def test_an_event_with_an_address_is_answered_as_one_without(sender):
    call = {"userId": "answered", "messageId": "answered-1", "event": "setup_completed", "context": {"ip": V4}}
    first = (await sender.post("/v1/track", json=call)).json()
    again = (await sender.post("/v1/track", json=call)).json()
    other = {**call, "event": "activated"}
    single = (await sender.post("/v1/track", json=other)).json()
    batch = (
        await sender.post("/v1/batch", json={"batch": [{**other, "type": "track", "properties": {"a": 1}}]})
    ).json()
    assert (first.get("duplicate"), again.get("duplicate")) == (None, True)
    assert "messageId was used before" in single["quarantined"][0]
    assert [error["messageId"] for error in batch["errors"]] == ["answered-1"]
