"""Why not, where the answer hangs on what else there is: versions of a journey, several accounts, a yes that waits, a wait that goes on."""

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

TEMPLATE, OFFERED, SAYING = "education/first-value", "offers/more", "offers/yours"
NAMED = """
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
    """With a template whose topic needs a yes that is confirmed, and one that says what must be known."""
    catalog = tmp_path_factory.mktemp("house") / "catalog"
    shutil.copytree(CATALOG, catalog)
    written = (catalog / f"templates/{TEMPLATE}.md").read_text().replace("topic: onboarding", "topic: offers")
    (catalog / "templates/offers").mkdir()
    (catalog / f"templates/{OFFERED}.md").write_text(written)
    said = written.replace("topic: offers", "topic: onboarding").replace("subject: ", "subject: '{{ profile.plan }}' #")
    (catalog / f"templates/{SAYING}.md").write_text(said)
    return application(module_database_url, catalog=catalog)


async def publish(api: Any, source: str, key: str, template: str = TEMPLATE, **names: str) -> None:
    answer = await api.put(f"/v1/journeys/{key}", content=source.format(key=key, template=template, **names).encode())
    assert answer.status_code in {200, 201}, answer.text


async def tells(api: Any, user: str, **traits: Any) -> None:
    assert (await api.post("/v1/identify", json={"userId": user, "traits": traits})).status_code == 200


async def happens(api: Any, user: str, name: str, **data: Any) -> None:
    answer = await api.post(f"/v1/users/{user}/signals", json={"name": name, "data": data})
    assert answer.status_code in {200, 202}, answer.text


async def why_not(api: Any, user: str, key: str, template: str = TEMPLATE) -> list[dict[str, Any]]:
    answer = await api.get(f"/v1/users/{user}/why-not", params={"template": template})
    assert answer.status_code == 200, answer.text
    return [each for each in answer.json()["obstacles"] if each["journey"] == key]


async def key_of(api: Any, user: str) -> str:
    return str((await api.get(f"/v1/users/{user}")).json()["key"])


async def begins(db: Any, journey: str) -> str:
    """The run's row as its first step writes it; its id."""
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


async def asks(
    db: Any, run: str, person: str, subject: str | None = None, template: str = TEMPLATE, **more: Any
) -> int:
    """A row of the ledger as the gate writes it; its number."""
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


async def test_a_run_is_explained_by_its_own_version_though_a_newer_one_calls_its_state_otherwise(api, db):
    key = "not-a"
    await publish(api, NAMED, key, begun="begun")
    await tells(api, "nora", plan="team")
    await happens(api, "nora", "signed_up")
    await begins(db, key)
    await publish(api, NAMED, key, begun="started")
    (found,) = await why_not(api, "nora", key)
    assert (found["code"], found["what"]) == ("elsewhere", "the run is in begun, and the message is sent in ready")
    assert found["change"]["params"]["signal"] in {"setup_completed", "integration_connected"}


async def test_a_run_whose_own_version_sends_it_is_explained_though_nothing_published_does_any_more(api, db):
    key = "not-b"
    await publish(api, NAMED, key, begun="begun")
    await happens(api, "nils", "signed_up")
    await begins(db, key)
    await publish(api, NAMED, key, begun="begun", template="setup/checklist")
    (found,) = await why_not(api, "nils", key)
    assert found["what"] == "the run is in begun, and the message is sent in ready"
    await tells(api, "nina")
    assert await why_not(api, "nina", key) == []  # she would enter the version that does not send it


async def test_who_is_in_a_version_that_does_not_send_it_would_have_to_leave_that_first(api, db):
    key = "not-c"
    await publish(api, NAMED, key, begun="begun", template="setup/checklist")
    await happens(api, "noel", "signed_up")
    run = await begins(db, key)
    await publish(api, NAMED, key, begun="begun")
    (found,) = await why_not(api, "noel", key)
    assert found["code"] == "elsewhere"
    assert found["what"] == "the person's run uses another version of the journey, which does not send this message"
    assert (found["change"]["kind"], found["change"]["params"]) == ("cancel_run", {"journey": key})
    await db.execute("UPDATE runs SET status = 'closed', outcome = 'cancelled', ended_at = now() WHERE id = $1", run)
    (found,) = await why_not(api, "noel", key)
    assert found["change"]["kind"] == "allow_again"


async def test_of_runs_side_by_side_the_one_whose_version_sends_it_is_explained(api, db):
    key = "not-k"
    await publish(api, OF_TICKET, key)
    await happens(api, "nell", "ticket_opened", ticket_id="1", priority="low")
    await begins(db, key)
    await publish(api, OF_TICKET, key, template="setup/checklist")
    await happens(api, "nell", "ticket_opened", ticket_id="2", priority="low")
    assert await db.fetchval("SELECT count(*) FROM runs WHERE journey = $1 AND status = 'open'", key) == 2
    (found,) = await why_not(api, "nell", key)
    assert found["what"] == "the run is in open, and the message is sent in solved"
    assert found["change"]["params"]["data"]["ticket_id"] == "1"


