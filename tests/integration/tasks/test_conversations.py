"""An answer stops automation for that conversation, reaches the owner, and lets the journey go on once a person has closed it.

Real runs, a real mail in a real sink, answered by a mail of the standard library's making that comes in at the API.
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
from api.app import Parts, build_app
from api.http.auth import ApiKeys
from journeys.events.inbound import InboundEvent
from store.reads.tasks import list_tasks
from store.tasks.escalation import escalate_late
from tests.support.api import OPERATE, HandEngine
from tests.support.live_stack import Living, living
from worker.composition.catalog import consent_rules, policy, roster, tracking_plan
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
async def deps(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path, catalog: Path, monkeypatch
) -> AsyncIterator[Living]:
    monkeypatch.setenv("TENURE_REPLY_ADDRESS", "replies@in.example.com")
    async with living(database_url, temporal_address, task_queue, tmp_path, catalog=catalog) as found:
        await found.accept(found.identify("ada", email="ada@example.com", first_name="Ada"))
        yield found


@pytest_asyncio.fixture
async def api(deps: Living, catalog: Path) -> AsyncIterator[httpx.AsyncClient]:
    """The API over the same database, as another process has it."""

    async def asking(*asked: Any) -> Any:
        return await dry_run(deps.deps, *asked)

    parts = Parts(
        database=deps.database,
        engine=HandEngine(),
        keys=ApiKeys(write="w", operator=OPERATE),
        plan=tracking_plan(deps.settings.catalog),
        policy=policy(catalog),
        consent=consent_rules(deps.settings),
        templates=lambda: template_infos(catalog / "templates"),
        desk=ContentPreview(templates=lambda: load_templates(catalog / "templates")),
        dry_run=asking,
        roster=roster(catalog),
        replies=deps.settings.replies,
    )
    transport = httpx.ASGITransport(build_app(parts))
    async with httpx.AsyncClient(transport=transport, base_url="http://api", auth=(OPERATE, "")) as made:
        yield made


async def first_mail(deps: Living) -> Message:
    await deps.until("SELECT count(*) FROM messages WHERE action = 'first' AND status = 'sent'")
    (path,) = list((deps.settings.smtp_lookup or Path()).glob("new/*"))
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


async def status_of(deps: Living, action: str) -> tuple[str, str]:
    status = await deps.until(
        "SELECT status FROM messages WHERE action = :action AND status <> 'sending'", action=action
    )
    found = await deps.rows("SELECT reasons->0->>'code' AS code FROM messages WHERE action = :action", action=action)
    return status, found[0]["code"] or ""


def of_account(user: str, **traits: str) -> InboundEvent:
    return InboundEvent("group", f"g-{user}", "group", user_id=user, account_id="acme", traits=traits)


@pytest.mark.parametrize("way", ["our address", "message id"])
async def test_an_answer_stops_its_journey_for_them_reaches_their_manager_and_closing_lets_it_go_on(deps, api, way):
    await deps.publish(TALK)
    await deps.publish(OTHER)
    await deps.accept(of_account("ada", csm="dana@example.com"), deps.track("ada", "signed_up"))
    mail = await first_mail(deps)
    await deps.accept(deps.track("ada", "setup_completed"))
    await deps.until("SELECT count(*) FROM messages WHERE action = 'second' AND status = 'deferred'")
    raw = reply(str(mail["Reply-To"]) if way == "our address" else "hello@tenure.example",
                None if way == "our address" else str(mail["Message-ID"]))  # fmt: skip
    assert await post(api, raw) == 1
    assert await status_of(deps, "second") == ("withdrawn", "in_conversation")
    assert await post(api, raw) == 1  # the same mail again is the same event
    (task,) = await tasks_of(deps)
    assert (task["task"], task["owner"], task["data"]["text"]) == ("reply", "dana", "Could you call me?")

    await deps.accept(deps.track("ada", "pricing_viewed"), deps.track("ada", "payment_failed"))
    assert await status_of(deps, "third") == ("withheld", "in_conversation")
    assert (await status_of(deps, "aside"))[0] == "sent"  # of another journey
    assert (await status_of(deps, "pressing"))[0] == "sent"

    (talk,) = (await api.get("/v1/conversations", params={"user": "ada", "standing": True})).json()["items"]
    assert (talk["journey"], talk["owner"], talk["replies"]) == ("talk", "dana", 1)
    asked = (await api.get("/v1/users/ada/why-not", params={"template": "education/first-value"})).json()
    named = [each for each in asked["obstacles"] if each["change"]["kind"] == "close_conversation"]
    assert named
    assert datetime.fromisoformat(named[0]["since"]) == datetime.fromisoformat(talk["opened_at"])

    closed = await api.post(f"/v1/conversations/{talk['id']}/close", json={"by": "dana"})
    assert closed.json()["closed_by"] == "dana"
    assert (await status_of(deps, "fourth"))[0] == "sent"  # its journey hears of it, and may speak again
    (task,) = await tasks_of(deps)
    assert (task["status"], task["resolution"]) == ("closed", "answered")
    heard = await deps.rows("SELECT count(*) AS n FROM events WHERE name = 'conversation_closed'")
    assert heard[0]["n"] == 1


async def tasks_of(deps: Living) -> list[dict[str, Any]]:
    async with deps.database.reading() as connection:
        return list(await list_tasks(connection, now=datetime.now(UTC), limit=10))


async def test_without_a_manager_the_templates_owner_answers_and_closing_the_task_closes_the_conversation(deps, api):
    await deps.publish(TALK)
    await deps.accept(deps.track("ada", "signed_up"))
    mail = await first_mail(deps)
    assert await post(api, reply(str(mail["Reply-To"]))) == 1
    assert await post(api, reply(str(mail["Reply-To"]))) == 1
    (task,) = await tasks_of(deps)
    assert task["owner"] == "lifecycle-team"
    (talk,) = (await api.get("/v1/conversations")).json()["items"]
    assert (talk["replies"], talk["task_id"]) == (2, task["id"])
    await api.post(f"/v1/tasks/{task['id']}/close", json={"resolution": "called", "by": "dana"})
    (talk,) = (await api.get("/v1/conversations", params={"standing": False})).json()["items"]
    assert talk["closed_by"] == "dana"


async def answered(deps: Living, api: httpx.AsyncClient) -> dict[str, Any]:
    """Ada has answered a mail; the task of it, which is dana's."""
    await deps.publish(TALK)
    await deps.accept(of_account("ada", csm="dana@example.com"), deps.track("ada", "signed_up"))
    mail = await first_mail(deps)
    await post(api, reply(str(mail["Reply-To"])))
    (task,) = await tasks_of(deps)
    return task


