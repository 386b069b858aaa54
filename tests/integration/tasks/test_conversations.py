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
from activities.gate.dry_run import would_say
from activities.preview import ContentDesk
from api.app import Parts, build
from api.http.auth import Keys
from journeys.events.segment import Incoming
from store.tasks import tasks
from store.tasks.escalation import escalate_late
from tests.support.api import OPERATE, HandEngine
from tests.support.live_stack import Living, living
from worker.composition.api import plan
from worker.composition.worker import consent_book, policy, roster
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
async def house(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path, catalog: Path, monkeypatch
) -> AsyncIterator[Living]:
    monkeypatch.setenv("TENURE_REPLY_ADDRESS", "replies@in.example.com")
    async with living(database_url, temporal_address, task_queue, tmp_path, catalog=catalog) as found:
        await found.accept(found.identify("ada", email="ada@example.com", first_name="Ada"))
        yield found


@pytest_asyncio.fixture
async def api(house: Living, catalog: Path) -> AsyncIterator[httpx.AsyncClient]:
    """The API over the same database, as another process has it."""

    async def asking(*asked: Any) -> Any:
        return await would_say(house.house, *asked)

    parts = Parts(
        database=house.database,
        engine=HandEngine(),
        keys=Keys(write="w", operator=OPERATE),
        plan=plan(house.settings),
        policy=policy(catalog),
        consent=consent_book(house.settings),
        templates=lambda: template_infos(catalog / "templates"),
        desk=ContentDesk(templates=lambda: load_templates(catalog / "templates")),
        asking=asking,
        roster=roster(catalog),
        replies=house.settings.replies,
    )
    transport = httpx.ASGITransport(build(parts))
    async with httpx.AsyncClient(transport=transport, base_url="http://api", auth=(OPERATE, "")) as made:
        yield made


async def first_mail(house: Living) -> Message:
    await house.until("SELECT count(*) FROM messages WHERE action = 'first' AND status = 'sent'")
    (path,) = list((house.settings.smtp_lookup or Path()).glob("new/*"))
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


async def status_of(house: Living, action: str) -> tuple[str, str]:
    status = await house.until(
        "SELECT status FROM messages WHERE action = :action AND status <> 'sending'", action=action
    )
    found = await house.rows("SELECT reasons->0->>'code' AS code FROM messages WHERE action = :action", action=action)
    return status, found[0]["code"] or ""


def of_account(user: str, **traits: str) -> Incoming:
    return Incoming("group", f"g-{user}", "group", user_id=user, account_id="acme", traits=traits)


@pytest.mark.parametrize("way", ["our address", "message id"])
async def test_an_answer_stops_its_journey_for_them_reaches_their_manager_and_closing_lets_it_go_on(house, api, way):
    await house.publish(TALK)
    await house.publish(OTHER)
    await house.accept(of_account("ada", csm="dana@example.com"), house.track("ada", "signed_up"))
    mail = await first_mail(house)
    await house.accept(house.track("ada", "setup_completed"))
    await house.until("SELECT count(*) FROM messages WHERE action = 'second' AND status = 'deferred'")
    raw = reply(str(mail["Reply-To"]) if way == "our address" else "hello@tenure.example",
                None if way == "our address" else str(mail["Message-ID"]))  # fmt: skip
    assert await post(api, raw) == 1
    assert await status_of(house, "second") == ("withdrawn", "in_conversation")
    assert await post(api, raw) == 1  # the same mail again is the same event
    (task,) = await tasks_of(house)
    assert (task["task"], task["owner"], task["data"]["text"]) == ("reply", "dana", "Could you call me?")

    await house.accept(house.track("ada", "pricing_viewed"), house.track("ada", "payment_failed"))
    assert await status_of(house, "third") == ("withheld", "in_conversation")
    assert (await status_of(house, "aside"))[0] == "sent"  # of another journey
    assert (await status_of(house, "pressing"))[0] == "sent"

    (talk,) = (await api.get("/v1/conversations", params={"user": "ada", "standing": True})).json()["items"]
    assert (talk["journey"], talk["owner"], talk["replies"]) == ("talk", "dana", 1)
    asked = (await api.get("/v1/users/ada/why-not", params={"template": "education/first-value"})).json()
    named = [each for each in asked["obstacles"] if each["change"]["kind"] == "close_conversation"]
    assert named
    assert datetime.fromisoformat(named[0]["since"]) == datetime.fromisoformat(talk["opened_at"])

    closed = await api.post(f"/v1/conversations/{talk['id']}/close", json={"by": "dana"})
    assert closed.json()["closed_by"] == "dana"
    assert (await status_of(house, "fourth"))[0] == "sent"  # its journey hears of it, and may speak again
    (task,) = await tasks_of(house)
    assert (task["status"], task["resolution"]) == ("closed", "answered")
    heard = await house.rows("SELECT count(*) AS n FROM events WHERE name = 'conversation_closed'")
    assert heard[0]["n"] == 1


