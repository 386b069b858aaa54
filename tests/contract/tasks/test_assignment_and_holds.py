"""Tasks, holds and plays by hand: who may do what, what is refused and why, and what is logged (C10, P4)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio

from journeys.tasks.assignment import Roster
from journeys.tasks.team import read_team
from store.database import Database
from store.messages import holds
from tests.support.api import CATALOG, application, client

TEAM = """
hours: {mon-sun: "00:00-24:00"}
people: {abe: {team: success}, bea: {team: success, zone: Asia/Kathmandu}}
teams: {success: {by: load}}
tasks: {call: {outcomes: [reached, no_answer], remind: PT1H}}
"""
LATER = "2027-05-03T08:00:00Z"


@pytest_asyncio.fixture(scope="module")
async def app(module_database_url: str, engine: Any) -> Any:
    team, source = read_team(TEAM)
    assert team is not None, source.problems
    return application(module_database_url, engine=engine, people=Roster(team))


@pytest_asyncio.fixture(scope="module")
async def api(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with client(app) as made:
        yield made


async def join_account(api: httpx.AsyncClient, user: str, account: str) -> None:
    done = await api.post("/v1/group", json={"userId": user, "groupId": account, "traits": {}})
    assert done.status_code == 200


async def key_of(api: httpx.AsyncClient, kind: str, name: str) -> str:
    return str((await api.get(f"/v1/{kind}s/{name}")).json()["key"])


async def insert_task(api, db, account: str = "acme", **columns: Any) -> int:
    """Insert a task that no run waits for; its id."""
    await join_account(api, f"of-{account}", account)
    values = {
        "key": f"k{datetime.now(UTC).timestamp()}", "run": "none", "subject_key": "u", "journey": "j", "action": "call",
        "task": "call", "owner": "abe", "team": "success", "opened_at": datetime.now(UTC) - timedelta(hours=1),
        "account_key": await key_of(api, "account", account), **columns,
    }  # fmt: skip
    names, marks = ", ".join(values), ", ".join(f"${n}" for n in range(1, len(values) + 1))
    return int(await db.fetchval(f"INSERT INTO tasks ({names}) VALUES ({marks}) RETURNING id", *values.values()))


async def log_of_task(api, number: int) -> list[tuple[str, str, str]]:
    lines = (await api.get(f"/v1/tasks/{number}/log")).json()["items"]
    return [(line["kind"], line["by"], line["text"]) for line in lines]


# -- tasks -------------------------------------------------------------------------------------------------------------


async def test_C10_an_undeclared_outcome_closes_no_task_and_the_error_lists_the_declared_ones(api, db):
    number = await insert_task(api, db)
    refused = await api.post(f"/v1/tasks/{number}/close", json={"resolution": "lost", "by": "abe"})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/body/resolution")
    assert refused.json()["errors"][0]["detail"] == "must be one of reached, no_answer"
    assert (await api.get(f"/v1/tasks/{number}")).json()["outcomes"] == ["reached", "no_answer"]
    closed = await api.post(f"/v1/tasks/{number}/close", json={"resolution": "reached", "by": "abe", "note": "well"})
    assert (closed.json()["status"], closed.json()["closed_by"]) == ("closed", "abe via operator")
    free = await insert_task(api, db, task="visit")
    assert (await api.post(f"/v1/tasks/{free}/close", json={"resolution": "anything", "by": "abe"})).status_code == 200
    assert await log_of_task(api, number) == [("closed", "abe via operator", "reached: well")]


async def test_C10_time_to_intervention_runs_from_opening_to_first_note_and_is_a_metric(api, db):
    number = await insert_task(api, db, task="measured", opened_at=datetime.now(UTC) - timedelta(minutes=10))
    for text in ("left a message", "called again"):
        noted = (await api.post(f"/v1/tasks/{number}/notes", json={"text": text, "by": "abe"})).json()
    assert 600 <= noted["seconds_to_first_action"] < 660
    assert (noted["seconds_to_close"], noted["status"]) == (None, "open")
    await api.post(f"/v1/tasks/{number}/close", json={"resolution": "done", "by": "abe"})
    shown = (await api.get(f"/v1/tasks/{number}")).json()
    assert shown["seconds_to_close"] > shown["seconds_to_first_action"] == noted["seconds_to_first_action"]
    counts = {}
    for line in (await api.get("/metrics")).text.splitlines():
        if line.startswith("tenure_task_seconds_count") and "measured" in line:
            name, _, value = line.rpartition(" ")
            counts[name.partition('until="')[2].partition('"')[0]] = float(value)
    assert counts == {"first_action": 1, "closed": 1}
    late = await api.post(f"/v1/tasks/{number}/notes", json={"text": "they wrote back", "by": "abe"})
    assert late.json()["first_action_at"] == shown["first_action_at"]
    assert [line[0] for line in await log_of_task(api, number)] == ["noted", "noted", "closed", "noted"]


async def test_C10_a_reassigned_task_records_who_moved_it_and_why(api, db):
    number = await insert_task(api, db)
    assignment = {"to": "bea", "by": "abe", "why": "she knows them"}
    assigned = (await api.post(f"/v1/tasks/{number}/assign", json=assignment)).json()
    assert (assigned["owner"], assigned["team"], assigned["why"]) == (
        "bea",
        "success",
        "by abe via operator: she knows them",
    )
    loaded = (await api.post(f"/v1/tasks/{number}/assign", json={**assignment, "to": "success"})).json()
    assert loaded["owner"] in {"abe", "bea"}
    assert "has the lowest load in success" in (await log_of_task(api, number))[-1][2]
    stranger = (await api.post(f"/v1/tasks/{number}/assign", json={**assignment, "to": "cs-director"})).json()
    assert (stranger["owner"], stranger["team"]) == ("cs-director", None)
    assert (await api.post(f"/v1/tasks/{number}/assign", json={"to": "bea", "by": "abe"})).status_code == 422


async def test_C10_an_overdue_task_stays_overdue_after_reassignment(api, db):
    due = datetime.now(UTC) - timedelta(minutes=5)
    number = await insert_task(api, db, due_at=due, within="PT4H")
    assigned = (await api.post(f"/v1/tasks/{number}/assign", json={"to": "bea", "by": "abe", "why": "x"})).json()
    assert (datetime.fromisoformat(assigned["due_at"]), assigned["overdue"]) == (due, True)


@pytest.mark.parametrize("within", [None, "PT4H"])
async def test_C10_snoozing_a_task_moves_its_deadline_and_its_reminder(api, db, within):
    due = datetime.now(UTC) + timedelta(hours=3)
    number = await insert_task(api, db, due_at=due, within=within)
    until = (datetime.now(UTC) + timedelta(days=3)).replace(microsecond=0)
    snooze = {"until": until.isoformat(), "by": "abe", "why": "on a fair"}
    snoozed = (await api.post(f"/v1/tasks/{number}/snooze", json=snooze)).json()
    moved, remind = (datetime.fromisoformat(snoozed[name]) for name in ("due_at", "remind_at"))
    assert datetime.fromisoformat(snoozed["snoozed_until"]) == until
    assert abs(moved - until - timedelta(hours=3)) < timedelta(minutes=1)
    assert moved - remind == timedelta(hours=1)
    assert (await log_of_task(api, number))[-1] == (
        "snoozed",
        "abe via operator",
        f"until {until:%Y-%m-%d %H:%M} UTC: on a fair",
    )
    again = {**snooze, "until": (until - timedelta(days=1)).isoformat()}
    sooner = (await api.post(f"/v1/tasks/{number}/snooze", json=again)).json()
    assert moved - datetime.fromisoformat(sooner["due_at"]) == timedelta(days=1), "the time that was left is not lost"


async def test_commands_on_closed_or_unknown_tasks_and_invalid_snoozes_are_refused(api, db):
    number = await insert_task(api, db)
    for until in ("2020-01-01T00:00:00Z", "2199-01-01T00:00:00Z"):
        refused = await api.post(f"/v1/tasks/{number}/snooze", json={"until": until, "by": "abe", "why": "x"})
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/body/until")
    await api.post(f"/v1/tasks/{number}/close", json={"resolution": "reached", "by": "abe"})
    for command, body in (("assign", {"to": "bea"}), ("snooze", {"until": LATER})):
        assert (
            await api.post(f"/v1/tasks/{number}/{command}", json={**body, "by": "abe", "why": "x"})
        ).status_code == 409
        assert (
            await api.post(f"/v1/tasks/999999/{command}", json={**body, "by": "abe", "why": "x"})
        ).status_code == 404
    assert (await api.post("/v1/tasks/999999/notes", json={"text": "x", "by": "abe"})).status_code == 404
    assert (await api.get("/v1/tasks/999999/log")).status_code == 404


async def test_P4_tasks_are_found_by_owner_team_account_and_lateness(api, db):
    now = datetime.now(UTC)
    late = await insert_task(api, db, "globex", owner="bea", due_at=now - timedelta(hours=1), team="seekers")
    timely = await insert_task(api, db, "globex", due_at=now + timedelta(hours=1), team="seekers")
    other = await insert_task(api, db, "initech", due_at=None, team="seekers")

    async def found(**query: Any) -> list[int]:
        answer = await api.get("/v1/tasks", params={"team": "seekers", **query})
        assert answer.status_code == 200
        return [item["id"] for item in answer.json()["items"]]

    assert await found() == [late, timely, other]
    assert await found(account="globex") == [late, timely]
    assert await found(overdue=True) == [late]
    assert await found(overdue=False) == [timely, other]
    assert await found(owner="bea") == [late]
    assert (await api.get(f"/v1/tasks/{late}")).json()["account"] == "globex"
    assert (await api.get("/v1/tasks", params={"account": "nobody"})).status_code == 404


# -- holds -------------------------------------------------------------------------------------------------------------


def new_hold(by: str = "dana", days: float = 3) -> dict[str, str]:
    return {"until": (datetime.now(UTC) + timedelta(days=days)).isoformat(), "by": by, "why": "we talk in person"}


async def holds_in_force(url: str, person: str, accounts: list[str], at: datetime) -> list[tuple[str, str]]:
    database = Database(url)
    async with database.reading() as connection:
        active = await holds.active_holds(connection, person, accounts, at)
    await database.close()
    return [(held.by, held.why) for held in active]


async def test_P4_a_hold_on_an_account_covers_its_people_and_expires_by_itself(api, db, module_database_url):
    await join_account(api, "holly", "holdings")
    person, account = await key_of(api, "user", "holly"), await key_of(api, "account", "holdings")
    now = datetime.now(UTC)
    assert await holds_in_force(module_database_url, person, [account], now) == []
    held = (await api.post("/v1/accounts/holdings/hold", json=new_hold())).json()
    assert (held["subject"], held["standing"], held["by"]) == (account, True, "dana via operator")
    assert await holds_in_force(module_database_url, person, [account], now) == [
        ("dana via operator", "we talk in person")
    ]
    assert await holds_in_force(module_database_url, person, [], now) == []
    assert await holds_in_force(module_database_url, person, [account], now + timedelta(days=3, minutes=1)) == []
    await api.post("/v1/users/holly/hold", json=new_hold("erin", 5))
    assert [by for by, _ in await holds_in_force(module_database_url, person, [account], now)] == [
        "erin via operator",
        "dana via operator",
    ]


async def test_a_hold_is_extended_only_by_its_holder_and_released_by_anybody(api):
    await join_account(api, "ida", "ideas")
    first = (await api.post("/v1/accounts/ideas/hold", json=new_hold())).json()
    refused = await api.post("/v1/accounts/ideas/hold", json=new_hold("erin"))
    assert refused.status_code == 409
    assert refused.json()["detail"].startswith("dana via operator holds it until ")
    second = (await api.post("/v1/accounts/ideas/hold", json=new_hold(days=9))).json()
    assert second["until"] > first["until"]
    released = (await api.delete("/v1/accounts/ideas/hold", params={"by": "erin"})).json()
    assert (released["standing"], released["released_by"]) == (False, "erin via operator")
    assert (await api.delete("/v1/accounts/ideas/hold", params={"by": "erin"})).status_code == 404
    assert (await api.post("/v1/accounts/ideas/hold", json=new_hold("erin"))).status_code == 200
    of_account = [item for item in (await api.get("/v1/holds")).json()["items"] if item["subject"] == first["subject"]]
    assert [(item["by"], item["standing"], item["released_by"]) for item in of_account] == [
        ("erin via operator", True, None), ("dana via operator", False, "erin via operator"), ("dana via operator", False, "dana via operator"),
    ]  # fmt: skip
    listed = (await api.get("/v1/holds", params={"standing": True, "by": "erin"})).json()["items"]
    assert of_account[0] in listed
    assert all(item["standing"] for item in listed)


async def test_one_of_many_concurrent_holds_on_an_account_succeeds(api):
    await join_account(api, "max", "many")
    answers = await asyncio.gather(*(api.post("/v1/accounts/many/hold", json=new_hold(f"csm-{n}")) for n in range(12)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 11


async def test_a_hold_whose_end_is_past_or_too_far_away_is_refused(api):
    await join_account(api, "una", "unending")
    for days in (-1, 400):
        refused = await api.post("/v1/accounts/unending/hold", json=new_hold(days=days))
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/body/until")
    assert (await api.post("/v1/users/nobody-yet/hold", json=new_hold())).status_code == 404


async def test_releasing_a_hold_makes_the_messages_that_waited_for_it_due(api, db):
    await join_account(api, "wanda", "waiting")
    person = await key_of(api, "user", "wanda")
    later = datetime.now(UTC) + timedelta(days=2)
    for key, code in (("held-1", "held"), ("capped-1", "cap_reached")):
        await db.execute(
            """INSERT INTO messages (key, run, step, subject_key, recipient, journey, state, visit, action, template, via,
                 priority, at, status, decided_at, due_at, reasons)
               VALUES ($1, 'r', 1, $2, $2, 'j', 's', 1, $1, 't', '[]', 'lifecycle', now(), 'deferred', now(), $3, $4)""",
            key, person, later, f'[{{"code": "{code}", "text": "x"}}]',
        )  # fmt: skip
    await api.post("/v1/accounts/waiting/hold", json=new_hold())
    await api.delete("/v1/accounts/waiting/hold", params={"by": "dana"})
    due = dict(await db.fetch("SELECT key, due_at FROM messages WHERE recipient = $1", person))
    assert due["held-1"] <= datetime.now(UTC)
    assert due["capped-1"] == later
    assert await db.fetchval("SELECT count(*) FROM outbox WHERE recipient = $1 AND kind = 'wake'", person) >= 1


# -- plays -------------------------------------------------------------------------------------------------------------

PLAY = {"journey": "setup-and-activation", "by": "dana", "why": "they asked for help"}


async def published(api, key: str) -> None:
    await api.put(f"/v1/journeys/{key}", content=(CATALOG / "journeys" / f"{key}.yaml").read_bytes())


async def test_P4_a_play_starts_its_journey_by_an_accepted_event(api, db):
    await published(api, "setup-and-activation")
    await api.post("/v1/identify", json={"userId": "pat", "traits": {"plan": "team"}})
    started = await api.post("/v1/users/pat/plays", json=PLAY)
    assert started.status_code == 201, started.text
    run = started.json()
    assert (run["journey"], run["status"], run["epoch"]) == ("setup-and-activation", "open", 1)
    event = await db.fetchrow("SELECT source, name, data::text FROM events WHERE name LIKE 'play:%' AND subject_key = $1", run["subject"])  # fmt: skip
    assert (event["source"], event["name"]) == ("operator", "play:setup-and-activation")
    assert '"why": "they asked for help"' in event["data"]
    row = await db.fetchrow("SELECT o.kind, o.name, r.entered_seq = o.seq AS entering FROM outbox o JOIN runs r ON r.lane = o.recipient WHERE r.id = $1", run["id"])  # fmt: skip
    assert tuple(row) == ("signal", "play:setup-and-activation", True)


async def test_P4_a_play_that_may_not_enter_is_refused_with_the_reason_and_accepts_no_event(api, db):
    await published(api, "setup-and-activation")
    await api.post("/v1/track", json={"userId": "quinn", "event": "signed_up"})
    person = await key_of(api, "user", "quinn")
    refused = await api.post("/v1/users/quinn/plays", json=PLAY)
    assert (refused.status_code, refused.json()["detail"]) == (409, "This user may not enter setup-and-activation now: a run is open.")  # fmt: skip
    await db.execute("UPDATE runs SET status = 'closed', ended_at = now() WHERE lane = $1", person)
    again = await api.post("/v1/users/quinn/plays", json=PLAY)
    assert "the person has had a run before, and may enter once only" in again.json()["detail"]
    assert await db.fetchval("SELECT count(*) FROM events WHERE subject_key = $1 AND source = 'operator'", person) == 0


async def test_one_of_many_concurrent_plays_of_a_journey_succeeds(api):
    await published(api, "setup-and-activation")
    await api.post("/v1/identify", json={"userId": "rae", "traits": {}})
    answers = await asyncio.gather(*(api.post("/v1/users/rae/plays", json=PLAY) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 9


async def test_a_play_needs_the_kind_of_subject_of_its_journey(api, db):
    await published(api, "renewal-readiness")
    await join_account(api, "sam", "sams")
    play = {**PLAY, "journey": "renewal-readiness"}
    assert (await api.post("/v1/users/sam/plays", json=play)).status_code == 422
    started = await api.post("/v1/accounts/sams/plays", json=play)
    assert (started.status_code, started.json()["subject"][:2]) == (201, "a_")
    assert (await api.post("/v1/users/sam/plays", json={**PLAY, "journey": "no-such"})).status_code == 404
    assert (await api.post("/v1/users/nobody-yet/plays", json=PLAY)).status_code == 404


async def test_a_play_of_a_journey_with_cases_needs_a_case_in_its_data(api):
    await published(api, "urgent-support")
    await api.post("/v1/identify", json={"userId": "tess", "traits": {}})
    play = {**PLAY, "journey": "urgent-support"}
    refused = await api.post("/v1/users/tess/plays", json=play)
    assert refused.json()["detail"] == "This user may not enter urgent-support now: the event has no ticket_id."
    started = await api.post("/v1/users/tess/plays", json={**play, "data": {"ticket_id": "T-7"}})
    assert started.json()["case"] == "T-7"


async def test_a_play_sent_as_an_event_with_the_write_key_is_quarantined(sender, db):
    """As an ordinary event a play is unknown to the tracking plan: it is quarantined and opens no run."""
    done = await sender.post(
        "/v1/track", json={"userId": "uma", "event": "play:setup-and-activation", "messageId": "uma"}
    )
    assert done.status_code == 200
    assert await db.fetchval("SELECT count(*) FROM quarantine WHERE message_id = 'uma'") == 1


# -- names and context -------------------------------------------------------------------------------------------------


async def test_a_misspelt_name_is_refused_with_the_nearest_one_and_any_other_word_is_kept(api, db):
    number = await insert_task(api, db)
    refused = await api.post(f"/v1/tasks/{number}/assign", json={"to": "sucess", "by": "abe", "why": "x"})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/body/to")
    assert refused.json()["errors"][0]["detail"] == "is no person or team; did you mean success?"
    kept = await api.post(f"/v1/tasks/{number}/assign", json={"to": "cs-director", "by": "abe", "why": "x"})
    assert kept.json()["owner"] == "cs-director"


HANDED = """
journey: handed-over
handoff: {from: sales, to: success, promise: profile.use_case, owner: success}
entry: {on: signed_up}
topic: onboarding
start: begun
states:
  begun: {milestone: setup_completed, owner: success, on: {setup_completed: over}}
  over: {final: done}
