"""A reply pauses the journey's messages and opens a task; closing the conversation resumes them.

Real runs and a mail in a real sink, answered by a mail of the standard library that is posted to the API.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage, Message
from email.utils import make_msgid
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import yaml

from activities.content.templates import load_templates, template_infos
from activities.gate.dry_run import dry_run
from activities.preview import ContentPreview
from api.app import build_app
from api.http.auth import BootstrapKeys
from api.parts import Parts
from journeys.events.inbound import InboundEvent
from store.reads.tasks import list_tasks
from store.tasks.escalation import escalate_late
from tests.support.api import OPERATE, FakeRunCommands
from tests.support.live_stack import LiveStack, live_stack
from worker.catalogue.check import check_catalogue
from worker.composition.catalog import consent_rules, policy, roster, tracking_plan
from worker.composition.clients import payload_codec
from worker.loops.escalations import escalate_answers
from worker.settings import ROOT

TEAM = """
zone: Europe/Berlin
hours: {mon-sun: "00:00-24:00"}
owner: csm
remind: PT30M
people:
  dana: {team: customer-success, known_as: [dana@example.com]}
  erin: {team: leads, zone: America/New_York, hours: {mon-fri: "09:00-17:00"}}
teams: {customer-success: {by: owner}, leads: {by: load}}
"""
POLICY = {
    "consent": [{"default": "granted"}],
    "cooldowns": [{"name": "mails", "channel": "email", "between": "P1D"}],
    "answered": {"within": "PT4H", "escalate": ["leads", "head-of-success"]},
}
TALK = """
journey: talk
entry: {on: signed_up, again: never}
exit: [{on: account_closed}]
topic: onboarding
start: inside
states:
  inside:
    do: [{send: education/first-value, name: first, via: [email]}]
    on:
      setup_completed: {do: [{send: education/first-value, name: second, via: [email]}]}
      pricing_viewed: {do: [{send: education/first-value, name: third, via: [in_app]}]}
      payment_failed: {do: [{send: education/first-value, name: pressing, via: [in_app], priority: transactional}]}
      conversation_closed: {do: [{send: education/first-value, name: fourth, via: [in_app]}]}
