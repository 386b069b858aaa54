"""Test clocks over HTTP: created and advanced; nothing is accepted while one advances."""

from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio

AT = "2026-01-01T00:00:00Z"
LATER = "2026-02-01T00:00:00Z"
SETUP = """
journey: clocked
entry: {on: signed_up, again: never}
topic: onboarding
start: waiting
states:
  waiting: {milestone: setup_completed, owner: us, on: {setup_completed: over}, after: {P3D: over}}
  over: {final: done}
"""


async def advance(api, clock: str, to: str) -> Any:
    return await api.post(f"/v1/clocks/{clock}/advance", json={"to": to})


def on(clock: str) -> dict[str, str]:
    return {"X-Tenure-Clock": clock}


def call(user: str, message: str, **more: Any) -> dict[str, Any]:
    return {"type": "track", "event": "signed_up", "userId": user, "messageId": message, "properties": {}, **more}


@pytest_asyncio.fixture(scope="module", autouse=True)
async def published(api) -> None:
    answer = await api.put("/v1/journeys/clocked", content=SETUP, headers={"Content-Type": "application/yaml"})
    assert answer.status_code == 201, answer.text


async def test_a_clock_is_made_once_and_stands(api):
    made = await api.put("/v1/clocks/one", json={"now": AT})
    assert made.status_code == 200
    shown = made.json()
    assert {name: shown[name] for name in ("id", "now", "target", "status", "error")} == {
        "id": "one", "now": AT, "target": AT, "status": "ready", "error": None,
    }  # fmt: skip
    assert (await api.put("/v1/clocks/one", json={"now": "2026-01-01T01:00:00+01:00"})).json() == shown
    other = await api.put("/v1/clocks/one", json={"now": LATER})
    assert (other.status_code, other.json()["type"]) == (409, "urn:tenure:problem:conflict")
    assert (await api.get("/v1/clocks/one")).json() == shown


async def test_a_clock_is_advanced_but_never_back_and_not_while_it_advances(api):
    await api.put("/v1/clocks/two", json={"now": AT})
    back = await advance(api, "two", "2025-12-31T23:59:59Z")
    assert (back.status_code, back.json()["errors"][0]["pointer"]) == (422, "/to")
    taken = await advance(api, "two", LATER)
    assert (taken.status_code, taken.json()["status"], taken.json()["target"]) == (202, "advancing", LATER)
    again = await advance(api, "two", "2026-03-01T00:00:00Z")
    assert (again.status_code, again.json()["type"]) == (409, "urn:tenure:problem:clock-advancing")
    assert again.json()["turn"] == "tenure"
    assert int(again.headers["retry-after"]) > 0
    assert (await advance(api, "none", LATER)).status_code == 404


@pytest.mark.parametrize(
    "to",
    ["9999-12-31T23:59:59-12:00", "12026-01-01T00:00:00Z", "2026-13-01T00:00:00Z", "2200-01-01T00:00:01Z", 1, None, "soon"],
)  # fmt: skip
async def test_an_absurd_instant_is_refused(api, to):
    await api.put("/v1/clocks/three", json={"now": AT})
    for answer in (await advance(api, "three", to), await api.put("/v1/clocks/absurd", json={"now": to})):
        assert answer.status_code == 422, answer.text
    assert (await api.get("/v1/clocks/three")).json()["status"] == "ready"


async def test_an_advance_to_its_own_now_settles(api):
    await api.put("/v1/clocks/four", json={"now": AT})
    answer = await advance(api, "four", AT)
    assert (answer.status_code, answer.json()["status"]) == (202, "advancing")


async def test_clocks_are_the_operators(api, sender, db):
    assert (await sender.put("/v1/clocks/five", json={"now": AT})).status_code == 403
    assert (await advance(sender, "five", LATER)).status_code == 403
    await api.put("/v1/clocks/five", json={"now": AT})
    named = await sender.post("/v1/track", json=call("five", "five-1"), headers=on("five"))
    assert named.status_code == 403
    signal = await sender.post("/v1/users/five/signals", json={"name": "signed_up"}, headers=on("five"))
    assert signal.status_code == 403
    assert await db.fetchval("SELECT count(*) FROM identities WHERE value = 'five'") == 0


async def test_who_is_first_seen_in_a_request_lives_by_its_clock_which_must_exist(api, db):
    await api.put("/v1/clocks/six", json={"now": AT})
    assert (await api.post("/v1/track", json=call("six", "six-1"), headers=on("six"))).status_code == 200
    (row,) = await db.fetch(
        "SELECT s.clock, e.at FROM subjects s JOIN identities i ON i.subject_key = s.key "
        "JOIN events e ON e.subject_key = s.key WHERE i.value = 'six'"
    )
    assert (row["clock"], row["at"]) == ("six", datetime(2026, 1, 1, tzinfo=UTC))
    unknown = await api.post("/v1/track", json=call("lost", "lost-1"), headers=on("sxi"))
    assert (unknown.status_code, unknown.json()["errors"][0]["pointer"]) == (422, "/header/X-Tenure-Clock")