async def escalated(deps: Living, number: int) -> dict[str, Any]:
    """The task once the worker has looked, every tenth of a second here."""
    stop, rule, team = asyncio.Event(), deps.deps.policy.answered, deps.deps.roster
    looking = [asyncio.create_task(escalate_answers(deps.database, rule, team, stop, 0.1)) for _ in range(2)]
    await deps.until("SELECT level FROM tasks WHERE id = :id", id=number)
    stop.set()
    await asyncio.gather(*looking)
    (task,) = await tasks_of(deps)
    return task


async def test_C10_an_answer_is_due_in_its_owners_working_hours_and_they_are_reminded(deps, api):
    task = await answered(deps, api)
    assert (task["owner"], task["within"]) == ("dana", "PT4H")
    assert task["due_at"] == task["opened_at"] + timedelta(hours=4)
    assert task["remind_at"] == task["due_at"] - timedelta(minutes=30)


async def test_C10_an_answer_that_nobody_gave_in_time_goes_on_once_and_is_due_again_in_the_next_ones_hours(deps, api):
    task = await answered(deps, api)
    await deps.accept(deps.track("ada", "account_closed"))
    await deps.until("SELECT status FROM runs", lambda status: status == "closed")  # no run's timer could ring
    async with deps.database.transaction() as connection:
        await connection.execute("UPDATE tasks SET due_at = now() - interval '1 second'")
    late = await escalated(deps, task["id"])
    assert (late["owner"], late["team"], late["level"]) == ("erin", "leads", 1)
    log = await deps.rows("SELECT at, kind, text FROM task_log ORDER BY id")
    assert [line["kind"] for line in log] == ["opened", "escalated"]
    assert log[1]["text"].startswith("overdue with dana, so it goes to erin")
    assert late["due_at"] == deps.deps.roster.due("erin", log[1]["at"], "PT4H")


async def test_an_answer_that_was_put_off_or_whose_chain_is_over_is_escalated_no_more(deps, api):
    task = await answered(deps, api)
    rule, team = deps.deps.policy.answered, deps.deps.roster
    assert await escalate_late(deps.database, rule.escalate, team, datetime.now(UTC)) == 0
    for level in (1, 2):
        async with deps.database.transaction() as connection:
            await connection.execute("UPDATE tasks SET due_at = now() - interval '1 second'")
        assert await escalate_late(deps.database, rule.escalate, team, datetime.now(UTC)) == 1
        (task,) = await tasks_of(deps)
        assert task["level"] == level
    assert task["owner"] == "head-of-success"
    async with deps.database.transaction() as connection:
        await connection.execute("UPDATE tasks SET due_at = now() - interval '1 second'")
    assert await escalate_late(deps.database, rule.escalate, team, datetime.now(UTC)) == 0
    (task,) = await tasks_of(deps)
    assert task["overdue"]