async def tasks_of(house: Living) -> list[dict[str, Any]]:
    async with house.database.reading() as connection:
        return list(await tasks.list_tasks(connection, now=datetime.now(UTC), limit=10))


async def test_without_a_manager_the_templates_owner_answers_and_closing_the_task_closes_the_conversation(house, api):
    await house.publish(TALK)
    await house.accept(house.track("ada", "signed_up"))
    mail = await first_mail(house)
    assert await post(api, reply(str(mail["Reply-To"]))) == 1
    assert await post(api, reply(str(mail["Reply-To"]))) == 1
    (task,) = await tasks_of(house)
    assert task["owner"] == "lifecycle-team"
    (talk,) = (await api.get("/v1/conversations")).json()["items"]
    assert (talk["replies"], talk["task_id"]) == (2, task["id"])
    await api.post(f"/v1/tasks/{task['id']}/close", json={"resolution": "called", "by": "dana"})
    (talk,) = (await api.get("/v1/conversations", params={"standing": False})).json()["items"]
    assert talk["closed_by"] == "dana"


async def answered(house: Living, api: httpx.AsyncClient) -> dict[str, Any]:
    """Ada has answered a mail; the task of it, which is dana's."""
    await house.publish(TALK)
    await house.accept(of_account("ada", csm="dana@example.com"), house.track("ada", "signed_up"))
    mail = await first_mail(house)
    await post(api, reply(str(mail["Reply-To"])))
    (task,) = await tasks_of(house)
    return task


async def escalated(house: Living, number: int) -> dict[str, Any]:
    """The task once the worker has looked, every tenth of a second here."""
    stop, rule, team = asyncio.Event(), house.house.policy.answered, house.house.roster
    looking = [asyncio.create_task(escalate_answers(house.database, rule, team, stop, 0.1)) for _ in range(2)]
    await house.until("SELECT level FROM tasks WHERE id = :id", id=number)
    stop.set()
    await asyncio.gather(*looking)
    (task,) = await tasks_of(house)
    return task


async def test_C10_an_answer_is_due_in_its_owners_working_hours_and_they_are_reminded(house, api):
    task = await answered(house, api)
    assert (task["owner"], task["within"]) == ("dana", "PT4H")
    assert task["due_at"] == task["opened_at"] + timedelta(hours=4)
    assert task["remind_at"] == task["due_at"] - timedelta(minutes=30)


async def test_C10_an_answer_that_nobody_gave_in_time_goes_on_once_and_is_due_again_in_the_next_ones_hours(house, api):
    task = await answered(house, api)
    await house.accept(house.track("ada", "account_closed"))
    await house.until("SELECT status FROM runs", lambda status: status == "closed")  # no run's timer could ring
    async with house.database.transaction() as connection:
        await connection.execute("UPDATE tasks SET due_at = now() - interval '1 second'")
    late = await escalated(house, task["id"])
    assert (late["owner"], late["team"], late["level"]) == ("erin", "leads", 1)
    log = await house.rows("SELECT at, kind, text FROM task_log ORDER BY id")
    assert [line["kind"] for line in log] == ["opened", "escalated"]
    assert log[1]["text"].startswith("overdue with dana, so it goes to erin")
    assert late["due_at"] == house.house.roster.due("erin", log[1]["at"], "PT4H")


