"""Why-not with several versions of a journey, several accounts, pending opt-ins, queued messages and test clocks."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
import pytest_asyncio

from api.http.asgi import AsgiApp
from journeys.decision.compiler import load_chart
from journeys.decision.decide import decide
from journeys.decision.occurrences import Entered
from journeys.decision.state import RunState, state_to_json
from tests.support.api import CATALOG, application

TEMPLATE, OFFERED, PLAN = "education/first-value", "offers/more", "offers/yours"
OF_USER = """
journey: {key}
entry: {{on: signed_up, again: never}}
topic: onboarding
start: {begun}
states:
  {begun}: {{milestone: setup_completed, owner: lifecycle, on: {{setup_completed: ready, integration_connected: ready}}}}
  ready: {{milestone: activated, owner: lifecycle, do: [{{send: {template}, via: [in_app]}}], on: {{activated: over}}}}
  over: {{final: done}}
"""
OF_ACCOUNT = """
journey: {key}
subject: account
entry: {{on: contract_started, again: never}}
topic: onboarding
start: inside
states:
  inside:
    milestone: activated
    owner: lifecycle
    do: [{{send: {template}, via: [in_app], for: [admin], when: 'known.account.health && account.health > 0.5'}}]
    on: {{activated: over}}
  over: {{final: done}}
"""
OF_TICKET = """
journey: {key}
case: ticket_id
entry: {{on: ticket_opened, again: never}}
topic: onboarding
start: open
states:
  open: {{milestone: ticket_resolved, owner: support, on: {{ticket_resolved: solved}}}}
  solved:
    milestone: resolution_confirmed
    owner: support
    do: [{{send: {template}, via: [in_app]}}]
    on: {{resolution_confirmed: over}}
  over: {{final: done}}
"""
OFFER = """
journey: {key}
entry: {{on: signed_up, again: never}}
topic: offers
start: inside
states:
  inside: {{milestone: activated, owner: lifecycle, do: [{{send: {template}, via: [email]}}], on: {{activated: over}}}}
  over: {{final: done}}