# -- several accounts --------------------------------------------------------------------------------------------------


async def joins(api: Any, user: str, account: str, **traits: Any) -> str:
    body = {"userId": user, "groupId": account, "traits": traits}
    assert (await api.post("/v1/group", json=body)).status_code == 200
    return str((await api.get(f"/v1/accounts/{account}")).json()["key"])


async def test_a_person_of_several_accounts_is_told_of_each_with_what_is_known_of_that_one(api, db):
    key = "not-d"
    await publish(api, OF_ACCOUNT, key)
    await tells(api, "mia", role="admin")
    north = await joins(api, "mia", "north", health=0.9)
    await joins(api, "mia", "south", health=0.2)
    await happens(api, "mia", "contract_started")
    run = await db.fetchval("SELECT id FROM runs WHERE journey = $1", key)
    await db.execute("UPDATE runs SET subject_key = $2, lane = $2 WHERE id = $1", run, north)
    await begins(db, key)
    found = {each["account"]: each for each in await why_not(api, "mia", key)}
    assert found.keys() == {"north", "south"}
    assert found["north"]["what"].startswith("the message was requested on entering inside")
    assert "account.health" in found["south"]["what"]  # of which nobody has a run
    gate = (await api.get("/v1/users/mia/why-not", params={"template": TEMPLATE})).json()["gate"]
    assert {each["account"] for each in gate if each["journey"] == key} == {"north", "south"}


async def test_what_another_account_of_theirs_has_told_them_is_in_the_way(api, db):
    key = "not-e"
    await publish(api, OF_ACCOUNT, key)
    await tells(api, "max", role="admin")
    east = await joins(api, "max", "east", health=0.9)
    await joins(api, "max", "west", health=0.9)
    sent = datetime.now(UTC) - timedelta(hours=3)
    await asks(db, f"journey/{key}/x/-/1", await key_of(api, "max"), east, status="sent", at=sent, sent_at=sent)
    of_west = [each for each in await why_not(api, "max", key) if each["account"] == "west"]
    assert of_west[0]["what"] == f"another account of this person has already sent {TEMPLATE}"
    assert of_west[0]["change"]["kind"] == "wait"
    assert datetime.fromisoformat(of_west[0]["change"]["params"]["until"]) == sent + timedelta(days=1)
    assert datetime.fromisoformat(of_west[0]["since"]) == sent
    of_east = [each for each in await why_not(api, "max", key) if each["account"] == "east"]
    assert "another account" not in of_east[0]["what"]


# -- a yes that waits --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [None, False], ids=["nothing was said", "a no was said"])
async def test_C5_a_yes_that_is_not_confirmed_is_named_with_the_one_change_that_is_left(api, db, before):
    key, user = ("not-f", "olga") if before is None else ("not-g", "otto")
    await publish(api, OFFER, key, OFFERED)
    await tells(api, user, email=f"{user}@example.com")
    place = {"channel": "email", "topic": "offers", "source": "test"}
    if before is False:
        await api.put(f"/v1/users/{user}/consents", json={**place, "granted": False})
    (found,) = await why_not_at_gate(api, user, key)
    assert found["change"]["kind"] == "consent"
    said = await api.put(f"/v1/users/{user}/consents", json={**place, "granted": found["change"]["params"]["granted"]})
    assert said.json()["pending"] is True
    (found,) = await why_not_at_gate(api, user, key)
    assert found["what"] == "the person opted in to offers by email and has not confirmed it"
    assert (found["change"]["kind"], found["change"]["params"]) == ("confirm", {"channel": "email", "topic": "offers"})
    asked_at = await db.fetchval("SELECT at FROM consent_requests WHERE subject_key = $1", await key_of(api, user))
    assert datetime.fromisoformat(found["since"]) == asked_at
    confirmed = {**place, "granted": True, "confirmed": True, "proof": {"link": "followed"}}
    assert (await api.put(f"/v1/users/{user}/consents", json=confirmed)).status_code == 200
    assert await why_not_at_gate(api, user, key) == []


async def test_a_no_elsewhere_is_taken_back_before_the_yes_is_confirmed(api):
    key = "not-h"
    await publish(api, OFFER, key, OFFERED)
    await tells(api, "olaf", email="olaf@example.com")
    said = {"channel": "email", "topic": "offers", "source": "test"}
    await api.put("/v1/users/olaf/consents", json={**said, "granted": False})
    await api.put("/v1/users/olaf/consents", json={"channel": "*", "topic": "*", "source": "test", "granted": False})
    await api.put("/v1/users/olaf/consents", json={**said, "granted": True})
    kinds = []
    while found := await why_not_at_gate(api, "olaf", key):
        params, kind = found[0]["change"]["params"], found[0]["change"]["kind"]
        kinds.append((kind, params["channel"]))
        assert len(kinds) < 5, kinds
        proof = {"granted": True, "confirmed": True, "proof": {"link": "followed"}} if kind == "confirm" else {}
        answer = await api.put("/v1/users/olaf/consents", json={**params, "source": "test", **proof})
        assert answer.status_code == 200, answer.text
    assert (kinds[0], kinds[-1]) == (("consent", "*"), ("confirm", "email"))


