"""A person's hand on tasks, holds and plays: who may do what, what is refused and why, and what is written down (C10, P4)."""

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


async def member(api: httpx.AsyncClient, user: str, account: str) -> None:
    done = await api.post("/v1/group", json={"userId": user, "groupId": account, "traits": {}})
    assert done.status_code == 200


async def key_of(api: httpx.AsyncClient, kind: str, name: str) -> str:
    return str((await api.get(f"/v1/{kind}s/{name}")).json()["key"])


async def task(api, db, account: str = "acme", **columns: Any) -> int:
    """A task that no run waits for."""
    await member(api, f"of-{account}", account)
    values = {
        "key": f"k{datetime.now(UTC).timestamp()}", "run": "none", "subject_key": "u", "journey": "j", "action": "call",
        "task": "call", "owner": "abe", "team": "success", "opened_at": datetime.now(UTC) - timedelta(hours=1),
        "account_key": await key_of(api, "account", account), **columns,
    }  # fmt: skip
    names, marks = ", ".join(values), ", ".join(f"${n}" for n in range(1, len(values) + 1))
    return int(await db.fetchval(f"INSERT INTO tasks ({names}) VALUES ({marks}) RETURNING id", *values.values()))


async def log(api, number: int) -> list[tuple[str, str, str]]:
    found = (await api.get(f"/v1/tasks/{number}/log")).json()["items"]
    return [(line["kind"], line["by"], line["text"]) for line in found]


# -- tasks -------------------------------------------------------------------------------------------------------------


async def test_C10_a_word_that_is_not_declared_does_not_close_a_task_and_the_declared_ones_are_named(api, db):
    number = await task(api, db)
    refused = await api.post(f"/v1/tasks/{number}/close", json={"resolution": "lost", "by": "abe"})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/body/resolution")
    assert refused.json()["errors"][0]["detail"] == "must be one of reached, no_answer"
    assert (await api.get(f"/v1/tasks/{number}")).json()["outcomes"] == ["reached", "no_answer"]
    closed = await api.post(f"/v1/tasks/{number}/close", json={"resolution": "reached", "by": "abe", "note": "well"})
    assert (closed.json()["status"], closed.json()["closed_by"]) == ("closed", "abe")
    free = await task(api, db, task="visit")
    assert (await api.post(f"/v1/tasks/{free}/close", json={"resolution": "anything", "by": "abe"})).status_code == 200
    assert await log(api, number) == [("closed", "abe", "reached: well")]


async def test_C10_time_to_intervention_is_from_the_opening_to_the_first_note_and_in_the_metrics(api, db):
    number = await task(api, db, task="measured", opened_at=datetime.now(UTC) - timedelta(minutes=10))
    for text in ("left a message", "called again"):
        found = (await api.post(f"/v1/tasks/{number}/notes", json={"text": text, "by": "abe"})).json()
    assert 600 <= found["seconds_to_first_action"] < 660
    assert (found["seconds_to_close"], found["status"]) == (None, "open")
    await api.post(f"/v1/tasks/{number}/close", json={"resolution": "done", "by": "abe"})
    shown = (await api.get(f"/v1/tasks/{number}")).json()
    assert shown["seconds_to_close"] > shown["seconds_to_first_action"] == found["seconds_to_first_action"]
    counts = {}
    for line in (await api.get("/metrics")).text.splitlines():
        if line.startswith("tenure_task_seconds_count") and "measured" in line:
            name, _, value = line.rpartition(" ")
            counts[name.partition('until="')[2].partition('"')[0]] = float(value)
    assert counts == {"first_action": 1, "closed": 1}
    late = await api.post(f"/v1/tasks/{number}/notes", json={"text": "they wrote back", "by": "abe"})
    assert late.json()["first_action_at"] == shown["first_action_at"]
    assert [line[0] for line in await log(api, number)] == ["noted", "noted", "closed", "noted"]


