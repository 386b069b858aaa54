"""Why a message came, and why one never did; stops over HTTP. The named change is tried: it must take the obstacle away."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

JOURNEY = """
journey: JOURNEY
entry: {on: signed_up, when: 'known.profile.plan && profile.plan == "team"', again: never}
topic: onboarding
start: begun
states:
  begun: {milestone: setup_completed, owner: lifecycle, on: {setup_completed: ready}}
  ready:
    milestone: activated
    owner: lifecycle
    do: [{send: education/first-value, via: [in_app], when: 'known.profile.role && profile.role == "admin"'}]
    on: {activated: over}
  over: {final: done}
"""
TEMPLATE = "education/first-value"


async def published(api: Any, key: str) -> None:
    answer = await api.put(f"/v1/journeys/{key}", content=JOURNEY.replace("JOURNEY", key).encode())
    assert answer.status_code in {200, 201}, answer.text


async def why_not(api: Any, user: str, key: str) -> dict[str, Any]:
    answer = await api.get(f"/v1/users/{user}/why-not", params={"template": TEMPLATE})
    assert answer.status_code == 200, answer.text
    return next(each for each in answer.json()["obstacles"] if each["journey"] == key)


async def tells(api: Any, user: str, traits: dict[str, Any]) -> None:
    body = {"userId": user, "traits": traits}
    answer = await api.post("/v1/identify", json=body)
    assert answer.status_code == 200, answer.text


async def test_why_not_names_the_nearest_obstacle_and_the_named_change_takes_it_away(api):
    key = "why-a"
    await published(api, key)
    await tells(api, "wendy", {"email": "wendy@example.com"})
    found = await why_not(api, "wendy", key)
    assert (found["code"], found["since"]) == ("guard", None)
    assert found["what"].startswith("the person never entered: no signed_up was accepted; ")
    assert found["change"] == {
        "kind": "identify",
        "text": "set profile.plan to 'team'",
        "params": {"traits": {"plan": "team"}},
    }

    await tells(api, "wendy", found["change"]["params"]["traits"])
    found = await why_not(api, "wendy", key)
    assert found["code"] == "not_entered"
    assert found["change"]["params"] == {"signal": "signed_up", "data": {}}

    await api.post("/v1/users/wendy/signals", json={"name": "signed_up"})
    found = await why_not(api, "wendy", key)
    assert found["code"] == "not_yet"  # no worker runs here: the run has not begun
    assert found["since"] is not None


async def test_why_not_says_which_guard_kept_them_out_and_since_when(api):
    key = "why-d"
    await published(api, key)
    await tells(api, "wulf", {"plan": "free"})
    await api.post("/v1/users/wulf/signals", json={"name": "signed_up"})
    found = await why_not(api, "wulf", key)
    assert "profile.plan" in found["what"]
    assert found["change"]["params"] == {"traits": {"plan": "team"}}
    assert found["since"] is not None


async def test_C5_C6_each_thing_at_the_gate_is_named_with_its_change_which_takes_it_away(api, db):
    key = "why-e"
    await published(api, key)
    await tells(api, "wren", {"email": "wren@example.com", "role": "admin", "plan": "team"})
    person = await db.fetchval("SELECT subject_key FROM identities WHERE value = 'wren'")
    stop = (await api.post("/v1/stops", json={"scope": "template", "name": TEMPLATE, "why": "w", "by": "dana"})).json()
    until = (datetime.now(UTC) + timedelta(days=3)).isoformat()
    held = await api.post("/v1/users/wren/hold", json={"until": until, "by": "dana", "why": "on the phone"})
    assert held.status_code in {200, 201}, held.text
    no = {"channel": "*", "topic": "onboarding", "granted": False, "source": "test"}
    await api.put("/v1/users/wren/consents", json=no)
    ticket = {"ticket_id": "77", "priority": "urgent"}
    await api.post("/v1/users/wren/signals", json={"name": "ticket_opened", "data": ticket})
    await db.execute("UPDATE tickets SET opened_at = now() - interval '2 hours' WHERE subject_key = $1", person)

    async def take_away(change: dict[str, Any]) -> None:
        params = change["params"]
        match change["kind"]:
            case "release_stop":
                assert params == {"scope": "template", "name": TEMPLATE}
                await api.post(f"/v1/stops/{stop['id']}/release", json={"by": "eve"})
            case "release_hold":
                await api.delete("/v1/users/wren/hold", params=params)
            case "consent":
                await api.put("/v1/users/wren/consents", json={**params, "source": "test"})
            case "resolve_ticket":
                body = {"name": params["signal"], "data": {"ticket_id": params["ticket_id"]}}
                await api.post("/v1/users/wren/signals", json=body)
            case other:
                raise AssertionError(other)

    met = []
    while (found := await why_not(api, "wren", key))["code"] == "gate":
        assert found["since"] is not None, found
        met.append(found["change"]["kind"])
        await take_away(found["change"])
        assert len(met) < 10, met
    assert set(met) == {"release_stop", "release_hold", "consent", "resolve_ticket"}
    assert found["change"]["kind"] == "track"  # nothing at the gate is left: now the journey's own way begins
    asked = (await api.get("/v1/users/wren/why-not", params={"template": TEMPLATE})).json()
    assert next(each for each in asked["gate"] if each["journey"] == key)["verdict"] == "send"


async def test_why_not_tells_what_the_gate_would_say_and_a_stop_is_in_it(api):
    key = "why-b"
    await published(api, key)
    await tells(api, "walt", {"email": "walt@example.com"})
    stop = (
        await api.post("/v1/stops", json={"scope": "journey", "name": key, "why": "a broken link", "by": "dana"})
    ).json()
    asked = (await api.get("/v1/users/walt/why-not", params={"template": TEMPLATE})).json()
    (gate,) = [each for each in asked["gate"] if each["journey"] == key]
    assert gate["verdict"] == "defer"
    assert gate["reasons"][0] == {"code": "stopped", "text": f"a kill switch stops journey {key}: a broken link"}
    listed = (await api.get("/v1/stops")).json()["items"]
    assert stop["id"] in [each["id"] for each in listed]
    released = await api.post(f"/v1/stops/{stop['id']}/release", json={"by": "eve"})
    assert released.json()["released_by"] == "eve"
    asked = (await api.get("/v1/users/walt/why-not", params={"template": TEMPLATE})).json()
    assert next(each for each in asked["gate"] if each["journey"] == key)["verdict"] == "send"
    assert stop["id"] not in [each["id"] for each in (await api.get("/v1/stops")).json()["items"]]


async def test_a_consent_that_is_withdrawn_is_in_the_way_until_it_is_given_again(api):
    key = "why-c"
    await published(api, key)
    await tells(api, "wilma", {"email": "wilma@example.com"})
    for granted, verdict in ((False, "withhold"), (True, "send")):
        said = {"channel": "in_app", "topic": "onboarding", "granted": granted, "source": "test"}
        assert (await api.put("/v1/users/wilma/consents", json=said)).status_code == 200
        asked = (await api.get("/v1/users/wilma/why-not", params={"template": TEMPLATE})).json()
        assert next(each for each in asked["gate"] if each["journey"] == key)["verdict"] == verdict


async def test_why_not_of_what_no_journey_sends_and_why_of_no_message_are_not_found(api):
    await tells(api, "wim", {"email": "wim@example.com"})
    unknown = await api.get("/v1/users/wim/why-not", params={"template": "no/such"})
    assert (unknown.status_code, unknown.json()["detail"]) == (404, "No published journey sends no/such.")
    assert (await api.get("/v1/messages/999999999/why")).status_code == 404


async def test_why_has_every_verdict_in_words_and_one_that_is_repeated_once(api, db):
    begun = datetime.now(UTC) - timedelta(hours=9)
    night, stop = ([{"code": code, "text": text}] for code, text in (("quiet_hours", "night"), ("stopped", "a stop")))
    await db.execute(
        """INSERT INTO messages (key, run, step, subject_key, recipient, journey, state, visit, action, template, via, priority,
             at, status, reasons, due_at, decided_at)
           VALUES ('told', 'r', 1, 'u_t', 'u_t', 'j', 's', 1, 'a', 't', '["email"]', 'lifecycle', $1, 'deferred', $2, $3, $1)""",
        begun, orjson.dumps(night).decode(), begun + timedelta(hours=4),
    )  # fmt: skip
    for hour in range(4, 8):
        at = begun + timedelta(hours=hour)
        await db.execute(
            "UPDATE messages SET reasons = $1, decided_at = $2, due_at = $3 WHERE key = 'told'",
            orjson.dumps(stop).decode(), at, at + timedelta(hours=1),
        )  # fmt: skip
    await db.execute(
        "UPDATE messages SET status = 'sending', reasons = '[]', attempts = 1, channel = 'email', due_at = NULL, "
        "decided_at = clock_timestamp() WHERE key = 'told'"
    )
    await db.execute("UPDATE messages SET status = 'sent' WHERE key = 'told'")
    number = await db.fetchval("SELECT id FROM messages WHERE key = 'told'")
    found = (await api.get(f"/v1/messages/{number}/why")).json()
    assert found["message"]["reasons"] == []
    told = [(each.get("verdict") or each["result"], each.get("reasons", [])) for each in found["story"]]
    assert told == [("defer", night), ("defer", stop), ("send", []), ("sent", [])]
    assert datetime.fromisoformat(found["story"][1]["until"]) == begun + timedelta(hours=5)
    assert [each["at"] for each in found["story"]] == sorted(each["at"] for each in found["story"])


async def test_a_stop_needs_a_name_unless_it_is_over_all(api):
    for body in ({"scope": "all", "name": "x"}, {"scope": "journey"}):
        answer = await api.post("/v1/stops", json={**body, "why": "w", "by": "dana"})
        assert answer.status_code == 422, answer.text
    assert (await api.post("/v1/stops/999999999/release", json={"by": "dana"})).status_code == 404


async def test_a_stop_of_a_channel_that_is_none_is_refused_naming_those_there_are(api):
    answer = await api.post("/v1/stops", json={"scope": "channel", "name": "e-mail", "why": "w", "by": "dana"})
    assert answer.status_code == 422, answer.text
    (fault,) = answer.json()["errors"]
    assert "there is no channel e-mail: it is one of email, in_app, " in fault["detail"]
    assert "audience" in fault["detail"]
    made = await api.post("/v1/stops", json={"scope": "channel", "name": "audience", "why": "w", "by": "dana"})
    assert made.status_code == 200, made.text
    await api.post(f"/v1/stops/{made.json()['id']}/release", json={"by": "dana"})