"""


@pytest_asyncio.fixture(scope="module")
async def app(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsgiApp:
    """With a template whose topic needs double opt-in, and one whose subject reads `profile.plan`."""
    catalog = tmp_path_factory.mktemp("catalogue") / "catalog"
    shutil.copytree(CATALOG, catalog)
    template = (catalog / f"templates/{TEMPLATE}.md").read_text().replace("topic: onboarding", "topic: offers")
    (catalog / "templates/offers").mkdir()
    (catalog / f"templates/{OFFERED}.md").write_text(template)
    plan_template = template.replace("topic: offers", "topic: onboarding").replace(
        "subject: ", "subject: '{{ profile.plan }}' #"
    )
    (catalog / f"templates/{PLAN}.md").write_text(plan_template)
    return application(module_database_url, catalog=catalog)


async def publish(api: Any, source: str, key: str, template: str = TEMPLATE, **names: str) -> None:
    answer = await api.put(f"/v1/journeys/{key}", content=source.format(key=key, template=template, **names).encode())
    assert answer.status_code in {200, 201}, answer.text


async def identify(api: Any, user: str, **traits: Any) -> None:
    assert (await api.post("/v1/identify", json={"userId": user, "traits": traits})).status_code == 200


async def send_signal(api: Any, user: str, name: str, **data: Any) -> None:
    answer = await api.post(f"/v1/users/{user}/signals", json={"name": name, "data": data})
    assert answer.status_code in {200, 202}, answer.text


async def why_not(api: Any, user: str, key: str, template: str = TEMPLATE) -> list[dict[str, Any]]:
    answer = await api.get(f"/v1/users/{user}/why-not", params={"template": template})
    assert answer.status_code == 200, answer.text
    return [obstacle for obstacle in answer.json()["obstacles"] if obstacle["journey"] == key]


async def key_of(api: Any, user: str) -> str:
    return str((await api.get(f"/v1/users/{user}")).json()["key"])


async def apply_first_step(db: Any, journey: str) -> str:
    """Write the row of the run as its first step does; its id."""
    run = await db.fetchrow(
        "SELECT r.id, d.artifact FROM runs r JOIN definitions d ON d.hash = r.definition WHERE r.journey = $1", journey
    )
    chart = load_chart(run["artifact"])
    state = decide(chart, RunState(), Entered(datetime.now(UTC), chart.entry[0].on, {}, {})).state
    await db.execute(
        "UPDATE runs SET state = $2, visit = $3, step = 1, entered_at = now(), memory = $4 WHERE id = $1",
        run["id"], state.state, state.visit, orjson.dumps(state_to_json(state)).decode(),
    )  # fmt: skip
    return str(run["id"])


async def insert_message(
    db: Any, run: str, person: str, subject: str | None = None, template: str = TEMPLATE, **more: Any
) -> int:
    """Insert a message as the gate does; its id."""
    now = datetime.now(UTC)
    row = {"status": "deferred", "reasons": "[]", "due_at": None, "detail": None, "at": now, "sent_at": None} | more
    number = await db.fetchval(
        """
        INSERT INTO messages (key, run, step, subject_key, recipient, journey, state, visit, action, template, via, priority, at,
          status, reasons, due_at, decided_at, detail, sent_at, channel)
        VALUES ($1, $2, 1, $3, $4, $5, 'inside', 1, $6, $7, '["in_app"]', 'lifecycle', $8, $9, $10, $11, $8, $12, $13, 'in_app')
        RETURNING id
        """,
        f"{run}#{person}", run, subject or person, person, run.split("/")[1], f"send:{template}", template,
        row["at"], row["status"], row["reasons"], row["due_at"], row["detail"], row["sent_at"],
    )  # fmt: skip
    return int(number)


# -- versions ----------------------------------------------------------------------------------------------------------


async def test_a_run_is_explained_by_its_own_version_when_a_newer_one_renames_its_state(api, db):
    key = "not-a"
    await publish(api, OF_USER, key, begun="begun")
    await identify(api, "nora", plan="team")
    await send_signal(api, "nora", "signed_up")
    await apply_first_step(db, key)
    await publish(api, OF_USER, key, begun="started")
    (obstacle,) = await why_not(api, "nora", key)
    assert (obstacle["code"], obstacle["what"]) == (
        "elsewhere",
        "the run is in begun, and the message is sent in ready",
    )
    assert obstacle["change"]["params"]["signal"] in {"setup_completed", "integration_connected"}


async def test_a_run_is_explained_when_only_its_own_older_version_sends_the_message(api, db):
    key = "not-b"
    await publish(api, OF_USER, key, begun="begun")
    await send_signal(api, "nils", "signed_up")
    await apply_first_step(db, key)
    await publish(api, OF_USER, key, begun="begun", template="setup/checklist")
    (obstacle,) = await why_not(api, "nils", key)
    assert obstacle["what"] == "the run is in begun, and the message is sent in ready"
    await identify(api, "nina")
    assert await why_not(api, "nina", key) == []  # she would enter the version that does not send it


async def test_a_run_in_a_version_that_does_not_send_the_message_must_end_first(api, db):
    key = "not-c"
    await publish(api, OF_USER, key, begun="begun", template="setup/checklist")
    await send_signal(api, "noel", "signed_up")
    run = await apply_first_step(db, key)
    await publish(api, OF_USER, key, begun="begun")
    (obstacle,) = await why_not(api, "noel", key)
    assert obstacle["code"] == "elsewhere"
    assert obstacle["what"] == "the person's run uses another version of the journey, which does not send this message"
    assert (obstacle["change"]["kind"], obstacle["change"]["params"]) == ("cancel_run", {"journey": key})
    await db.execute("UPDATE runs SET status = 'closed', outcome = 'cancelled', ended_at = now() WHERE id = $1", run)
    (obstacle,) = await why_not(api, "noel", key)
    assert obstacle["change"]["kind"] == "allow_again"


async def test_of_parallel_runs_the_one_whose_version_sends_the_message_is_explained(api, db):
    key = "not-k"
    await publish(api, OF_TICKET, key)
    await send_signal(api, "nell", "ticket_opened", ticket_id="1", priority="low")
    await apply_first_step(db, key)
    await publish(api, OF_TICKET, key, template="setup/checklist")
    await send_signal(api, "nell", "ticket_opened", ticket_id="2", priority="low")
    assert await db.fetchval("SELECT count(*) FROM runs WHERE journey = $1 AND status = 'open'", key) == 2
    (obstacle,) = await why_not(api, "nell", key)
    assert obstacle["what"] == "the run is in open, and the message is sent in solved"
    assert obstacle["change"]["params"]["data"]["ticket_id"] == "1"


# -- several accounts --------------------------------------------------------------------------------------------------


async def join_account(api: Any, user: str, account: str, **traits: Any) -> str:
    body = {"userId": user, "groupId": account, "traits": traits}
    assert (await api.post("/v1/group", json=body)).status_code == 200
    return str((await api.get(f"/v1/accounts/{account}")).json()["key"])


async def test_a_person_of_several_accounts_gets_an_obstacle_for_each_from_its_profile(api, db):
    key = "not-d"
    await publish(api, OF_ACCOUNT, key)
    await identify(api, "mia", role="admin")
    north = await join_account(api, "mia", "north", health=0.9)
    await join_account(api, "mia", "south", health=0.2)
    await send_signal(api, "mia", "contract_started")
    run = await db.fetchval("SELECT id FROM runs WHERE journey = $1", key)
    await db.execute("UPDATE runs SET subject_key = $2, lane = $2 WHERE id = $1", run, north)
    await apply_first_step(db, key)
    obstacles = {obstacle["account"]: obstacle for obstacle in await why_not(api, "mia", key)}
    assert obstacles.keys() == {"north", "south"}
    assert obstacles["north"]["what"].startswith("the message was requested on entering inside")
    assert "account.health" in obstacles["south"]["what"]  # this account has no run
    gate = (await api.get("/v1/users/mia/why-not", params={"template": TEMPLATE})).json()["gate"]
    assert {line["account"] for line in gate if line["journey"] == key} == {"north", "south"}


async def test_a_message_already_sent_about_another_account_is_an_obstacle(api, db):
    key = "not-e"
    await publish(api, OF_ACCOUNT, key)
    await identify(api, "max", role="admin")
    east = await join_account(api, "max", "east", health=0.9)
    await join_account(api, "max", "west", health=0.9)
    sent = datetime.now(UTC) - timedelta(hours=3)
    await insert_message(
        db, f"journey/{key}/x/-/1", await key_of(api, "max"), east, status="sent", at=sent, sent_at=sent
    )
    west = [obstacle for obstacle in await why_not(api, "max", key) if obstacle["account"] == "west"]
    assert west[0]["what"] == f"another account of this person has already sent {TEMPLATE}"
    assert west[0]["change"]["kind"] == "wait"
    assert datetime.fromisoformat(west[0]["change"]["params"]["until"]) == sent + timedelta(days=1)
    assert datetime.fromisoformat(west[0]["since"]) == sent
    east_obstacles = [obstacle for obstacle in await why_not(api, "max", key) if obstacle["account"] == "east"]
    assert "another account" not in east_obstacles[0]["what"]


# -- pending opt-ins ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [None, False], ids=["nothing was said", "a no was said"])
async def test_C5_an_unconfirmed_opt_in_is_an_obstacle_that_confirming_removes(api, db, before):
    key, user = ("not-f", "olga") if before is None else ("not-g", "otto")
    await publish(api, OFFER, key, OFFERED)
    await identify(api, user, email=f"{user}@example.com")
    place = {"channel": "email", "topic": "offers", "source": "test"}
    if before is False:
        await api.put(f"/v1/users/{user}/consents", json={**place, "granted": False})
    (obstacle,) = await why_not_at_gate(api, user, key)
    assert obstacle["change"]["kind"] == "consent"
    answer = await api.put(
        f"/v1/users/{user}/consents", json={**place, "granted": obstacle["change"]["params"]["granted"]}
    )
    assert answer.json()["pending"] is True
    (obstacle,) = await why_not_at_gate(api, user, key)
    assert obstacle["what"] == "the person opted in to offers by email and has not confirmed it"
    assert (obstacle["change"]["kind"], obstacle["change"]["params"]) == (
        "confirm",
        {"channel": "email", "topic": "offers"},
    )
    asked_at = await db.fetchval("SELECT at FROM consent_requests WHERE subject_key = $1", await key_of(api, user))
    assert datetime.fromisoformat(obstacle["since"]) == asked_at
    confirmed = {**place, "granted": True, "confirmed": True, "proof": {"link": "followed"}}
    assert (await api.put(f"/v1/users/{user}/consents", json=confirmed)).status_code == 200
    assert await why_not_at_gate(api, user, key) == []


async def test_a_general_opt_out_is_named_before_the_confirmation_of_an_opt_in(api):
    key = "not-h"
    await publish(api, OFFER, key, OFFERED)
    await identify(api, "olaf", email="olaf@example.com")
    consent = {"channel": "email", "topic": "offers", "source": "test"}
    await api.put("/v1/users/olaf/consents", json={**consent, "granted": False})
    await api.put("/v1/users/olaf/consents", json={"channel": "*", "topic": "*", "source": "test", "granted": False})
    await api.put("/v1/users/olaf/consents", json={**consent, "granted": True})
    kinds = []
    while obstacles := await why_not_at_gate(api, "olaf", key):
        params, kind = obstacles[0]["change"]["params"], obstacles[0]["change"]["kind"]
        kinds.append((kind, params["channel"]))
        assert len(kinds) < 5, kinds
        proof = {"granted": True, "confirmed": True, "proof": {"link": "followed"}} if kind == "confirm" else {}
        answer = await api.put("/v1/users/olaf/consents", json={**params, "source": "test", **proof})
        assert answer.status_code == 200, answer.text
    assert (kinds[0], kinds[-1]) == (("consent", "*"), ("confirm", "email"))


async def why_not_at_gate(api: Any, user: str, key: str) -> list[dict[str, Any]]:
    return [obstacle for obstacle in await why_not(api, user, key, OFFERED) if obstacle["code"] == "gate"]


# -- unknown fields ----------------------------------------------------------------------------------------------------


async def test_H8_an_unknown_field_of_the_template_is_an_obstacle_until_it_is_set(api):
    key = "not-l"
    await publish(api, OF_USER, key, PLAN, begun="begun")
    await identify(api, "quinn", first_name="Quinn")
    answer = (await api.get("/v1/users/quinn/why-not", params={"template": PLAN})).json()
    first, gate = answer["obstacles"][0], answer["gate"][0]
    assert (gate["verdict"], gate["reasons"]) == ("withhold", [{"code": "state_unknown", "text": first["what"]}])
    assert (first["what"], first["change"]["params"]) == ("not known: profile.plan", {"fields": ["profile.plan"]})
    await identify(api, "quinn", plan="team")
    obstacles = await why_not(api, "quinn", key, PLAN)
    assert [obstacle["change"]["kind"] for obstacle in obstacles] == ["track"]


# -- queued and failed -------------------------------------------------------------------------------------------------


async def test_a_failed_delivery_is_explained_with_the_providers_reply(api, db):
    key = "not-i"
    await publish(api, OFFER, key, OFFERED)
    await identify(api, "petra", email="petra@example.com")
    confirmed = {"channel": "email", "topic": "offers", "source": "t", "granted": True, "confirmed": True}
    await api.put("/v1/users/petra/consents", json={**confirmed, "proof": {"link": "followed"}})
    await send_signal(api, "petra", "signed_up")
    run = await apply_first_step(db, key)
    person = await key_of(api, "petra")
    await insert_message(db, run, person, template=OFFERED, status="failed", detail="550 no such mailbox")
    (obstacle,) = await why_not(api, "petra", key, OFFERED)
    assert obstacle["what"] == "the message was requested on entering inside and was not sent: 550 no such mailbox"


async def test_a_queued_message_is_dated_from_its_first_deferral_for_the_same_reason(api, db):
    key = "not-j"
    await publish(api, OF_USER, key, begun="begun")
    await identify(api, "pia", plan="team")
    await send_signal(api, "pia", "signed_up")
    run = await apply_first_step(db, key)
    begun = datetime.now(UTC) - timedelta(hours=5)
    stopped = '[{"code": "stopped", "text": "a kill switch stops all messages"}]'
    message = await insert_message(
        db, run, await key_of(api, "pia"), at=begun, reasons=stopped, due_at=begun + timedelta(hours=1)
    )
    await db.execute("UPDATE feed SET at = $2 WHERE message = $1", message, begun)
    for hour in range(1, 5):
        at = begun + timedelta(hours=hour)
        await db.execute(
            "UPDATE messages SET decided_at = $2, due_at = $3 WHERE id = $1", message, at, at + timedelta(hours=1)
        )
    (obstacle,) = [listed for listed in await why_not(api, "pia", key) if listed["code"] == "queued"]
    assert obstacle["what"] == "the message is queued: a kill switch stops all messages"
    assert datetime.fromisoformat(obstacle["since"]) == begun

    # An attempt did not leave: the message waits since then, for the reason that the provider gave.
    await db.execute("UPDATE messages SET status = 'sending', attempts = 1, reasons = '[]' WHERE id = $1", message)
    tried = await db.fetchval(
        "UPDATE messages SET status = 'deferred', detail = '451 later', decided_at = clock_timestamp() WHERE id = $1 "
        "RETURNING decided_at",
        message,
    )
    (obstacle,) = [listed for listed in await why_not(api, "pia", key) if listed["code"] == "queued"]
    assert (obstacle["what"], datetime.fromisoformat(obstacle["since"])) == ("the message is queued: 451 later", tried)


async def test_since_is_an_instant_of_the_persons_test_clock(api, db):
    key, begun = "not-m", datetime(2035, 1, 1, tzinfo=UTC)
    await publish(api, OF_USER, key, begun="begun")
    await send_signal(api, "theo", "signed_up")
    run, person = await apply_first_step(db, key), await key_of(api, "theo")
    await db.execute("INSERT INTO clocks (id, now, target) VALUES ('slow', $1, $1)", begun + timedelta(hours=6))
    await db.execute("UPDATE subjects SET clock = 'slow' WHERE key = $1", person)
    message = await insert_message(db, run, person, at=begun, due_at=begun + timedelta(days=1))
    decided = 'UPDATE messages SET decided_at = $2, reasons = \'[{"code": "held", "text": "held"}]\' WHERE id = $1'
    await db.execute(decided, message, begun + timedelta(hours=5))
    (obstacle,) = [listed for listed in await why_not(api, "theo", key) if listed["code"] == "queued"]
    assert datetime.fromisoformat(obstacle["since"]) == begun


async def test_an_urgent_ticket_is_open_at_the_now_of_the_persons_test_clock(api, db):
    key, opened = "not-n", datetime(2020, 1, 1, tzinfo=UTC)
    await publish(api, OF_USER, key, begun="begun")
    await send_signal(api, "una", "signed_up")
    await apply_first_step(db, key)
    person = await key_of(api, "una")
    await db.execute("INSERT INTO clocks (id, now, target) VALUES ('past', $1, $1)", opened + timedelta(hours=6))
    await db.execute("UPDATE subjects SET clock = 'past' WHERE key = $1", person)
    await db.execute(
        "INSERT INTO tickets (subject_key, ticket_id, opened_at, ends_at) VALUES ($1, 'T9', $2, $3)",
        person, opened, opened + timedelta(days=30),
    )  # fmt: skip
    listed = await why_not(api, "una", key)
    (obstacle,) = [each for each in listed if (each["change"] or {}).get("kind") == "resolve_ticket"]
    assert obstacle["change"]["params"]["ticket_id"] == "T9"
    assert datetime.fromisoformat(obstacle["since"]) == opened
