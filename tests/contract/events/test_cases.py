"""Cases that can never be the id of a run: refused by every interface with the reason, so that no lane waits for them."""

from __future__ import annotations

import pytest

from tests.support.api import CATALOG

IMPOSSIBLE = {
    "201 CJK characters": "漢" * 201,
    "201 letters": "x" * 201,
    "blank": " ",
}
POSSIBLE = {"200 CJK characters": "漢" * 200, "200 letters": "x" * 200, "slashes": "a/b%2F" * 20}


@pytest.fixture(scope="module", autouse=True)
async def published(api, sender):
    text = (CATALOG / "journeys" / "urgent-support.yaml").read_bytes()
    (await api.put("/v1/journeys/urgent-support", content=text)).raise_for_status()
    # The definitions of this process are those of its last transaction.
    (await sender.post("/v1/identify", json={"userId": "first"})).raise_for_status()


async def send(client, interface: str, user: str, ticket: str) -> str:
    """Open an urgent ticket through this interface; the reason for which the event is held."""
    data = {"ticket_id": ticket, "priority": "urgent"}
    call = {"userId": user, "event": "ticket_opened", "properties": data}
    if interface == "batch":
        answer = await client.post(
            "/v1/batch", json={"batch": [{"type": "track", **call}, {"type": "identify", "userId": user}]}
        )
        assert answer.json()["accepted"] == 2 - answer.json()["quarantined"]
        return "held" * int(answer.json()["quarantined"])
    if interface == "track":
        return " ".join((await client.post("/v1/track", json=call)).json().get("quarantined", ()))
    answer = await client.post(f"/v1/users/{user}/signals", json={"name": "ticket_opened", "data": data})
    return " ".join(answer.json()["quarantined"])


@pytest.mark.parametrize("interface", ["track", "batch", "signal"])
@pytest.mark.parametrize("ticket", IMPOSSIBLE.values(), ids=list(IMPOSSIBLE))
async def test_A1_an_event_with_an_impossible_case_is_held_and_its_lane_stays_free(api, sender, db, interface, ticket):
    user = f"{interface}-{len(ticket)}-{len(ticket.encode())}"
    (await sender.post("/v1/identify", json={"userId": user})).raise_for_status()
    reason = await send(sender, interface, user, ticket)
    assert reason
    if interface != "batch":
        assert "ticket_id is the case of urgent-support" in reason
    assert (await api.get(f"/v1/users/{user}/journeys")).json()["items"] == []
    held = (await api.get("/v1/quarantine?name=ticket_opened&limit=100")).json()["items"]
    assert any(item["event"].get("userId", item["event"].get("user")) == user for item in held)
    waiting = "SELECT count(*) FROM outbox o JOIN identities i ON i.subject_key = o.recipient WHERE i.value = $1"
    assert await db.fetchval(waiting, user) == 0


@pytest.mark.parametrize("ticket", POSSIBLE.values(), ids=list(POSSIBLE))
async def test_A1_a_long_case_that_fits_opens_a_run(api, sender, ticket):
    user = f"fits-{len(ticket)}-{len(ticket.encode())}"
    assert not await send(sender, "track", user, ticket)
    (run,) = (await api.get(f"/v1/users/{user}/journeys")).json()["items"]
    assert run["case"] == ticket
    assert len(run["id"].encode()) <= 200


async def test_A1_a_held_event_is_not_replayed_while_its_case_is_impossible(api, sender):
    await send(sender, "track", "replayed", IMPOSSIBLE["201 CJK characters"])
    item = (await api.get("/v1/quarantine?name=ticket_opened&limit=100")).json()["items"][-1]
    refused = await api.post(f"/v1/quarantine/{item['id']}/replay")
    assert (refused.status_code, "is the case of urgent-support" in refused.text) == (409, True)