async def test_C10_a_task_changes_hands_with_who_and_why(api, db):
    number = await task(api, db)
    wish = {"to": "bea", "by": "abe", "why": "she knows them"}
    found = (await api.post(f"/v1/tasks/{number}/assign", json=wish)).json()
    assert (found["owner"], found["team"], found["why"]) == ("bea", "success", "by abe: she knows them")
    loaded = (await api.post(f"/v1/tasks/{number}/assign", json={**wish, "to": "success"})).json()
    assert loaded["owner"] in {"abe", "bea"}
    assert "has the lowest load in success" in (await log(api, number))[-1][2]
    stranger = (await api.post(f"/v1/tasks/{number}/assign", json={**wish, "to": "cs-director"})).json()
    assert (stranger["owner"], stranger["team"]) == ("cs-director", None)
    assert (await api.post(f"/v1/tasks/{number}/assign", json={"to": "bea", "by": "abe"})).status_code == 422


async def test_C10_a_late_task_stays_late_whoever_gets_it(api, db):
    due = datetime.now(UTC) - timedelta(minutes=5)
    number = await task(api, db, due_at=due, within="PT4H")
    found = (await api.post(f"/v1/tasks/{number}/assign", json={"to": "bea", "by": "abe", "why": "x"})).json()
    assert (datetime.fromisoformat(found["due_at"]), found["overdue"]) == (due, True)


@pytest.mark.parametrize("within", [None, "PT4H"])
async def test_C10_a_task_is_put_off_with_its_deadline_and_its_reminder(api, db, within):
    due = datetime.now(UTC) + timedelta(hours=3)
    number = await task(api, db, due_at=due, within=within)
    until = (datetime.now(UTC) + timedelta(days=3)).replace(microsecond=0)
    wish = {"until": until.isoformat(), "by": "abe", "why": "on a fair"}
    found = (await api.post(f"/v1/tasks/{number}/snooze", json=wish)).json()
    moved, remind = (datetime.fromisoformat(found[name]) for name in ("due_at", "remind_at"))
    assert datetime.fromisoformat(found["snoozed_until"]) == until
    assert abs(moved - until - timedelta(hours=3)) < timedelta(minutes=1)
    assert moved - remind == timedelta(hours=1)
    assert (await log(api, number))[-1] == ("snoozed", "abe", f"until {until:%Y-%m-%d %H:%M} UTC: on a fair")
    again = {**wish, "until": (until - timedelta(days=1)).isoformat()}
    sooner = (await api.post(f"/v1/tasks/{number}/snooze", json=again)).json()
    assert moved - datetime.fromisoformat(sooner["due_at"]) == timedelta(days=1), "what was left is not lost"


async def test_what_is_over_is_not_changed_and_what_cannot_be_is_refused(api, db):
    number = await task(api, db)
    for until in ("2020-01-01T00:00:00Z", "2199-01-01T00:00:00Z"):
        refused = await api.post(f"/v1/tasks/{number}/snooze", json={"until": until, "by": "abe", "why": "x"})
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/body/until")
    await api.post(f"/v1/tasks/{number}/close", json={"resolution": "reached", "by": "abe"})
    for what, body in (("assign", {"to": "bea"}), ("snooze", {"until": LATER})):
        assert (await api.post(f"/v1/tasks/{number}/{what}", json={**body, "by": "abe", "why": "x"})).status_code == 409
        assert (await api.post(f"/v1/tasks/999999/{what}", json={**body, "by": "abe", "why": "x"})).status_code == 404
    assert (await api.post("/v1/tasks/999999/notes", json={"text": "x", "by": "abe"})).status_code == 404
    assert (await api.get("/v1/tasks/999999/log")).status_code == 404


async def test_P4_tasks_are_found_by_owner_team_account_and_lateness(api, db):
    now = datetime.now(UTC)
    late = await task(api, db, "globex", owner="bea", due_at=now - timedelta(hours=1), team="seekers")
    timely = await task(api, db, "globex", due_at=now + timedelta(hours=1), team="seekers")
    other = await task(api, db, "initech", due_at=None, team="seekers")

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


