"""One trace id from the POST of an event to the mail in the sink, and back."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest_asyncio
import structlog

from journeys.events.tracing import event_of_trace, trace_of_step
from tests.support.api import application, client
from tests.support.live_stack import Living, living

JOURNEY = """
journey: welcome
entry: {on: signed_up, again: never}
exit: [{on: account_closed}]
topic: onboarding
start: waiting
states:
  waiting:
    on:
      setup_completed: {do: [{send: education/first-value, via: [email]}]}
      champion_left: {do: [{emit: habit_begun}]}
      habit_begun: {do: [{send: setup/first-steps, via: [in_app], name: tip}]}
      tip.sent: {do: [{send: setup/checklist, via: [in_app]}]}
      activated: later
  later:
    after: {PT1S: {do: [{send: setup/first-steps, via: [in_app], name: by-time}]}}
"""
PARENT, TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest_asyncio.fixture
async def deps(database_url: str, temporal_address: str, task_queue: str, tmp_path: Path) -> AsyncIterator[Living]:
    async with living(database_url, temporal_address, task_queue, tmp_path) as found:
        await found.publish(JOURNEY)
        yield found


@pytest_asyncio.fixture
async def api(deps: Living, database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with client(application(database_url)) as made:
        known = {"userId": "ada", "messageId": "is", "traits": {"email": "ada@example.com", "first_name": "Ada"}}
        await made.post("/v1/identify", json=known)
        await made.post("/v1/track", json={"userId": "ada", "messageId": "in", "event": "signed_up"})
        await deps.until("SELECT state FROM runs", lambda state: state == "waiting")
        yield made


async def track(api: httpx.AsyncClient, event: str, message_id: str, **headers: str) -> httpx.Response:
    return await api.post("/v1/track", json={"userId": "ada", "messageId": message_id, "event": event}, headers=headers)


async def sent(deps: Living, action: str) -> Any:
    await deps.until("SELECT count(*) FROM messages WHERE status = 'sent' AND action = :action", action=action)
    return (await deps.rows("SELECT * FROM messages WHERE action = :action", action=action))[0]


def mail_trace(deps: Living) -> list[str]:
    mails = [path.read_text() for path in (deps.mail.folder / "new").iterdir()]
    return [found[1] for mail in mails if (found := re.search(r"^X-Tenure-Trace: (\S+)\r?$", mail, re.MULTILINE))]


async def test_the_acceptance_the_log_the_message_the_mail_and_the_feed_have_one_trace(
    deps: Living, api: httpx.AsyncClient
) -> None:
    with structlog.testing.capture_logs([structlog.contextvars.merge_contextvars]) as logs:
        trace = (await track(api, "setup_completed", "e1")).headers["x-tenure-trace"]
        message = await sent(deps, "send:education/first-value")
    assert mail_trace(deps) == [trace]
    assert {line["event"] for line in logs if line.get("trace") == trace} >= {"gate.decided", "delivery.attempted"}
    found = (await api.get(f"/v1/traces/{trace}")).json()
    assert [(event["name"], event["message_id"], event["id"]) for event in found["events"]] == [
        ("setup_completed", "e1", event_of_trace(trace))
    ]
    assert {line["kind"] for line in found["lines"]} >= {"gate"}
    assert [(each["id"], each["status"]) for each in found["messages"]] == [(message["id"], "sent")]
    assert [(line["type"], line["trace"]) for line in found["feed"]] == [("decision", trace), ("delivery", trace)]
    why = (await api.get(f"/v1/messages/{message['id']}/why")).json()
    assert why["message"]["trace"] == trace
    assert {line["trace"] for line in why["decided"]} == {trace}


async def test_a_senders_own_trace_goes_along_through_what_its_event_causes(
    deps: Living, api: httpx.AsyncClient
) -> None:
    """The journey emits a signal, the signal sends a message, and the message's outcome sends another."""
    taken = await track(api, "champion_left", "e1", traceparent=PARENT)
    assert taken.headers["x-tenure-trace"] == TRACE
    await sent(deps, "send:setup/checklist")
    found = (await api.get(f"/v1/traces/{TRACE}")).json()
    assert [event["name"] for event in found["events"]] == ["champion_left", "habit_begun"]
    assert [each["template"] for each in found["messages"]] == ["setup/first-steps", "setup/checklist"]