async def test_a_clock_is_ready_only_when_everything_accepted_is_decided(api, db):
    await api.put("/v1/clocks/seven", json={"now": AT})
    await api.post("/v1/track", json=call("seven", "seven-1"), headers=on("seven"))
    assert (await api.get("/v1/clocks/seven")).json()["status"] == "advancing"
    assert (await api.post("/v1/track", json=call("seven", "seven-2"))).status_code == 200, "nobody advances it"
    await db.execute("UPDATE outbox SET delivered_at = now() WHERE clock = 'seven'")
    assert (await api.get("/v1/clocks/seven")).json()["status"] == "ready"
    await db.execute("UPDATE runs SET next_due_at = $1 WHERE clock = 'seven'", datetime(2026, 1, 1, tzinfo=UTC))
    assert (await api.get("/v1/clocks/seven")).json()["status"] == "advancing", "a deadline has come"
    await db.execute("UPDATE runs SET next_due_at = $1 WHERE clock = 'seven'", datetime(2026, 1, 4, tzinfo=UTC))
    assert (await api.get("/v1/clocks/seven")).json()["status"] == "ready"


@pytest_asyncio.fixture(scope="module")
async def advancing(api, db) -> dict[str, Any]:
    """Ada and her account on a clock that advances, with a run, a task, a hold and a message."""
    await api.put("/v1/clocks/eight", json={"now": AT})
    joins = {"type": "group", "userId": "ada8", "groupId": "acme8", "messageId": "g8", "traits": {}}
    told = {"type": "identify", "userId": "ada8", "messageId": "i8", "traits": {"email": "ada8@example.com"}}
    await api.post("/v1/batch", json={"batch": [joins, told, call("ada8", "s8")]}, headers=on("eight"))
    run = await db.fetchrow("SELECT id, lane FROM runs WHERE clock = 'eight'")
    at = datetime(2026, 1, 1, tzinfo=UTC)
    task = await db.fetchval(
        "INSERT INTO tasks (key, run, subject_key, journey, action, task, owner, opened_at, scope_key, clock) "
        "VALUES ('t8', $1, $2, 'clocked', 'call', 'call', 'dana', $3, $2, 'eight') RETURNING id",
        run["id"], run["lane"], at,
    )  # fmt: skip
    message = await db.fetchval(
        "INSERT INTO messages (key, run, step, subject_key, recipient, journey, state, visit, action, template, via, "
        "priority, at, status, decided_at, settled_at, clock) VALUES ('m8', $1, 1, $2, $2, 'clocked', 'waiting', 1, 'a', "
        "'setup/first-steps', '[\"email\"]', 'lifecycle', $3, 'failed', $3, $3, 'eight') RETURNING id",
        run["id"], run["lane"], at,
    )  # fmt: skip
    await db.execute("UPDATE outbox SET delivered_at = now() WHERE clock = 'eight'")
    assert (await advance(api, "eight", LATER)).status_code == 202
    return {"run": run["id"].replace("/", "%2F"), "task": task, "message": message}


OUTSIDE: dict[str, tuple[str, str, dict[str, Any]]] = {
    "batch": ("post", "/v1/batch", {"batch": [call("ben8", "b8"), call("ada8", "c8")]}),
    "track": ("post", "/v1/track", call("ada8", "d8")),
    "page": ("post", "/v1/page", {"userId": "ada8", "messageId": "p8"}),
    "signal": ("post", "/v1/users/ada8/signals", {"id": "e8", "name": "setup_completed"}),
    "account's signal": ("post", "/v1/accounts/acme8/signals", {"id": "f8", "name": "setup_completed"}),
    "consent": ("put", "/v1/users/ada8/consents", {"channel": "email", "topic": "*", "granted": False, "source": "t"}),
    "hold": ("post", "/v1/users/ada8/hold", {"until": "2026-03-01T00:00:00Z", "by": "dana", "why": "a call"}),
    "hold of the account": ("post", "/v1/accounts/acme8/hold", {"until": "2026-03-01T00:00:00Z", "by": "d", "why": "c"}),
    "play": ("post", "/v1/users/ada8/plays", {"journey": "clocked", "by": "dana", "why": "by hand"}),
    "task": ("post", "/v1/tasks/{task}/close", {"resolution": "done", "by": "dana"}),
    "note": ("post", "/v1/tasks/{task}/notes", {"text": "called", "by": "dana"}),
    "assignment": ("post", "/v1/tasks/{task}/assign", {"to": "dana", "by": "eve", "why": "away"}),
    "snooze": ("post", "/v1/tasks/{task}/snooze", {"until": "2026-01-20T00:00:00Z", "by": "dana", "why": "later"}),
    "resend": ("post", "/v1/messages/{message}/resend", {}),
    "pause": ("post", "/v1/runs/{run}/pause", {"by": "dana"}),
    "cancel": ("post", "/v1/runs/{run}/cancel", {"by": "dana", "reason": "enough"}),
}  # fmt: skip