def hold(by: str = "dana", days: float = 3) -> dict[str, str]:
    return {"until": (datetime.now(UTC) + timedelta(days=days)).isoformat(), "by": by, "why": "we talk in person"}


async def standing(url: str, person: str, accounts: list[str], at: datetime) -> list[tuple[str, str]]:
    database = Database(url)
    async with database.reading() as connection:
        found = await holds.active_holds(connection, person, accounts, at)
    await database.close()
    return [(held.by, held.why) for held in found]


async def test_P4_a_held_account_holds_its_people_and_ends_by_itself(api, db, module_database_url):
    await member(api, "holly", "holdings")
    person, account = await key_of(api, "user", "holly"), await key_of(api, "account", "holdings")
    now = datetime.now(UTC)
    assert await standing(module_database_url, person, [account], now) == []
    held = (await api.post("/v1/accounts/holdings/hold", json=hold())).json()
    assert (held["subject"], held["standing"], held["by"]) == (account, True, "dana")
    assert await standing(module_database_url, person, [account], now) == [("dana", "we talk in person")]
    assert await standing(module_database_url, person, [], now) == []
    assert await standing(module_database_url, person, [account], now + timedelta(days=3, minutes=1)) == []
    await api.post("/v1/users/holly/hold", json=hold("erin", 5))
    assert [by for by, _ in await standing(module_database_url, person, [account], now)] == ["erin", "dana"]


async def test_a_hold_is_changed_by_who_has_it_and_refused_to_others_and_released_by_anybody(api):
    await member(api, "ida", "ideas")
    first = (await api.post("/v1/accounts/ideas/hold", json=hold())).json()
    refused = await api.post("/v1/accounts/ideas/hold", json=hold("erin"))
    assert refused.status_code == 409
    assert refused.json()["detail"].startswith("dana holds it until ")
    second = (await api.post("/v1/accounts/ideas/hold", json=hold(days=9))).json()
    assert second["until"] > first["until"]
    released = (await api.delete("/v1/accounts/ideas/hold", params={"by": "erin"})).json()
    assert (released["standing"], released["released_by"]) == (False, "erin")
    assert (await api.delete("/v1/accounts/ideas/hold", params={"by": "erin"})).status_code == 404
    assert (await api.post("/v1/accounts/ideas/hold", json=hold("erin"))).status_code == 200
    mine = [item for item in (await api.get("/v1/holds")).json()["items"] if item["subject"] == first["subject"]]
    assert [(item["by"], item["standing"], item["released_by"]) for item in mine] == [
        ("erin", True, None), ("dana", False, "erin"), ("dana", False, "dana"),
    ]  # fmt: skip
    listed = (await api.get("/v1/holds", params={"standing": True, "by": "erin"})).json()["items"]
    assert mine[0] in listed
    assert all(item["standing"] for item in listed)