"""
OTHER = """
journey: other
entry: {on: pricing_viewed, again: never}
exit: [{on: account_closed}]
topic: offers
start: inside
states: {inside: {do: [{send: education/first-value, name: aside, via: [in_app]}]}}
"""


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    folder = tmp_path / "catalog"
    shutil.copytree(ROOT / "catalog", folder)
    (folder / "policy.yaml").write_text(yaml.safe_dump(POLICY))
    (folder / "team.yaml").write_text(TEAM)
    (folder / "consent.yaml").unlink()
    return folder


@pytest_asyncio.fixture
async def stack(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path, catalog: Path, monkeypatch
) -> AsyncIterator[LiveStack]:
    monkeypatch.setenv("TENURE_REPLY_ADDRESS", "replies@in.example.com")
    async with live_stack(database_url, temporal_address, task_queue, tmp_path, catalog=catalog) as stack:
        await stack.accept(stack.identify("ada", email="ada@example.com", first_name="Ada"))
        yield stack


@pytest_asyncio.fixture
async def api(stack: LiveStack, catalog: Path) -> AsyncIterator[httpx.AsyncClient]:
    """The API over the same database."""

    async def asking(*asked: Any) -> Any:
        return await dry_run(stack.deps, *asked)

    parts = Parts(
        database=stack.database,
        engine=FakeRunCommands(),
        codec=payload_codec(stack.settings),
        keys=BootstrapKeys(write="w", operator=OPERATE),
        plan=tracking_plan(stack.settings.catalog),
        policy=policy(catalog),
        consent=consent_rules(stack.settings),
        templates=lambda: template_infos(catalog / "templates"),
        check_catalogue=check_catalogue,
        desk=ContentPreview(templates=lambda: load_templates(catalog / "templates")),
        dry_run=asking,
        roster=roster(catalog),
        replies=stack.settings.replies,
    )
    transport = httpx.ASGITransport(build_app(parts))
    async with httpx.AsyncClient(transport=transport, base_url="http://api", auth=(OPERATE, "")) as made:
        yield made


async def first_mail(stack: LiveStack) -> Message:
    await stack.until("SELECT count(*) FROM messages WHERE action = 'first' AND status = 'sent'")
    (path,) = list((stack.settings.smtp_lookup or Path()).glob("new/*"))
    return message_from_bytes(path.read_bytes())


def reply(to: str, answers: str | None = None, **headers: str) -> bytes:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "Ada <ada@example.com>", to, "Re: hello"
    mail["Message-ID"] = headers.pop("identity", make_msgid(domain="example.com"))
    if answers is not None:
        mail["In-Reply-To"], mail["References"] = answers, f"<older@example.com> {answers}"
    for name, value in headers.items():
        mail[name.replace("_", "-")] = value
    mail.set_content("Could you call me?\n\nOn Sunday Tenure wrote:\n> Hello Ada\n")
    return mail.as_bytes()


async def post(api: httpx.AsyncClient, raw: bytes) -> int:
    answer = await api.post("/v1/inbound-mails", content=raw, headers={"Content-Type": "message/rfc822"})
    assert answer.status_code == 202, answer.text
    return int(answer.json()["taken"])


async def status_of(stack: LiveStack, action: str) -> tuple[str, str]:
    status = await stack.until(
        "SELECT status FROM messages WHERE action = :action AND status <> 'sending'", action=action
    )
    rows = await stack.rows("SELECT reasons->0->>'code' AS code FROM messages WHERE action = :action", action=action)
    return status, rows[0]["code"] or ""


def of_account(user: str, **traits: str) -> InboundEvent:
    return InboundEvent("group", f"g-{user}", "group", user_id=user, account_id="acme", traits=traits)


@pytest.mark.parametrize("way", ["our address", "message id"])
async def test_a_reply_pauses_the_journeys_messages_until_the_manager_closes_the_conversation(stack, api, way):
    await stack.publish(TALK)
    await stack.publish(OTHER)
    await stack.accept(of_account("ada", csm="dana@example.com"), stack.track("ada", "signed_up"))
    mail = await first_mail(stack)
    await stack.accept(stack.track("ada", "setup_completed"))
    await stack.until("SELECT count(*) FROM messages WHERE action = 'second' AND status = 'deferred'")
    raw = reply(str(mail["Reply-To"]) if way == "our address" else "hello@tenure.example",
                None if way == "our address" else str(mail["Message-ID"]))  # fmt: skip
    assert await post(api, raw) == 1
    assert await status_of(stack, "second") == ("withdrawn", "in_conversation")
    assert await post(api, raw) == 1  # the same mail is the same event
    (task,) = await tasks_of(stack)
    assert (task["task"], task["owner"], task["data"]["text"]) == ("reply", "dana", "Could you call me?")

    await stack.accept(stack.track("ada", "pricing_viewed"), stack.track("ada", "payment_failed"))
    assert await status_of(stack, "third") == ("withheld", "in_conversation")
    assert (await status_of(stack, "aside"))[0] == "sent"  # of another journey
    assert (await status_of(stack, "pressing"))[0] == "sent"

    (conversation,) = (await api.get("/v1/conversations", params={"user": "ada", "standing": True})).json()["items"]
    assert (conversation["journey"], conversation["owner"], conversation["replies"]) == ("talk", "dana", 1)
    answer = (await api.get("/v1/users/ada/why-not", params={"template": "education/first-value"})).json()
    named = [obstacle for obstacle in answer["obstacles"] if obstacle["change"]["kind"] == "close_conversation"]
    assert named
    assert datetime.fromisoformat(named[0]["since"]) == datetime.fromisoformat(conversation["opened_at"])

    closed = await api.post(f"/v1/conversations/{conversation['id']}/close", json={"by": "dana"})
    assert closed.json()["closed_by"] == "dana via operator"
    assert (await status_of(stack, "fourth"))[0] == "sent"  # the journey receives it and may send again
    (task,) = await tasks_of(stack)
    assert (task["status"], task["resolution"]) == ("closed", "answered")
    closed_events = await stack.rows("SELECT count(*) AS n FROM events WHERE name = 'conversation_closed'")
    assert closed_events[0]["n"] == 1


async def tasks_of(stack: LiveStack) -> list[dict[str, Any]]:
    async with stack.database.reading() as connection:
        return list(await list_tasks(connection, now=datetime.now(UTC), limit=10))


async def test_a_reply_without_a_manager_goes_to_the_template_owner_and_closes_with_its_task(stack, api):
    await stack.publish(TALK)
    await stack.accept(stack.track("ada", "signed_up"))
    mail = await first_mail(stack)
    assert await post(api, reply(str(mail["Reply-To"]))) == 1
    assert await post(api, reply(str(mail["Reply-To"]))) == 1
    (task,) = await tasks_of(stack)
    assert task["owner"] == "lifecycle-team"
    (conversation,) = (await api.get("/v1/conversations")).json()["items"]
    assert (conversation["replies"], conversation["task_id"]) == (2, task["id"])
    await api.post(f"/v1/tasks/{task['id']}/close", json={"resolution": "called", "by": "dana"})
    (conversation,) = (await api.get("/v1/conversations", params={"standing": False})).json()["items"]
    assert conversation["closed_by"] == "dana via operator"


async def task_of_reply(stack: LiveStack, api: httpx.AsyncClient) -> dict[str, Any]:
    """Let Ada reply to a mail; the task, which is assigned to dana."""
    await stack.publish(TALK)
    await stack.accept(of_account("ada", csm="dana@example.com"), stack.track("ada", "signed_up"))
    mail = await first_mail(stack)
    await post(api, reply(str(mail["Reply-To"])))
    (task,) = await tasks_of(stack)
    return task


async def escalated_task(stack: LiveStack, number: int) -> dict[str, Any]:
    """Run two escalation loops until the task is escalated; the task."""
    stop, rule, team = asyncio.Event(), stack.deps.policy.answered, stack.deps.roster
    looking = [asyncio.create_task(escalate_answers(stack.database, rule, team, stop, 0.1)) for _ in range(2)]
    await stack.until("SELECT level FROM tasks WHERE id = :id", id=number)
    stop.set()
    await asyncio.gather(*looking)
    (task,) = await tasks_of(stack)
    return task


async def test_C10_a_reply_has_a_deadline_in_its_owners_working_hours_and_a_reminder(stack, api):
    task = await task_of_reply(stack, api)
    assert (task["owner"], task["within"]) == ("dana", "PT4H")
    assert task["due_at"] == task["opened_at"] + timedelta(hours=4)
    assert task["remind_at"] == task["due_at"] - timedelta(minutes=30)


async def test_C10_an_overdue_reply_is_escalated_once_with_a_deadline_in_the_next_owners_hours(stack, api):
    task = await task_of_reply(stack, api)
    await stack.accept(stack.track("ada", "account_closed"))
    await stack.until("SELECT status FROM runs", lambda status: status == "closed")  # so no timer of the run can fire
    async with stack.database.transaction() as connection:
        await connection.execute("UPDATE tasks SET due_at = now() - interval '1 second'")
    late = await escalated_task(stack, task["id"])
    assert (late["owner"], late["team"], late["level"]) == ("erin", "leads", 1)
    log = await stack.rows("SELECT at, kind, text FROM task_log ORDER BY id")
    assert [line["kind"] for line in log] == ["opened", "escalated"]
    assert log[1]["text"].startswith("overdue with dana, so it goes to erin")
    assert late["due_at"] == stack.deps.roster.due("erin", log[1]["at"], "PT4H")


async def test_a_reply_is_not_escalated_before_its_deadline_or_beyond_the_last_owner(stack, api):
    task = await task_of_reply(stack, api)
    rule, team = stack.deps.policy.answered, stack.deps.roster
    assert await escalate_late(stack.database, rule.escalate, team, datetime.now(UTC)) == 0
    for level in (1, 2):
        async with stack.database.transaction() as connection:
            await connection.execute("UPDATE tasks SET due_at = now() - interval '1 second'")
        assert await escalate_late(stack.database, rule.escalate, team, datetime.now(UTC)) == 1
        (task,) = await tasks_of(stack)
        assert task["level"] == level
    assert task["owner"] == "head-of-success"
    async with stack.database.transaction() as connection:
        await connection.execute("UPDATE tasks SET due_at = now() - interval '1 second'")
    assert await escalate_late(stack.database, rule.escalate, team, datetime.now(UTC)) == 0
    (task,) = await tasks_of(stack)
    assert task["overdue"]


async def test_a_further_reply_is_noted_in_the_log_of_the_task(stack, api):
    await task_of_reply(stack, api)
    number = str((await stack.rows("SELECT id FROM messages WHERE action = 'first'"))[0]["id"])
    await stack.accept(stack.track("ada", "message_replied", message=number, text="It is urgent now."))
    log = await stack.rows("SELECT kind, text FROM task_log ORDER BY id")
    assert [line["kind"] for line in log] == ["opened", "noted"]
    assert log[1]["text"] == "the person has written again: It is urgent now."


async def test_a_conversation_closes_by_itself_some_time_after_the_last_reply(stack, api):
    await stack.publish(TALK)
    await stack.accept(stack.track("ada", "signed_up"))
    mail = await first_mail(stack)
    await post(api, reply(str(mail["Reply-To"])))
    async with stack.database.transaction() as connection:
        await connection.execute("UPDATE conversations SET until = now() - interval '1 second'")
    await stack.accept(stack.track("ada", "pricing_viewed"))
    assert (await status_of(stack, "third"))[0] == "sent"
    await post(api, reply(str(mail["Reply-To"])))  # a new reply begins another conversation
    conversations = (await api.get("/v1/conversations")).json()["items"]
    assert [conversation["closed_by"] for conversation in conversations] == [None, "time"]


@pytest.mark.parametrize("kind", ["out of office", "a bounce", "a forged mark", "of nobody", "no mail"])
async def test_automatic_and_unrelated_mails_begin_no_conversation(stack, api, kind):
    await stack.publish(TALK)
    await stack.accept(stack.track("ada", "signed_up"))
    mail = await first_mail(stack)
    to = str(mail["Reply-To"])
    mark = to.index("+") + 5
    forged = to[:mark] + ("a" if to[mark] != "a" else "b") + to[mark + 1 :]
    if kind == "no mail":
        answer = await api.post("/v1/inbound-mails", content=b"\r\n\r\n")
        assert answer.status_code == 202  # kept for a person to read
        assert await stack.rows("SELECT 1 FROM conversations") == []
        return
    raw = {
        "out of office": reply(to, Auto_Submitted="auto-replied (vacation)"),
        "a bounce": reply(to, Return_Path="<>"),
        "a forged mark": reply(forged),
        "of nobody": reply("hello@tenure.example", "<nobody-knows@tenure.example>"),
    }[kind]
    assert await post(api, raw) == 0
    assert await stack.rows("SELECT 1 FROM conversations") == []
    assert await stack.rows("SELECT 1 FROM events WHERE name = 'message_replied'") == []


async def test_C5_a_stop_word_opts_out_and_begins_no_conversation(stack):
    await stack.publish(TALK)
    await stack.accept(stack.track("ada", "signed_up"))
    await first_mail(stack)
    number = str((await stack.rows("SELECT id FROM messages"))[0]["id"])
    await stack.accept(stack.track("ada", "message_replied", message=number, text="Stop!"))
    assert await stack.rows("SELECT 1 FROM conversations") == []
    (opt_out,) = await stack.rows("SELECT channel, topic, granted FROM consents")
    assert (opt_out["channel"], opt_out["topic"], opt_out["granted"]) == ("email", "*", False)
    await stack.accept(stack.track("ada", "message_replied", message=number, text="Please stop by on Monday"))
    assert len(await stack.rows("SELECT 1 FROM conversations")) == 1


async def test_an_sms_reply_begins_a_conversation_and_a_stop_word_does_not(stack, api):
    await stack.publish(TALK)
    await stack.accept(stack.track("ada", "signed_up"))
    await first_mail(stack)
    async with stack.database.transaction() as connection:
        await connection.execute("UPDATE messages SET channel = 'sms', address = '+436641234567'")
    for number, (text, wish) in enumerate((("STOP", "stop"), ("Who is this?", None))):
        body = {"phone": "+43 664 1234567", "text": text, "id": f"SM{number}"}
        answer = await api.post("/v1/inbound-texts", json=body)
        assert answer.json()["wish"] == wish, answer.text
        assert len(await stack.rows("SELECT 1 FROM conversations")) == number
    (task,) = await tasks_of(stack)
    assert (task["data"]["channel"], task["data"]["text"]) == ("sms", "Who is this?")
