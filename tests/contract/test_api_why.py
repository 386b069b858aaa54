"""Why a message came, and why one never did; stops over HTTP. The named change is tried: it must take the obstacle away."""

from __future__ import annotations

from typing import Any

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
    assert (found["code"], found["change"], found["since"]) == ("not_entered", "track signed_up", None)

    await api.post("/v1/users/wendy/signals", json={"name": "signed_up"})
    found = await why_not(api, "wendy", key)
    assert found["code"] == "not_entered"
    assert "profile.plan" in found["what"]
    assert found["since"] is not None

    await tells(api, "wendy", {"plan": "team"})
    await api.post("/v1/users/wendy/signals", json={"name": "signed_up"})
    found = await why_not(api, "wendy", key)
    assert found["code"] in {"elsewhere", "not_yet"}
    assert "setup_completed" in found["change"] or "begun" in found["what"]


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
    assert gate["reasons"][0] == {"code": "stopped", "text": f"journey {key} is stopped: a broken link"}
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


async def test_a_stop_needs_a_name_unless_it_is_over_all(api):
    for body in ({"scope": "all", "name": "x"}, {"scope": "journey"}):
        answer = await api.post("/v1/stops", json={**body, "why": "w", "by": "dana"})
        assert answer.status_code == 422, answer.text
    assert (await api.post("/v1/stops/999999999/release", json={"by": "dana"})).status_code == 404