"""


async def test_a_task_says_who_it_is_about_what_was_promised_and_sent_and_why_it_exists(api, db):
    assert (await api.put("/v1/journeys/handed-over", content=HANDED.encode())).status_code == 201
    traits = {"first_name": "Ada", "email": "ada@example.com", "use_case": "invoices in one day", "role": "admin"}
    await api.post("/v1/identify", json={"userId": "ada", "traits": traits})
    await api.post("/v1/track", json={"userId": "ada", "event": "Signed Up"})
    runs = (await api.get("/v1/users/ada/journeys")).json()["items"]
    run = next(run for run in runs if run["journey"] == "handed-over")
    person = await key_of(api, "user", "ada")
    opened = datetime.now(UTC)
    await db.execute(
        "INSERT INTO timeline (run, step, n, at, recorded_at, kind, about, text) "
        "VALUES ($1, 1, 1, $2, $2, 'task', 'call', 'a call: setup is late'), ($1, 2, 1, $3, $3, 'later', 'x', 'later')",
        run["id"], opened, opened + timedelta(hours=1),
    )  # fmt: skip
    await db.execute(
        "INSERT INTO messages (key, run, step, subject_key, recipient, journey, state, visit, action, template, via, priority, "
        "at, status, channel, summary, decided_at, sent_at) VALUES ('m1', $1, 1, $2, $2, 'handed-over', 'begun', 1, 'hello', "
        "'setup/first-steps', '[]', 'lifecycle', $3, 'sent', 'email', '{\"subject\": \"Your first steps\"}', $3, $3)",
        run["id"], person, opened,
    )  # fmt: skip
    number = await insert_task(api, db, run=run["id"], subject_key=person, opened_at=opened)
    context = (await api.get(f"/v1/tasks/{number}")).json()["context"]
    assert {name: context["person"][name] for name in ("id", "name", "email", "role")} == {
        "id": "ada", "name": "Ada", "email": "ada@example.com", "role": "admin"
    }  # fmt: skip
    assert context["account"]["id"] == "acme"
    assert context["promised"] == {
        "field": "profile.use_case", "value": "invoices in one day", "from": "sales", "to": "success"
    }  # fmt: skip
    assert [(sent["subject"], sent["channel"]) for sent in context["sent"]] == [("Your first steps", "email")]
    assert [line["text"] for line in context["because"]] == ["a call: setup is late"]


async def test_a_task_whose_run_and_person_are_unknown_has_an_empty_context(api, db):
    number = await insert_task(api, db)
    context = (await api.get(f"/v1/tasks/{number}")).json()["context"]
    assert (context["person"], context["promised"], context["sent"], context["because"]) == (None, None, [], [])
