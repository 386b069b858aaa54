"""Why a message was sent and why not, and kill switches, over HTTP. Each named change is applied and must help."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from api.explain.sent_content import masked_address
from tests.support.api_keys import make_api_key

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
    return next(obstacle for obstacle in answer.json()["obstacles"] if obstacle["journey"] == key)


async def identify(api: Any, user: str, traits: dict[str, Any]) -> None:
    body = {"userId": user, "traits": traits}
    answer = await api.post("/v1/identify", json=body)
    assert answer.status_code == 200, answer.text


async def test_why_not_names_the_nearest_obstacle_and_the_change_that_removes_it(api):
    key = "why-a"
    await published(api, key)
    await identify(api, "wendy", {"email": "wendy@example.com"})
    obstacle = await why_not(api, "wendy", key)
    assert (obstacle["code"], obstacle["since"]) == ("guard", None)
    assert obstacle["what"].startswith("the person never entered: no signed_up was accepted; ")
    assert obstacle["change"] == {
        "kind": "identify",
        "text": "set profile.plan to 'team'",
        "params": {"traits": {"plan": "team"}},
    }

    await identify(api, "wendy", obstacle["change"]["params"]["traits"])
    obstacle = await why_not(api, "wendy", key)
    assert obstacle["code"] == "not_entered"
    assert obstacle["change"]["params"] == {"signal": "signed_up", "data": {}}

    await api.post("/v1/users/wendy/signals", json={"name": "signed_up"})
    obstacle = await why_not(api, "wendy", key)
    assert obstacle["code"] == "not_yet"  # no worker runs here: the run has not begun
    assert obstacle["since"] is not None


async def test_why_not_names_the_guard_that_refused_entry_and_since_when(api):
    key = "why-d"
    await published(api, key)
    await identify(api, "wulf", {"plan": "free"})
    await api.post("/v1/users/wulf/signals", json={"name": "signed_up"})
    obstacle = await why_not(api, "wulf", key)
    assert "profile.plan" in obstacle["what"]
    assert obstacle["change"]["params"] == {"traits": {"plan": "team"}}
    assert obstacle["since"] is not None


async def test_C5_C6_why_not_names_each_obstacle_at_the_gate_and_the_change_that_removes_it(api, db):
    key = "why-e"
    await published(api, key)
    await identify(api, "wren", {"email": "wren@example.com", "role": "admin", "plan": "team"})
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

    changes = []
    while (obstacle := await why_not(api, "wren", key))["code"] == "gate":
        assert obstacle["since"] is not None, obstacle
        changes.append(obstacle["change"]["kind"])
        await take_away(obstacle["change"])
        assert len(changes) < 10, changes
    assert set(changes) == {"release_stop", "release_hold", "consent", "resolve_ticket"}
    assert obstacle["change"]["kind"] == "track"  # the gate has no obstacle left; the next one is in the journey
    answer = (await api.get("/v1/users/wren/why-not", params={"template": TEMPLATE})).json()
    assert next(line for line in answer["gate"] if line["journey"] == key)["verdict"] == "send"


async def test_why_not_includes_the_verdict_of_the_gate_and_a_kill_switch(api):
    key = "why-b"
    await published(api, key)
    await identify(api, "walt", {"email": "walt@example.com"})
    stop = (
        await api.post("/v1/stops", json={"scope": "journey", "name": key, "why": "a broken link", "by": "dana"})
    ).json()
    answer = (await api.get("/v1/users/walt/why-not", params={"template": TEMPLATE})).json()
    (gate,) = [line for line in answer["gate"] if line["journey"] == key]
    assert gate["verdict"] == "defer"
    assert gate["reasons"][0] == {"code": "stopped", "text": f"a kill switch stops journey {key}: a broken link"}
    listed = (await api.get("/v1/stops")).json()["items"]
    assert stop["id"] in [listed_stop["id"] for listed_stop in listed]
    released = await api.post(f"/v1/stops/{stop['id']}/release", json={"by": "eve"})
    assert released.json()["released_by"] == "eve via operator"
    answer = (await api.get("/v1/users/walt/why-not", params={"template": TEMPLATE})).json()
    assert next(line for line in answer["gate"] if line["journey"] == key)["verdict"] == "send"
    assert stop["id"] not in [listed_stop["id"] for listed_stop in (await api.get("/v1/stops")).json()["items"]]


async def test_a_withdrawn_consent_is_an_obstacle_until_it_is_granted_again(api):
    key = "why-c"
    await published(api, key)
    await identify(api, "wilma", {"email": "wilma@example.com"})
    for granted, verdict in ((False, "withhold"), (True, "send")):
        consent = {"channel": "in_app", "topic": "onboarding", "granted": granted, "source": "test"}
        assert (await api.put("/v1/users/wilma/consents", json=consent)).status_code == 200
        answer = (await api.get("/v1/users/wilma/why-not", params={"template": TEMPLATE})).json()
        assert next(line for line in answer["gate"] if line["journey"] == key)["verdict"] == verdict


async def test_why_not_of_an_unsent_template_and_why_of_an_unknown_message_get_404(api):
    await identify(api, "wim", {"email": "wim@example.com"})
    unknown = await api.get("/v1/users/wim/why-not", params={"template": "no/such"})
    assert (unknown.status_code, unknown.json()["detail"]) == (404, "No published journey sends no/such.")
    assert (await api.get("/v1/messages/999999999/why")).status_code == 404


async def test_why_lists_every_verdict_in_order_and_a_repeated_one_once(api, db):
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
    answer = (await api.get(f"/v1/messages/{number}/why")).json()
    assert answer["message"]["reasons"] == []
    verdicts = [(entry.get("verdict") or entry["result"], entry.get("reasons", [])) for entry in answer["story"]]
    assert verdicts == [("defer", night), ("defer", stop), ("send", []), ("sent", [])]
    assert datetime.fromisoformat(answer["story"][1]["until"]) == begun + timedelta(hours=5)
    assert [entry["at"] for entry in answer["story"]] == sorted(entry["at"] for entry in answer["story"])


async def test_a_kill_switch_needs_a_name_unless_its_scope_is_all(api):
    for body in ({"scope": "all", "name": "x"}, {"scope": "journey"}):
        answer = await api.post("/v1/stops", json={**body, "why": "w", "by": "dana"})
        assert answer.status_code == 422, answer.text
    assert (await api.post("/v1/stops/999999999/release", json={"by": "dana"})).status_code == 404


async def test_a_kill_switch_for_an_unknown_channel_is_refused_with_the_known_channels(api):
    answer = await api.post("/v1/stops", json={"scope": "channel", "name": "e-mail", "why": "w", "by": "dana"})
    assert answer.status_code == 422, answer.text
    (fault,) = answer.json()["errors"]
    assert "there is no channel e-mail: it is one of email, in_app, " in fault["detail"]
    assert "audience" in fault["detail"]
    made = await api.post("/v1/stops", json={"scope": "channel", "name": "audience", "why": "w", "by": "dana"})
    assert made.status_code == 200, made.text
    await api.post(f"/v1/stops/{made.json()['id']}/release", json={"by": "dana"})


MAIL = (
    b"Subject: Hello\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nDear Ada,\r\nwelcome.\r\n"
)


async def test_why_says_what_was_sent_in_which_variant_and_masks_the_address_for_a_key_that_only_reads(api, db):
    await db.execute(
        """INSERT INTO messages (key, run, step, subject_key, recipient, journey, state, visit, action, template, via, priority,
             at, status, decided_at, sent_at, channel, address, body, summary)
           VALUES ('content', 'r', 1, 'u_t', 'u_t', 'j', 's', 1, 'a', 't', '["email"]', 'lifecycle', now(), 'sent', now(),
             now(), 'email', 'ada.lovelace@example.com', $1, '{"subject": "Hello", "variant": "admin.de"}')""",
        MAIL,
    )  # fmt: skip
    number = await db.fetchval("SELECT id FROM messages WHERE key = 'content'")
    shown = (await api.get(f"/v1/messages/{number}/why")).json()["content"]
    assert shown == {
        "variant": "admin.de", "subject": "Hello", "text": "Dear Ada,\r\nwelcome.", "address": "ada.lovelace@example.com",
        "masked": False,
    }  # fmt: skip
    reader = await make_api_key(api, "reader-of-content", "operator", "read")
    masked = (await api.get(f"/v1/messages/{number}/why", auth=(reader.secret, ""))).json()["content"]
    assert masked == {**shown, "address": "a…@example.com", "masked": True}


async def test_why_of_a_message_that_was_never_rendered_has_no_content(api, db):
    await db.execute(
        """INSERT INTO messages (key, run, step, subject_key, recipient, journey, state, visit, action, template, via, priority,
             at, status, decided_at) VALUES ('bare', 'r', 1, 'u_t', 'u_t', 'j', 's', 1, 'a', 't', '[]', 'lifecycle', now(),
             'withheld', now())"""
    )
    number = await db.fetchval("SELECT id FROM messages WHERE key = 'bare'")
    assert (await api.get(f"/v1/messages/{number}/why")).json()["content"] is None


@pytest.mark.parametrize(
    ("address", "masked"),
    [("ada@example.com", "a…@example.com"), ("+4915112345678", "+49…78"), ("@x", "…@x"), ("u", "…")],
    ids=["mail", "phone", "no name", "short"],
)
def test_a_masked_address_cannot_be_written_to(address, masked):
    assert masked_address(address) == masked