async def test_each_further_answer_stands_in_the_tasks_log(deps, api):
    await answered(deps, api)
    number = str((await deps.rows("SELECT id FROM messages WHERE action = 'first'"))[0]["id"])
    await deps.accept(deps.track("ada", "message_replied", message=number, text="It is urgent now."))
    log = await deps.rows("SELECT kind, text FROM task_log ORDER BY id")
    assert [line["kind"] for line in log] == ["opened", "noted"]
    assert log[1]["text"] == "the person has written again: It is urgent now."


async def test_a_conversation_is_over_by_itself_some_time_after_the_last_word(deps, api):
    await deps.publish(TALK)
    await deps.accept(deps.track("ada", "signed_up"))
    mail = await first_mail(deps)
    await post(api, reply(str(mail["Reply-To"])))
    async with deps.database.transaction() as connection:
        await connection.execute("UPDATE conversations SET until = now() - interval '1 second'")
    await deps.accept(deps.track("ada", "pricing_viewed"))
    assert (await status_of(deps, "third"))[0] == "sent"
    await post(api, reply(str(mail["Reply-To"])))  # and a new answer begins another
    talks = (await api.get("/v1/conversations")).json()["items"]
    assert [each["closed_by"] for each in talks] == [None, "time"]


@pytest.mark.parametrize("what", ["out of office", "a bounce", "a list", "a forged mark", "of nobody", "no mail"])
async def test_what_no_person_has_written_or_answers_nothing_of_ours_moves_nothing(deps, api, what):
    await deps.publish(TALK)
    await deps.accept(deps.track("ada", "signed_up"))
    mail = await first_mail(deps)
    to = str(mail["Reply-To"])
    mark = to.index("+") + 5
    forged = to[:mark] + ("a" if to[mark] != "a" else "b") + to[mark + 1 :]
    if what == "no mail":
        answer = await api.post("/v1/inbound-mails", content=b"\r\n\r\n")
        assert answer.status_code == 400
        return
    raw = {
        "out of office": reply(to, Auto_Submitted="auto-replied (vacation)"),
        "a bounce": reply(to, Return_Path="<>"),
        "a list": reply(to, Precedence="list"),
        "a forged mark": reply(forged),
        "of nobody": reply("hello@tenure.example", "<nobody-knows@tenure.example>"),
    }[what]
    assert await post(api, raw) == 0
    assert await deps.rows("SELECT 1 FROM conversations") == []
    assert await deps.rows("SELECT 1 FROM events WHERE name = 'message_replied'") == []


async def test_C5_a_stop_word_is_an_opt_out_and_begins_no_conversation(deps):
    await deps.publish(TALK)
    await deps.accept(deps.track("ada", "signed_up"))
    await first_mail(deps)
    number = str((await deps.rows("SELECT id FROM messages"))[0]["id"])
    await deps.accept(deps.track("ada", "message_replied", message=number, text="Stop!"))
    assert await deps.rows("SELECT 1 FROM conversations") == []
    (no,) = await deps.rows("SELECT channel, topic, granted FROM consents")
    assert (no["channel"], no["topic"], no["granted"]) == ("email", "*", False)
    await deps.accept(deps.track("ada", "message_replied", message=number, text="Please stop by on Monday"))
    assert len(await deps.rows("SELECT 1 FROM conversations")) == 1


async def test_an_answer_to_a_short_message_begins_a_conversation_too_and_a_stop_word_does_not(deps, api):
    await deps.publish(TALK)
    await deps.accept(deps.track("ada", "signed_up"))
    await first_mail(deps)
    async with deps.database.transaction() as connection:
        await connection.execute("UPDATE messages SET channel = 'sms', address = '+436641234567'")
    for number, (text, wish) in enumerate((("STOP", "stop"), ("Who is this?", None))):
        body = {"phone": "+43 664 1234567", "text": text, "id": f"SM{number}"}
        told = await api.post("/v1/inbound-texts", json=body)
        assert told.json()["wish"] == wish, told.text
        assert len(await deps.rows("SELECT 1 FROM conversations")) == number
    (task,) = await tasks_of(deps)
    assert (task["data"]["channel"], task["data"]["text"]) == ("sms", "Who is this?")