async def test_an_event_sent_again_answers_with_the_trace_it_had(deps: Living, api: httpx.AsyncClient) -> None:
    first = await track(api, "setup_completed", "e1")
    again = await track(api, "setup_completed", "e1", traceparent=PARENT)
    assert again.headers["x-tenure-trace"] == first.headers["x-tenure-trace"] != TRACE
    given = await track(api, "setup_completed", "e2", traceparent=PARENT)
    assert (await track(api, "setup_completed", "e2")).headers["x-tenure-trace"] == given.headers["x-tenure-trace"]


async def test_a_batch_is_one_trace_where_its_sender_has_one_and_else_each_event_its_own(
    deps: Living, api: httpx.AsyncClient
) -> None:
    events = [{"type": "track", "userId": "ada", "messageId": f"b{n}", "event": "setup_completed"} for n in range(2)]
    assert "x-tenure-trace" not in (await api.post("/v1/batch", json={"batch": events})).headers
    for n in range(2):
        (found,) = (await api.get("/v1/traces", params={"message_id": f"b{n}"})).json()["items"]
        assert event_of_trace(found["trace"]) == found["id"]
    others = [{**event, "messageId": f"c{n}"} for n, event in enumerate(events)]
    assert (await api.post("/v1/batch", json={"batch": others}, headers={"traceparent": PARENT})).headers[
        "x-tenure-trace"
    ] == TRACE
    found = (await api.get(f"/v1/traces/{TRACE}")).json()
    assert [event["message_id"] for event in found["events"]] == ["c0", "c1"]


async def test_a_direct_signal_answers_with_its_trace(deps: Living, api: httpx.AsyncClient) -> None:
    taken = (await api.post("/v1/users/ada/signals", json={"name": "setup_completed"})).json()
    message = await sent(deps, "send:education/first-value")
    assert message["trace"].hex == taken["trace"]
    own = await api.post("/v1/users/ada/signals", json={"name": "setup_completed"}, headers={"traceparent": PARENT})
    assert own.json()["trace"] == TRACE


async def test_an_accounts_signal_goes_along_to_what_its_members_get(deps: Living, api: httpx.AsyncClient) -> None:
    """A run that reads two lanes: what it was decided on is the account's row, though its own lane has moved before."""
    await api.post("/v1/group", json={"userId": "ada", "messageId": "g", "groupId": "acme", "traits": {"plan": "team"}})
    await track(api, "pricing_viewed", "e0")
    taken = (await api.post("/v1/accounts/acme/signals", json={"name": "setup_completed"})).json()
    message = await sent(deps, "send:education/first-value")
    assert message["trace"].hex == taken["trace"]
    assert mail_trace(deps) == [taken["trace"]]


async def test_what_a_timer_sends_has_a_trace_of_its_step(deps: Living, api: httpx.AsyncClient) -> None:
    event = (await track(api, "activated", "e1")).headers["x-tenure-trace"]
    message = await sent(deps, "by-time")
    trace = trace_of_step(message["run"], message["step"])
    assert message["trace"].hex == trace
    found = (await api.get(f"/v1/traces/{trace}")).json()
    assert (found["events"], [each["action"] for each in found["messages"]]) == ([], ["by-time"])
    moved = (await api.get(f"/v1/traces/{event}")).json()
    assert any(line["kind"] == "moved" for line in moved["lines"]), "what sends nothing is on the event's way too"
    assert moved["messages"] == []


async def test_a_trace_that_nobody_has_is_not_found(deps: Living, api: httpx.AsyncClient) -> None:
    taken = (await track(api, "setup_completed", "e1")).headers["x-tenure-trace"]
    for trace in (TRACE, "0" * 32, f"{taken[:16]}{'a' * 16}"):
        assert (await api.get(f"/v1/traces/{trace}")).status_code == 404