async def test_an_answer_that_was_put_off_or_whose_chain_is_over_is_escalated_no_more(house, api):
    task = await answered(house, api)
    rule, team = house.house.policy.answered, house.house.roster
    assert await escalate_late(house.database, rule.escalate, team, datetime.now(UTC)) == 0
    for level in (1, 2):
        async with house.database.transaction() as connection:
            await connection.execute("UPDATE tasks SET due_at = now() - interval '1 second'")
        assert await escalate_late(house.database, rule.escalate, team, datetime.now(UTC)) == 1
        (task,) = await tasks_of(house)
        assert task["level"] == level
    assert task["owner"] == "head-of-success"
    async with house.database.transaction() as connection:
        await connection.execute("UPDATE tasks SET due_at = now() - interval '1 second'")
    assert await escalate_late(house.database, rule.escalate, team, datetime.now(UTC)) == 0
    (task,) = await tasks_of(house)
    assert task["overdue"]


async def test_each_further_answer_stands_in_the_tasks_log(house, api):
    await answered(house, api)
    number = str((await house.rows("SELECT id FROM messages WHERE action = 'first'"))[0]["id"])
    await house.accept(house.track("ada", "message_replied", message=number, text="It is urgent now."))
    log = await house.rows("SELECT kind, text FROM task_log ORDER BY id")
    assert [line["kind"] for line in log] == ["opened", "noted"]
    assert log[1]["text"] == "they have written again: It is urgent now."


async def test_a_conversation_is_over_by_itself_some_time_after_the_last_word(house, api):
    await house.publish(TALK)
    await house.accept(house.track("ada", "signed_up"))
    mail = await first_mail(house)
    await post(api, reply(str(mail["Reply-To"])))
    async with house.database.transaction() as connection:
        await connection.execute("UPDATE conversations SET until = now() - interval '1 second'")
    await house.accept(house.track("ada", "pricing_viewed"))
    assert (await status_of(house, "third"))[0] == "sent"
    await post(api, reply(str(mail["Reply-To"])))  # and a new answer begins another
    talks = (await api.get("/v1/conversations")).json()["items"]
    assert [each["closed_by"] for each in talks] == [None, "time"]


@pytest.mark.parametrize("what", ["out of office", "a bounce", "a list", "a forged mark", "of nobody", "no mail"])
async def test_what_no_person_has_written_or_answers_nothing_of_ours_moves_nothing(house, api, what):
    await house.publish(TALK)
    await house.accept(house.track("ada", "signed_up"))
    mail = await first_mail(house)
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
    assert await house.rows("SELECT 1 FROM conversations") == []
    assert await house.rows("SELECT 1 FROM events WHERE name = 'message_replied'") == []


async def test_C5_a_stop_word_is_an_opt_out_and_begins_no_conversation(house):
    await house.publish(TALK)
    await house.accept(house.track("ada", "signed_up"))
    await first_mail(house)
    number = str((await house.rows("SELECT id FROM messages"))[0]["id"])
    await house.accept(house.track("ada", "message_replied", message=number, text="Stop!"))
    assert await house.rows("SELECT 1 FROM conversations") == []
    (no,) = await house.rows("SELECT channel, topic, granted FROM consents")
    assert (no["channel"], no["topic"], no["granted"]) == ("email", "*", False)
    await house.accept(house.track("ada", "message_replied", message=number, text="Please stop by on Monday"))
    assert len(await house.rows("SELECT 1 FROM conversations")) == 1


async def test_an_answer_to_a_short_message_begins_a_conversation_too_and_a_stop_word_does_not(house, api):
    await house.publish(TALK)
    await house.accept(house.track("ada", "signed_up"))
    await first_mail(house)
    async with house.database.transaction() as connection:
        await connection.execute("UPDATE messages SET channel = 'sms', address = '+436641234567'")
    for number, (text, wish) in enumerate((("STOP", "stop"), ("Who is this?", None))):
        body = {"phone": "+43 664 1234567", "text": text, "id": f"SM{number}"}
        told = await api.post("/v1/inbound-texts", json=body)
        assert told.json()["wish"] == wish, told.text
        assert len(await house.rows("SELECT 1 FROM conversations")) == number
    (task,) = await tasks_of(house)
    assert (task["data"]["channel"], task["data"]["text"]) == ("sms", "Who is this?")
