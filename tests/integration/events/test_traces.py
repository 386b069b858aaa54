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
from tests.support.live_stack import LiveStack, live_stack

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
async def stack(database_url: str, temporal_address: str, task_queue: str, tmp_path: Path) -> AsyncIterator[LiveStack]:
    async with live_stack(database_url, temporal_address, task_queue, tmp_path) as stack:
        await stack.publish(JOURNEY)
        yield stack


@pytest_asyncio.fixture
async def api(stack: LiveStack, database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with client(application(database_url)) as made:
        known = {"userId": "ada", "messageId": "is", "traits": {"email": "ada@example.com", "first_name": "Ada"}}
        await made.post("/v1/identify", json=known)
        await made.post("/v1/track", json={"userId": "ada", "messageId": "in", "event": "signed_up"})
        await stack.until("SELECT state FROM runs", lambda state: state == "waiting")
        yield made


async def track(api: httpx.AsyncClient, event: str, message_id: str, **headers: str) -> httpx.Response:
    return await api.post("/v1/track", json={"userId": "ada", "messageId": message_id, "event": event}, headers=headers)


async def sent(stack: LiveStack, action: str) -> Any:
    await stack.until("SELECT count(*) FROM messages WHERE status = 'sent' AND action = :action", action=action)
    return (await stack.rows("SELECT * FROM messages WHERE action = :action", action=action))[0]


def mail_trace(stack: LiveStack) -> list[str]:
    mails = [path.read_text() for path in (stack.mail.folder / "new").iterdir()]
    return [match[1] for mail in mails if (match := re.search(r"^X-Tenure-Trace: (\S+)\r?$", mail, re.MULTILINE))]


async def test_the_response_the_log_the_message_the_mail_and_the_feed_have_one_trace(
    stack: LiveStack, api: httpx.AsyncClient
) -> None:
    with structlog.testing.capture_logs([structlog.contextvars.merge_contextvars]) as logs:
        trace = (await track(api, "setup_completed", "e1")).headers["x-tenure-trace"]
        message = await sent(stack, "send:education/first-value")
    assert mail_trace(stack) == [trace]
    assert {line["event"] for line in logs if line.get("trace") == trace} >= {"gate.decided", "delivery.attempted"}
    trace_report = (await api.get(f"/v1/traces/{trace}")).json()
    assert [(event["name"], event["message_id"], event["id"]) for event in trace_report["events"]] == [
        ("setup_completed", "e1", event_of_trace(trace))
    ]
    assert {line["kind"] for line in trace_report["lines"]} >= {"gate"}
    assert [(shown["id"], shown["status"]) for shown in trace_report["messages"]] == [(message["id"], "sent")]
    assert [(line["type"], line["trace"]) for line in trace_report["feed"]] == [
        ("decision", trace),
        ("delivery", trace),
    ]
    why = (await api.get(f"/v1/messages/{message['id']}/why")).json()
    assert why["message"]["trace"] == trace
    assert {line["trace"] for line in why["decided"]} == {trace}


async def test_a_senders_trace_is_carried_to_everything_that_its_event_causes(
    stack: LiveStack, api: httpx.AsyncClient
) -> None:
    """The journey emits a signal, the signal sends a message, and the message's outcome sends another."""
    taken = await track(api, "champion_left", "e1", traceparent=PARENT)
    assert taken.headers["x-tenure-trace"] == TRACE
    await sent(stack, "send:setup/checklist")
    trace_report = (await api.get(f"/v1/traces/{TRACE}")).json()
    assert [event["name"] for event in trace_report["events"]] == ["champion_left", "habit_begun"]
    assert [shown["template"] for shown in trace_report["messages"]] == ["setup/first-steps", "setup/checklist"]


async def test_a_repeated_event_is_answered_with_its_first_trace(stack: LiveStack, api: httpx.AsyncClient) -> None:
    first = await track(api, "setup_completed", "e1")
    again = await track(api, "setup_completed", "e1", traceparent=PARENT)
    assert again.headers["x-tenure-trace"] == first.headers["x-tenure-trace"] != TRACE
    given = await track(api, "setup_completed", "e2", traceparent=PARENT)
    assert (await track(api, "setup_completed", "e2")).headers["x-tenure-trace"] == given.headers["x-tenure-trace"]


async def test_a_batch_has_its_senders_trace_or_one_trace_per_event(stack: LiveStack, api: httpx.AsyncClient) -> None:
    events = [{"type": "track", "userId": "ada", "messageId": f"b{n}", "event": "setup_completed"} for n in range(2)]
    assert "x-tenure-trace" not in (await api.post("/v1/batch", json={"batch": events})).headers
    for n in range(2):
        (event_trace,) = (await api.get("/v1/traces", params={"message_id": f"b{n}"})).json()["items"]
        assert event_of_trace(event_trace["trace"]) == event_trace["id"]
    others = [{**event, "messageId": f"c{n}"} for n, event in enumerate(events)]
    assert (await api.post("/v1/batch", json={"batch": others}, headers={"traceparent": PARENT})).headers[
        "x-tenure-trace"
    ] == TRACE
    event_trace = (await api.get(f"/v1/traces/{TRACE}")).json()
    assert [event["message_id"] for event in event_trace["events"]] == ["c0", "c1"]


async def test_a_direct_signal_is_answered_with_its_trace(stack: LiveStack, api: httpx.AsyncClient) -> None:
    taken = (await api.post("/v1/users/ada/signals", json={"name": "setup_completed"})).json()
    message = await sent(stack, "send:education/first-value")
    assert message["trace"].hex == taken["trace"]
    own = await api.post("/v1/users/ada/signals", json={"name": "setup_completed"}, headers={"traceparent": PARENT})
    assert own.json()["trace"] == TRACE


async def test_the_trace_of_an_account_signal_is_on_the_messages_of_its_members(
    stack: LiveStack, api: httpx.AsyncClient
) -> None:
    """The run reads two lanes: the trace is that of the account's row, although the user's lane has moved before."""
    await api.post("/v1/group", json={"userId": "ada", "messageId": "g", "groupId": "acme", "traits": {"plan": "team"}})
    await track(api, "pricing_viewed", "e0")
    taken = (await api.post("/v1/accounts/acme/signals", json={"name": "setup_completed"})).json()
    message = await sent(stack, "send:education/first-value")
    assert message["trace"].hex == taken["trace"]
    assert mail_trace(stack) == [taken["trace"]]


async def test_a_message_sent_by_a_timer_has_the_trace_of_its_step(stack: LiveStack, api: httpx.AsyncClient) -> None:
    event = (await track(api, "activated", "e1")).headers["x-tenure-trace"]
    message = await sent(stack, "by-time")
    trace = trace_of_step(message["run"], message["step"])
    assert message["trace"].hex == trace
    trace_report = (await api.get(f"/v1/traces/{trace}")).json()
    assert (trace_report["events"], [shown["action"] for shown in trace_report["messages"]]) == ([], ["by-time"])
    moved = (await api.get(f"/v1/traces/{event}")).json()
    assert any(line["kind"] == "moved" for line in moved["lines"]), (
        "a decision that sends nothing has the trace of its event"
    )
    assert moved["messages"] == []


async def test_an_unknown_trace_gets_404(stack: LiveStack, api: httpx.AsyncClient) -> None:
    taken = (await track(api, "setup_completed", "e1")).headers["x-tenure-trace"]
    for trace in (TRACE, "0" * 32, f"{taken[:16]}{'a' * 16}"):
        assert (await api.get(f"/v1/traces/{trace}")).status_code == 404