async def why_not_at_gate(api: Any, user: str, key: str) -> list[dict[str, Any]]:
    return [each for each in await why_not(api, user, key, OFFERED) if each["code"] == "gate"]


# -- what is not known -------------------------------------------------------------------------------------------------


async def test_H8_a_field_that_only_the_template_reads_is_asked_for_until_it_is_told(api):
    key = "not-l"
    await publish(api, NAMED, key, SAYING, begun="begun")
    await tells(api, "quinn", first_name="Quinn")
    asked = (await api.get("/v1/users/quinn/why-not", params={"template": SAYING})).json()
    first, gate = asked["obstacles"][0], asked["gate"][0]
    assert (gate["verdict"], gate["reasons"]) == ("withhold", [{"code": "state_unknown", "text": first["what"]}])
    assert (first["what"], first["change"]["params"]) == ("not known: profile.plan", {"fields": ["profile.plan"]})
    await tells(api, "quinn", plan="team")
    found = await why_not(api, "quinn", key, SAYING)
    assert [each["change"]["kind"] for each in found] == ["track"]


# -- what became of it -------------------------------------------------------------------------------------------------


async def test_a_delivery_that_failed_says_what_the_provider_said(api, db):
    key = "not-i"
    await publish(api, OFFER, key, OFFERED)
    await tells(api, "petra", email="petra@example.com")
    confirmed = {"channel": "email", "topic": "offers", "source": "t", "granted": True, "confirmed": True}
    await api.put("/v1/users/petra/consents", json={**confirmed, "proof": {"link": "followed"}})
    await happens(api, "petra", "signed_up")
    run = await begins(db, key)
    person = await key_of(api, "petra")
    await asks(db, run, person, template=OFFERED, status="failed", detail="550 no such mailbox")
    (found,) = await why_not(api, "petra", key, OFFERED)
    assert found["what"] == "the message was requested on entering inside and was not sent: 550 no such mailbox"


async def test_what_waits_says_since_when_however_often_it_was_weighed_meanwhile(api, db):
    key = "not-j"
    await publish(api, NAMED, key, begun="begun")
    await tells(api, "pia", plan="team")
    await happens(api, "pia", "signed_up")
    run = await begins(db, key)
    begun = datetime.now(UTC) - timedelta(hours=5)
    stopped = '[{"code": "stopped", "text": "a kill switch stops all messages"}]'
    message = await asks(
        db, run, await key_of(api, "pia"), at=begun, reasons=stopped, due_at=begun + timedelta(hours=1)
    )
    await db.execute("UPDATE feed SET at = $2 WHERE message = $1", message, begun)
    for hour in range(1, 5):
        at = begun + timedelta(hours=hour)
        await db.execute(
            "UPDATE messages SET decided_at = $2, due_at = $3 WHERE id = $1", message, at, at + timedelta(hours=1)
        )
    (found,) = [each for each in await why_not(api, "pia", key) if each["code"] == "queued"]
    assert found["what"] == "the message is queued: a kill switch stops all messages"
    assert datetime.fromisoformat(found["since"]) == begun

    # An attempt was made and did not leave: it waits anew since then, for what the provider said.
    await db.execute("UPDATE messages SET status = 'sending', attempts = 1, reasons = '[]' WHERE id = $1", message)
    tried = await db.fetchval(
        "UPDATE messages SET status = 'deferred', detail = '451 later', decided_at = clock_timestamp() WHERE id = $1 "
        "RETURNING decided_at",
        message,
    )
    (found,) = [each for each in await why_not(api, "pia", key) if each["code"] == "queued"]
    assert (found["what"], datetime.fromisoformat(found["since"])) == ("the message is queued: 451 later", tried)


async def test_who_lives_by_a_test_clock_has_waited_since_an_instant_of_that_clock(api, db):
    key, begun = "not-m", datetime(2035, 1, 1, tzinfo=UTC)
    await publish(api, NAMED, key, begun="begun")
    await happens(api, "theo", "signed_up")
    run, person = await begins(db, key), await key_of(api, "theo")
    clock = "INSERT INTO clocks (id, origin, started_at, speed, limit_at) VALUES ('slow', $1, now() - interval '1 hour', 1, $2)"
    await db.execute(clock, begun, begun + timedelta(days=9))
    await db.execute("UPDATE subjects SET clock = 'slow' WHERE key = $1", person)
    message = await asks(db, run, person, at=begun, due_at=begun + timedelta(days=1))
    decided = 'UPDATE messages SET decided_at = $2, reasons = \'[{"code": "held", "text": "held"}]\' WHERE id = $1'
    await db.execute(decided, message, begun + timedelta(hours=5))
    (found,) = [each for each in await why_not(api, "theo", key) if each["code"] == "queued"]
    since = datetime.fromisoformat(found["since"]) - begun
    assert timedelta(hours=1) <= since < timedelta(hours=1, minutes=10)
