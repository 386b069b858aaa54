"""Reads of people, runs, messages and timelines, page by page; and run commands."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio

from tests.support.api import CATALOG

AT = datetime(2026, 5, 3, 10, tzinfo=UTC)


async def publish(api, key: str) -> Any:
    source = (CATALOG / "journeys" / f"{key}.yaml").read_bytes()
    answer = await api.put(f"/v1/journeys/{key}", content=source)
    assert answer.status_code in {200, 201}, answer.text
    return answer.json()


@pytest_asyncio.fixture(scope="module")
async def run(api, db, engine) -> Any:
    """A run of the person `ada/1`, with what its steps would have written."""
    await publish(api, "setup-and-activation")
    await api.post("/v1/users/ada%2F1/signals", json={"name": "signed_up", "id": "s-1"})
    await api.post("/v1/identify", json={"userId": "ada/1", "traits": {"plan": "team"}, "messageId": "i-1"})
    made = (await api.get("/v1/users/ada%2F1/journeys")).json()["items"][0]["id"]
    await db.executemany(
        "INSERT INTO timeline (run, step, n, at, kind, about, text) VALUES ($1, $2, $3, $4, 'acted', 'setup', $5)",
        [(made, step, n, AT + timedelta(days=step), f"line {step}.{n}") for step in range(1, 4) for n in range(2)],
    )
    person = await db.fetchval("SELECT subject_key FROM runs WHERE id = $1", made)
    for n, (status, reasons) in enumerate(
        [("sent", "[]"), ("withheld", '[{"code": "consent_withdrawn", "text": "they said no"}]'), ("deferred", "[]")]
    ):
        await db.execute(
            """INSERT INTO messages (key, run, step, subject_key, recipient, journey, state, visit, action, template, via,
                 priority, at, status, reasons, decided_at)
               VALUES ($1, $2, 1, $3, $3, 'setup-and-activation', 'setup', 1, 'a', 'setup/first-steps', '["email"]',
                 'lifecycle', $4, $5, $6, $4)""",
            f"message-{n}", made, person, AT, status, reasons,
        )  # fmt: skip
    await db.execute("UPDATE runs SET state = 'setting_up', step = 3 WHERE id = $1", made)
    engine.states[made] = {"run": made, "step": 4, "state": {"state": "activating"}}
    return made


async def pages(api, path: str, limit: int = 2) -> list[dict[str, Any]]:
    """Every item of a list, walked page by page; each page is full but the last."""
    items: list[dict[str, Any]] = []
    cursor = None
    while True:
        answer = await api.get(path, params={"limit": limit} | ({"cursor": cursor} if cursor else {}))
        assert answer.status_code == 200, answer.text
        page = answer.json()
        items += page["items"]
        cursor = page["next"]
        if cursor is None:
            return items
        assert len(page["items"]) == limit


async def test_a_person_is_found_by_user_id_and_by_key(api, run):
    by_id = (await api.get("/v1/users/ada%2F1")).json()
    by_key = (await api.get(f"/v1/users/{by_id['key']}")).json()
    assert by_id == by_key
    assert by_id["profile"] == {"plan": "team"}
    assert by_id["identities"] == [{"kind": "user_id", "value": "ada/1"}]


async def test_events_of_a_visitor_belong_to_the_user_they_become(api):
    await api.post("/v1/track", json={"anonymousId": "visitor-9", "event": "setup_completed", "messageId": "v-1"})
    await api.post("/v1/track", json={"userId": "known-9", "event": "setup_completed", "messageId": "v-2"})
    await api.post("/v1/identify", json={"userId": "known-9", "anonymousId": "visitor-9", "traits": {}})
    by_visitor = (await api.get("/v1/users/visitor-9")).json()
    assert by_visitor["key"] == (await api.get("/v1/users/known-9")).json()["key"]
    timeline = await pages(api, "/v1/users/known-9/timeline")
    assert [entry["about"] for entry in timeline].count("setup_completed") == 2


@pytest.mark.parametrize("written", [quote, lambda run: quote(run, safe="")], ids=["with slashes", "one segment"])
async def test_a_run_is_found_by_its_id_with_plain_or_encoded_slashes(api, run, written):
    answer = await api.get(f"/v1/runs/{written(run)}")
    assert answer.status_code == 200
    assert (answer.json()["id"], answer.json()["state"], answer.json()["version"]) == (run, "setting_up", 1)
    lines = await pages(api, f"/v1/runs/{written(run)}/timeline")
    assert [line["text"] for line in lines] == [f"line {step}.{n}" for step in range(1, 4) for n in range(2)]


async def test_a_consistent_read_queries_the_workflow(api, run, engine):
    row = (await api.get(f"/v1/runs/{quote(run, safe='')}")).json()
    consistent = (await api.get(f"/v1/runs/{quote(run, safe='')}", params={"consistent": "true"})).json()
    assert row["step"] == 3
    assert "live" not in row
    assert consistent["live"]["step"] == 4
    engine.up = False
    refused = await api.get(f"/v1/runs/{quote(run, safe='')}", params={"consistent": "true"})
    engine.up = True
    assert (refused.status_code, refused.json()["type"]) == (503, "urn:tenure:problem:engine-unavailable")


async def test_a_run_whose_case_has_a_slash_and_a_percent_sign_is_found(api, db):
    run_id = "journey/some/u_0/a%2Fb%2525/1"
    await db.execute(
        "INSERT INTO runs (id, journey, definition, subject_key, case_key, epoch, lane, entered_seq, started_at) "
        "VALUES ($1, 'some', 'none', 'u_0', 'a/b%25', 1, 'u_0', 1, now())",
        run_id,
    )
    run = (await api.get(f"/v1/runs/{quote(run_id, safe='')}")).json()
    assert (run["id"], run["case"]) == (run_id, "a/b%25")


async def test_messages_are_listed_with_their_reasons_and_filtered_by_status(api, run):
    everything = await pages(api, "/v1/users/ada%2F1/messages")
    assert [message["status"] for message in everything] == ["deferred", "withheld", "sent"]
    assert everything[1]["reasons"] == [{"code": "consent_withdrawn", "text": "they said no"}]
    withheld = (await api.get("/v1/messages", params={"status": "withheld", "run": run})).json()["items"]
    assert [message["key"] for message in withheld] == ["message-1"]
    assert (await api.get("/v1/messages", params={"status": "nonsense"})).status_code == 422


async def test_a_timeline_has_events_decisions_and_verdicts_in_order_of_time(api, run):
    whole = (await api.get("/v1/users/ada%2F1/timeline", params={"limit": 100})).json()["items"]
    assert whole == await pages(api, "/v1/users/ada%2F1/timeline")
    assert [entry["at"] for entry in whole] == sorted((entry["at"] for entry in whole), reverse=True)
    assert {entry["source"] for entry in whole} == {"event", "decision", "message"}
    assert "they said no" in next(entry["text"] for entry in whole if entry["kind"] == "withheld")


async def test_journeys_of_a_person_are_filtered_and_paged(api, run):
    assert [item["id"] for item in await pages(api, "/v1/users/ada%2F1/journeys", limit=1)] == [run]
    closed = (await api.get("/v1/users/ada%2F1/journeys", params={"status": "closed"})).json()
    assert closed == {"items": [], "next": None}


@pytest.mark.parametrize(
    "path",
    [
        "/v1/users/nobody",
        "/v1/users/%00",
        "/v1/users/nobody/journeys",
        "/v1/users/nobody/messages",
        "/v1/users/nobody/timeline",
        "/v1/users/nobody/inbox",
        "/v1/users/nobody/consents",
        "/v1/accounts/nobody",
        "/v1/accounts/nobody/journeys",
        "/v1/runs/journey%2Fx%2Fu_1%2F-%2F1",
        "/v1/runs/nonsense",
        "/v1/runs/%00",
        "/v1/runs/nonsense/timeline",
        "/v1/journeys/none",
        "/v1/journeys/none/versions",
        "/v1/journeys/none/diagram",
        "/v1/tasks/999999",
        "/v1/quarantine/999999",
        "/v1/clocks/none",
    ],
)
async def test_an_unknown_resource_gets_404(api, path):
    answer = await api.get(path)
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:tenure:problem:not-found")


@pytest.mark.parametrize("cursor", ["x", "bnVsbA", "WzFd", "WyJ4IiwieSJd", "WzEsMl0", "e30", "W251bGwsbnVsbF0", "%00"])
async def test_an_invalid_cursor_is_refused(api, run, cursor):
    refused = await api.get(f"/v1/users/ada%2F1/journeys?cursor={cursor}")
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/query/cursor"


@pytest.mark.parametrize("limit", ["0", "101", "x", "-1"])
async def test_a_limit_outside_one_to_a_hundred_is_refused(api, run, limit):
    assert (await api.get(f"/v1/tasks?limit={limit}")).status_code == 422


async def test_pause_resume_and_cancel_reach_the_run_with_who_and_why(api, run, engine):
    at = quote(run, safe="")
    for verb, body in (
        ("pause", {"by": "dana"}),
        ("resume", {"by": "dana", "mode": "expire"}),
        ("cancel", {"by": "dana", "reason": "a mistake"}),
    ):
        answer = await api.post(f"/v1/runs/{at}/{verb}", json=body)
        assert (answer.status_code, answer.json()["id"]) == (200, run)
        assert engine.commands[-1] == (run, verb, {**body, "by": "dana via operator"})
    assert (await api.post(f"/v1/runs/{at}/cancel", json={"by": "dana"})).status_code == 422
    assert (await api.post(f"/v1/runs/{at}/resume", json={"by": "dana", "mode": "x"})).status_code == 422