@pytest.mark.parametrize("what", OUTSIDE)
async def test_nothing_is_accepted_for_people_on_a_clock_that_advances(api, db, advancing, what):
    before = await db.fetchval("SELECT count(*) FROM events")
    verb, path, body = OUTSIDE[what]
    answer = await getattr(api, verb)(path.format(**advancing), json=body)
    assert (answer.status_code, answer.json().get("type")) == (409, "urn:tenure:problem:clock-advancing"), answer.text
    assert answer.json()["turn"] == "tenure"
    assert "eight" in answer.json()["detail"]
    assert await db.fetchval("SELECT count(*) FROM events") == before, "also nothing of the batch's others"


async def test_others_are_heard_meanwhile_and_reading_goes_on(api, advancing):
    assert (await api.post("/v1/track", json=call("cyd8", "h8"))).status_code == 200
    assert (await api.get("/v1/users/ada8/timeline")).status_code == 200
    assert (await api.get(f"/v1/tasks/{advancing['task']}")).status_code == 200


async def test_a_clock_that_is_stuck_says_by_what_and_whose_turn_it_is(api, db):
    await api.put("/v1/clocks/nine", json={"now": AT})
    await api.post("/v1/track", json=call("nine", "nine-1"), headers=on("nine"))
    await advance(api, "nine", LATER)
    await db.execute("UPDATE clocks SET status = 'stuck', error = 'run r does not decide signed_up' WHERE id = 'nine'")
    shown = (await api.get("/v1/clocks/nine")).json()
    assert (shown["status"], shown["error"]) == ("stuck", "run r does not decide signed_up")
    refused = (await api.post("/v1/track", json=call("nine", "nine-2"))).json()
    assert refused["errors"][0]["turn"] == "operator"
    assert "run r does not decide signed_up" in refused["detail"]


async def test_a_link_expires_by_the_clock_of_its_person(api, app, db):
    await api.put("/v1/clocks/ten", json={"now": AT})
    await api.post("/v1/track", json=call("ten", "ten-1"), headers=on("ten"))
    link = (await api.post("/v1/users/ten/preference-link")).json()
    assert link["expires_at"] == "2026-06-30T00:00:00Z"
    path = "/p/" + link["url"].rpartition("/")[2]
    assert (await api.get(path)).status_code == 200
    await db.execute("UPDATE clocks SET now = $1, target = $1 WHERE id = 'ten'", datetime(2026, 7, 1, tzinfo=UTC))
    assert (await api.get(path)).status_code == 410


async def test_a_group_call_across_clocks_is_quarantined_and_says_why(api, sender, db):
    await api.put("/v1/clocks/eleven", json={"now": AT})
    await api.post("/v1/track", json=call("eleven", "eleven-1"), headers=on("eleven"))
    await sender.post("/v1/group", json={"userId": "real11", "groupId": "acme11", "messageId": "g11", "traits": {}})
    body = {"userId": "eleven", "groupId": "acme11", "messageId": "g12", "traits": {"plan": "team"}}
    answer = (await sender.post("/v1/group", json=body)).json()
    assert "nobody is joined across clocks" in answer["quarantined"][0]
    batch = await sender.post("/v1/batch", json={"batch": [{"type": "group", **body, "messageId": "g13"}]})
    assert (batch.json()["accepted"], batch.json()["quarantined"]) == (0, 1)
    (held,) = [item for item in (await api.get("/v1/quarantine")).json()["items"] if item["message_id"] == "g12"]
    assert held["event"] == {"type": "group", **body}
    again = await api.post(f"/v1/quarantine/{held['id']}/replay")
    assert (again.status_code, again.json()["errors"][0]["detail"]) == (409, answer["quarantined"][0])
    assert await db.fetchval("SELECT count(*) FROM members m JOIN identities i ON i.subject_key = m.person_key "
                             "WHERE i.value = 'eleven'") == 0  # fmt: skip


async def test_a_statement_of_consent_on_a_test_clock_is_said_at_its_timestamp(api):
    """Clocks of callers are real, so their skew means nothing on a test clock: as with events."""
    await api.put("/v1/clocks/consents", json={"now": "2031-01-02T00:00:00Z"})
    event = {"event": "signed_up", "userId": "cora", "messageId": "cora-1"}
    assert (await api.post("/v1/track", json=event, headers=on("consents"))).status_code == 200
    statement = {"channel": "email", "topic": "onboarding", "granted": False, "source": "call"}
    said = {"timestamp": "2031-01-01T10:00:00Z", "sent_at": "2031-01-01T10:00:05Z"}
    changed = await api.put("/v1/users/cora/consents", json={**statement, **said})
    assert changed.status_code == 200, changed.text
    (stated,) = (await api.get("/v1/users/cora/consents")).json()["items"]
    assert stated["at"] == said["timestamp"]
