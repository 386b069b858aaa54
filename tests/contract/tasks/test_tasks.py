"""Tasks, inbox, consents and quarantine over HTTP, and what each request changes in the same commit."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

from journeys.events.tracking_plan import PlannedSignal
from store.database import Database
from store.inbox import items as inbox_items
from tests.support.api import CATALOG, application, client
from worker.composition.catalog import tracking_plan
from worker.settings import Settings

AT = datetime(2026, 5, 3, 10, tzinfo=UTC)
KEY = "setup-and-activation"


async def entered(api, user: str) -> Any:
    """Open a run of this person by an accepted event; its id."""
    await api.put(f"/v1/journeys/{KEY}", content=(CATALOG / "journeys" / f"{KEY}.yaml").read_bytes())
    await api.post(f"/v1/users/{user}/signals", json={"name": "signed_up"})
    (run,) = (await api.get(f"/v1/users/{user}/journeys")).json()["items"]
    return run["id"]


async def subject_of(db, run: str) -> Any:
    return await db.fetchval("SELECT lane FROM runs WHERE id = $1", run)


async def insert_task(db, run: str, owner: str = "dana") -> Any:
    number = await db.fetchval(
        """INSERT INTO tasks (key, run, subject_key, journey, action, task, owner, opened_at)
           VALUES (gen_random_uuid()::text, $1, $2, $3, 'onboarding-call', 'onboarding-call', $4, now()) RETURNING id""",
        run, await subject_of(db, run), KEY, owner,
    )  # fmt: skip
    await db.execute(
        "INSERT INTO task_asks (key, task_id, run, action, asked_at) SELECT key, id, run, action, opened_at FROM tasks WHERE id = $1",
        number,
    )
    return number


async def pending_signals(db, run: str) -> list[dict[str, Any]]:
    """The undelivered outbox rows addressed to this run."""
    return [dict(row) for row in await db.fetch("SELECT * FROM outbox WHERE target = $1 ORDER BY seq", run)]


async def test_closing_a_task_emits_one_signal_in_the_same_commit(api, db):
    run = await entered(api, "closer")
    number = await insert_task(db, run)
    answers = await asyncio.gather(
        *(api.post(f"/v1/tasks/{number}/close", json={"resolution": "reached", "by": "dana"}) for _ in range(10))
    )
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["status"] for answer in answers} == {"closed"}
    (signal,) = await pending_signals(db, run)
    assert (signal["kind"], signal["name"]) == ("signal", "onboarding-call.closed")
    assert json.loads(signal["data"])["outcome"] == "reached"
    other = await api.post(f"/v1/tasks/{number}/close", json={"resolution": "no_answer", "by": "dana"})
    assert (other.status_code, other.json()["type"]) == (409, "urn:tenure:problem:conflict")
    assert len(await pending_signals(db, run)) == 1


async def test_tasks_are_listed_by_owner_and_status_page_by_page(api, db):
    run = await entered(api, "worker")
    numbers = [await insert_task(db, run, "erin") for _ in range(3)]
    await api.post(f"/v1/tasks/{numbers[0]}/close", json={"resolution": "booked", "by": "erin"})
    first = (await api.get("/v1/tasks", params={"owner": "erin", "status": "open", "limit": 1})).json()
    second = (await api.get("/v1/tasks", params={"owner": "erin", "status": "open", "cursor": first["next"]})).json()
    assert [item["id"] for item in first["items"] + second["items"]] == numbers[1:]
    assert second["next"] is None


async def test_an_inbox_message_is_stored_once_with_its_first_interaction(api, db, module_database_url):
    run = await entered(api, "reader")
    database = Database(module_database_url)
    for _ in range(2):
        async with database.transaction() as connection:
            await inbox_items.put_item(connection, "inbox-1", await subject_of(db, run), {"subject": "Welcome"}, AT)
    await database.close()
    (item,) = (await api.get("/v1/users/reader/inbox")).json()["items"]
    assert (item["content"], item["seen_at"]) == ({"subject": "Welcome"}, None)
    acted = (await api.post(f"/v1/inbox/{item['id']}/acted")).json()
    assert acted["seen_at"] == acted["acted_at"]
    assert (await api.post(f"/v1/inbox/{item['id']}/acted")).json() == acted, "the first time counts"
    assert (await api.get("/v1/users/reader/inbox", params={"waiting": True})).json()["items"] == []
    assert (await api.post("/v1/inbox/00000000-0000-0000-0000-000000000000/seen")).status_code == 404


async def insert_message(db, run: str, key: str, via: str, status: str = "deferred", topic: str = "onboarding") -> None:
    await db.execute(
        """INSERT INTO messages (key, run, step, subject_key, recipient, journey, state, visit, action, template, via, topic,
             priority, at, status, decided_at, due_at)
           VALUES ($1, $2, 1, $3, $3, $4, 'setting_up', 1, $1, 'setup/first-steps', $5, $6, 'lifecycle', $7, $8, $7, $7)""",
        key, run, await subject_of(db, run), KEY, via, topic, AT, status,
    )  # fmt: skip


async def change_consent(api, user: str, channel: str, topic: str, granted: bool) -> Any:
    change = {"channel": channel, "topic": topic, "granted": granted, "source": "preference-centre"}
    answer = await api.put(f"/v1/users/{user}/consents", json=change)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_an_opt_out_withdraws_queued_messages_and_ends_a_run_without_any_channel_left(api, db):
    run = await entered(api, "leaver")
    topic = (await api.get(f"/v1/journeys/{KEY}")).json()["definition"]["topic"]
    await insert_message(db, run, "by-mail", '["email"]', topic=topic)
    await insert_message(db, run, "by-either", '["in_app", "email"]', topic=topic)
    await insert_message(db, run, "of-another-topic", '["email"]', topic="billing")
    await insert_message(db, run, "under-way", '["email"]', "sending", topic=topic)
    first = await change_consent(api, "leaver", "email", topic, granted=False)
    assert (first["withdrawn_messages"], first["ended_runs"]) == (1, 0)
    assert await pending_signals(db, run) == []
    second = await change_consent(api, "leaver", "in_app", topic, granted=False)
    assert (second["withdrawn_messages"], second["ended_runs"]) == (1, 1)
    (end,) = await pending_signals(db, run)
    assert end["kind"] == "opted_out"
    statuses = dict(await db.fetch("SELECT key, status FROM messages WHERE run = $1", run))
    assert statuses == {
        "by-mail": "withdrawn",
        "by-either": "withdrawn",
        "of-another-topic": "deferred",
        "under-way": "sending",
    }
    (why,) = [m for m in (await api.get("/v1/users/leaver/messages")).json()["items"] if m["key"] == "by-mail"]
    assert why["reasons"][0]["code"] == "consent_withdrawn"


async def test_an_opt_out_from_everything_needs_one_request(api, db):
    run = await entered(api, "finished")
    assert (await change_consent(api, "finished", "*", "*", granted=False))["ended_runs"] == 1
    assert [row["kind"] for row in await pending_signals(db, run)] == ["opted_out"]


async def test_the_consent_log_keeps_every_change(api):
    await entered(api, "sayer")
    for granted in (True, False, True):
        await change_consent(api, "sayer", "email", "onboarding", granted=granted)
    (current,) = (await api.get("/v1/users/sayer/consents")).json()["items"]
    log = (await api.get("/v1/users/sayer/consents/log")).json()["items"]
    assert (current["granted"], current["source"]) == (True, "preference-centre")
    assert [entry["granted"] for entry in log] == [True, False, True]


async def test_quarantined_events_are_replayed_once_after_the_plan_is_fixed(api, sender, db, module_database_url):
    for n in range(3):
        body = {"userId": "mended", "event": "New Thing", "messageId": f"new-{n}", "properties": {}}
        await sender.post("/v1/track", json=body)
    await api.post("/v1/accounts/mended/signals", json={"name": "new_thing", "id": "new-signal"})
    names = {item["name"]: item["held"] for item in (await api.get("/v1/quarantine/names")).json()["items"]}
    assert (names["New Thing"], names["new_thing"]) == (3, 1)
    items = (await api.get("/v1/quarantine", params={"name": "New Thing"})).json()["items"]
    assert all("tracking plan" in item["faults"][0] for item in items)
    refused = await api.post(f"/v1/quarantine/{items[0]['id']}/replay")
    assert (refused.status_code, refused.json()["errors"][0]["detail"]) == (409, items[0]["faults"][0])
    gone = await api.post(f"/v1/quarantine/{items[2]['id']}/discard")
    assert gone.json()["status"] == "discarded"

    signal = PlannedSignal.model_validate({"source": "product", "from": "New Thing"})
    old = tracking_plan(Settings().catalog)
    mended = old.model_copy(update={"signals": {**old.signals, "new_thing": signal}})
    mended = type(old).model_validate(mended.model_dump(by_alias=True))
    async with client(application(module_database_url, tracking=mended)) as with_mended_plan:
        replayed = await with_mended_plan.post(f"/v1/quarantine/{items[0]['id']}/replay")
        assert replayed.json()["status"] == "replayed"
        again = await with_mended_plan.post(f"/v1/quarantine/{items[0]['id']}/replay")
        assert again.status_code == 409
        rest = await with_mended_plan.post("/v1/quarantine:replay", params={"name": "New Thing"})
        assert rest.json() == {"replayed": 1, "still_held": 0, "next": None}
        signals = await with_mended_plan.post("/v1/quarantine:replay", params={"name": "new_thing"})
        assert signals.json() == {"replayed": 1, "still_held": 0, "next": None}
    accepted = await db.fetch("SELECT message_id FROM events WHERE name = 'new_thing' ORDER BY message_id")
    assert [row["message_id"] for row in accepted] == ["new-0", "new-1", "new-signal"]


async def test_a_malformed_event_stays_in_quarantine_until_it_is_discarded(api, sender):
    bad = b'{"batch":[{"type":"track","event":"Odd","userId":"u","messageId":"odd-1","properties":{"a":"\\u0000"}}]}'
    await sender.post("/v1/batch", content=bad)
    (item,) = (await api.get("/v1/quarantine", params={"name": "Odd"})).json()["items"]
    assert json.loads(item["event"]["unreadable"])["properties"] == {"a": "\x00"}, "kept as it came"
    assert (await api.post(f"/v1/quarantine/{item['id']}/replay")).status_code == 409
    assert (await api.post(f"/v1/quarantine/{item['id']}/discard")).status_code == 200
    assert (await api.get("/v1/quarantine", params={"name": "Odd"})).json()["items"] == []


async def test_a_dead_letter_is_listed_until_it_is_discarded(api, db):
    number = await db.fetchval(
        "INSERT INTO dead_letters (run, step, n, name, reason, payload) VALUES ('r', 1, 0, 'odd', 'unknown', '{}') RETURNING id"
    )
    listed = (await api.get("/v1/dead-letters", params={"run": "r"})).json()["items"]
    assert [(item["id"], item["reason"]) for item in listed] == [(number, "unknown")]
    assert (await api.post(f"/v1/dead-letters/{number}/discard")).json()["status"] == "discarded"
    assert (await api.get("/v1/dead-letters", params={"run": "r"})).json()["items"] == []