async def test_of_many_who_want_to_hold_at_once_one_does(api):
    await member(api, "max", "many")
    answers = await asyncio.gather(*(api.post("/v1/accounts/many/hold", json=hold(f"csm-{n}")) for n in range(12)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 11


async def test_a_hold_has_an_end_that_is_to_come(api):
    await member(api, "una", "unending")
    for days in (-1, 400):
        refused = await api.post("/v1/accounts/unending/hold", json=hold(days=days))
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/body/until")
    assert (await api.post("/v1/users/nobody-yet/hold", json=hold())).status_code == 404


async def test_what_waited_for_a_hold_is_weighed_again_when_it_is_released(api, db):
    await member(api, "wanda", "waiting")
    person = await key_of(api, "user", "wanda")
    later = datetime.now(UTC) + timedelta(days=2)
    for key, code in (("held-1", "held"), ("capped-1", "cap_reached")):
        await db.execute(
            """INSERT INTO messages (key, run, step, subject_key, recipient, journey, state, visit, action, template, via,
                 priority, at, status, decided_at, due_at, reasons)
               VALUES ($1, 'r', 1, $2, $2, 'j', 's', 1, $1, 't', '[]', 'lifecycle', now(), 'deferred', now(), $3, $4)""",
            key, person, later, f'[{{"code": "{code}", "text": "x"}}]',
        )  # fmt: skip
    await api.post("/v1/accounts/waiting/hold", json=hold())
    await api.delete("/v1/accounts/waiting/hold", params={"by": "dana"})
    due = dict(await db.fetch("SELECT key, due_at FROM messages WHERE recipient = $1", person))
    assert due["held-1"] <= datetime.now(UTC)
    assert due["capped-1"] == later
    assert await db.fetchval("SELECT count(*) FROM outbox WHERE recipient = $1 AND kind = 'wake'", person) >= 1


# -- plays -------------------------------------------------------------------------------------------------------------

PLAY = {"journey": "setup-and-activation", "by": "dana", "why": "they asked for help"}


async def published(api, key: str) -> None:
    await api.put(f"/v1/journeys/{key}", content=(CATALOG / "journeys" / f"{key}.yaml").read_bytes())


async def test_P4_a_journey_is_started_by_hand_as_an_accepted_event_and_only_it(api, db):
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


async def test_P4_who_may_not_enter_is_kept_out_with_the_reason_and_nothing_is_accepted(api, db):
    await published(api, "setup-and-activation")
    await api.post("/v1/track", json={"userId": "quinn", "event": "signed_up"})
    person = await key_of(api, "user", "quinn")
    refused = await api.post("/v1/users/quinn/plays", json=PLAY)
    assert (refused.status_code, refused.json()["detail"]) == (409, "This user may not enter setup-and-activation now: a run is open.")  # fmt: skip
    await db.execute("UPDATE runs SET status = 'closed', ended_at = now() WHERE lane = $1", person)
    again = await api.post("/v1/users/quinn/plays", json=PLAY)
    assert "the person has had a run before, and may enter once only" in again.json()["detail"]
    assert await db.fetchval("SELECT count(*) FROM events WHERE subject_key = $1 AND source = 'operator'", person) == 0


async def test_of_many_who_start_one_play_at_once_one_does(api):
    await published(api, "setup-and-activation")
    await api.post("/v1/identify", json={"userId": "rae", "traits": {}})
    answers = await asyncio.gather(*(api.post("/v1/users/rae/plays", json=PLAY) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 9


async def test_a_play_is_for_the_kind_of_subject_that_its_journey_is_about(api, db):
    await published(api, "renewal-readiness")
    await member(api, "sam", "sams")
    play = {**PLAY, "journey": "renewal-readiness"}
    assert (await api.post("/v1/users/sam/plays", json=play)).status_code == 422
    started = await api.post("/v1/accounts/sams/plays", json=play)
    assert (started.status_code, started.json()["subject"][:2]) == (201, "a_")
    assert (await api.post("/v1/users/sam/plays", json={**PLAY, "journey": "no-such"})).status_code == 404
    assert (await api.post("/v1/users/nobody-yet/plays", json=PLAY)).status_code == 404


async def test_a_play_of_a_journey_with_cases_names_its_case(api):
    await published(api, "urgent-support")
    await api.post("/v1/identify", json={"userId": "tess", "traits": {}})
    play = {**PLAY, "journey": "urgent-support"}
    refused = await api.post("/v1/users/tess/plays", json=play)
    assert refused.json()["detail"] == "This user may not enter urgent-support now: the event has no ticket_id."
    started = await api.post("/v1/users/tess/plays", json={**play, "data": {"ticket_id": "T-7"}})
    assert started.json()["case"] == "T-7"


async def test_only_an_operator_starts_a_play(sender, db):
    """From the front door a play is an event that no tracking plan knows: kept, and it opens nothing."""
    done = await sender.post(
        "/v1/track", json={"userId": "uma", "event": "play:setup-and-activation", "messageId": "uma"}
    )
    assert done.status_code == 200
    assert await db.fetchval("SELECT count(*) FROM quarantine WHERE message_id = 'uma'") == 1
