"""Parked rows over the API and the command line: listed with their reason, replayed, discarded (A1)."""

from __future__ import annotations

import pytest

from tests.support.api import CATALOG

_PARK = """
INSERT INTO parked (recipient, seq, run, kind, name, event_id, at, data, facts, opens, code, reason)
SELECT o.recipient, o.seq, r.id, o.kind, o.name, o.event_id, o.at, o.data, o.facts, false, 'refused', 'Temporal refuses it'
FROM outbox o JOIN runs r ON r.lane = o.recipient WHERE o.name = 'integration_failed' AND r.status = 'open'
ON CONFLICT DO NOTHING
"""


@pytest.fixture(scope="module", autouse=True)
async def published(api):
    text = (CATALOG / "journeys" / "setup-and-activation.yaml").read_bytes()
    (await api.put("/v1/journeys/setup-and-activation", content=text)).raise_for_status()


async def parked_of(api, db, user):
    for event, data in (("signed_up", {}), ("integration_failed", {"code": "E42"})):
        answer = await api.post(f"/v1/users/{user}/signals", json={"name": event, "data": data})
        assert not answer.json()["quarantined"]
    await db.execute(_PARK)
    (run,) = (await api.get(f"/v1/users/{user}/journeys")).json()["items"]
    return (await api.get("/v1/parked", params={"run": run["id"]})).json()["items"]


async def test_A1_a_parked_row_is_listed_with_its_reason_and_replayed_once(api, db):
    (row,) = await parked_of(api, db, "replayed")
    assert (row["code"], row["reason"], row["status"]) == ("refused", "Temporal refuses it", "held")
    replayed = await api.post(f"/v1/parked/{row['id']}/replay", json={"by": "dana"})
    assert (replayed.status_code, replayed.json()["status"]) == (200, "replayed")
    assert replayed.json()["replayed_seq"] > row["seq"]
    assert replayed.json()["settled_by"].startswith("dana")
    again = await api.post(f"/v1/parked/{row['id']}/replay", json={"by": "dana"})
    assert again.json()["replayed_seq"] == replayed.json()["replayed_seq"], "a second time changes nothing"
    refused = await api.post(f"/v1/parked/{row['id']}/discard", json={})
    assert refused.status_code == 409
    lines = (await api.get(f"/v1/runs/{row['run'].replace('/', '%2F')}/timeline")).json()["items"]
    assert any(line["kind"] == "late" and "dana" in line["text"] for line in lines)


async def test_A1_a_parked_row_is_discarded_and_stays_listed(api, db):
    (row,) = await parked_of(api, db, "discarded")
    done = await api.post(f"/v1/parked/{row['id']}/discard", json={"by": "dana"})
    assert (done.status_code, done.json()["status"]) == (200, "discarded")
    assert (await api.post(f"/v1/parked/{row['id']}/replay", json={})).status_code == 409
    listed = (await api.get("/v1/parked", params={"status": "discarded"})).json()["items"]
    assert row["id"] in [item["id"] for item in listed]


async def test_A1_a_row_of_a_run_that_has_ended_cannot_be_replayed(api, db):
    (row,) = await parked_of(api, db, "ended")
    await db.execute("UPDATE runs SET status = 'closed' WHERE id = $1", row["run"])
    refused = await api.post(f"/v1/parked/{row['id']}/replay", json={})
    assert (refused.status_code, "has ended" in refused.json()["detail"]) == (409, True)


async def test_A1_an_unknown_parked_row_is_not_found(api):
    for method, path in (("get", "/v1/parked/99"), ("post", "/v1/parked/99/replay"), ("post", "/v1/parked/99/discard")):
        answer = await (api.get(path) if method == "get" else api.post(path, json={}))
        assert answer.status_code == 404
