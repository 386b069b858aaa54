"""Reminders go to the owner of a task by the configured mail channel; the task's log records failures."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from journeys.tasks.assignment import Roster
from journeys.tasks.team import read_team
from store.database import Database, fetch_all, fetch_one, sql
from tests.support.own_keys import OWN_KEYS
from worker.composition.reminder_mail import reminder_mail
from worker.loops.reminders import Reminders
from worker.provider_settings import ProviderSettings, load_providers
from worker.settings import Settings
from worker.stack.mail_sink import MailFaults
from worker.stack.mail_sink import listen_for_mail as mail_server
from worker.stack.providers.environment import KEY
from worker.stack.providers.serving import local_provider

pytestmark = pytest.mark.usefixtures("clean_environment")
DUE = datetime(2027, 7, 5, 13, 30, tzinfo=UTC)
TEAM = """
zone: Europe/Berlin
people:
  dana: {team: success, email: dana@staff.example, signs: {name: Dana, reply_to: hello@staff.example}, zone: Europe/Dublin}
  erin: {team: success, signs: {name: Erin, reply_to: erin@staff.example}, known_as: [e@crm.example]}
  finn: {team: success, known_as: ["hubspot:77", finn@staff.example]}
  gone: {team: success, known_as: ["hubspot:78"]}
  bounces: {team: success, email: nobody@bounce.example}
  busy: {team: success, email: somebody@busy.example}
teams: {success: {}}
"""
_INSERT = sql(
    """
    INSERT INTO tasks (key, run, subject_key, journey, action, task, owner, opened_at, due_at, remind_at)
    VALUES ('t', 'r', 'u_1', 'renewals', 'call', 'renewal-call', :owner, now(), :due, now()) RETURNING id
    """
)


def roster() -> Roster:
    team, source = read_team(TEAM)
    assert team is not None, source.problems
    return Roster(team)


async def insert_task(database: Database, owner: str) -> int:
    async with database.transaction() as connection:
        made = await fetch_one(connection, _INSERT, owner=owner, due=DUE)
        assert made is not None
        return int(made["id"])


async def task_log(database: Database) -> list[tuple[str, str]]:
    async with database.reading() as connection:
        rows = await fetch_all(connection, sql("SELECT kind, text FROM task_log ORDER BY id"))
    return [(item["kind"], item["text"]) for item in rows]


async def sweep(database: Database, settings: Settings, given: ProviderSettings | None = None) -> int:
    """One sweep of a new worker; the number of reminders sent."""
    mail = reminder_mail(settings, given or load_providers(), roster())
    count = await Reminders(database, mail).sweep()
    await mail.close()
    return count


@contextlib.asynccontextmanager
async def sink(folder: Path, faults: MailFaults = MailFaults(), **options: Any) -> AsyncIterator[Settings]:
    async with await mail_server(folder / "mail", faults=faults) as server:
        url = f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield Settings(smtp_url=url, **{"smtp_lookup": folder / "mail", **options})


def mails(folder: Path) -> list[EmailMessage]:
    files = sorted((folder / "mail" / "new").glob("*"))
    return [message_from_bytes(path.read_bytes(), policy=policy.default) for path in files]


@pytest.mark.parametrize(
    ("owner", "address"),
    [("dana", "dana@staff.example"), ("erin", "erin@staff.example"), ("finn", "finn@staff.example")],
)
async def test_C10_the_owner_of_a_task_gets_one_mail_with_the_deadline_and_the_command(
    database, tmp_path, owner, address
):
    number = await insert_task(database, owner)
    async with sink(tmp_path, public_url="https://tenure.example", **OWN_KEYS) as settings:
        assert await sweep(database, settings) == 1
        assert await sweep(database, settings) == 0
    (mail,) = mails(tmp_path)
    assert (mail["Delivered-To"], mail["Subject"]) == (address, "Due soon: renewal-call")
    text = mail.get_body(("plain",)).get_content()
    when = "14:30 (Europe/Dublin)" if owner == "dana" else "15:30 (Europe/Berlin)"
    assert f"Task {number}, renewal-call, is due on Monday 05 July 2027 at {when}." in text
    assert f"On the command line: python -m cli tasks {number}" in text
    assert mail["List-Unsubscribe"] is None
    assert "/c/" not in text
    assert await task_log(database) == [("reminded", f"{owner} was reminded")]


async def test_a_reminder_has_no_link(database, tmp_path):
    await insert_task(database, "dana")
    async with sink(tmp_path) as settings:
        await sweep(database, settings)
    (mail,) = mails(tmp_path)
    assert "http" not in mail.get_body(("plain",)).get_content()


@pytest.mark.parametrize(
    ("owner", "why"),
    [
        ("gone", "team.yaml has no mail address for the owner"),
        ("success", "team.yaml has no mail address for the owner"),
        ("eve@stranger.example", "team.yaml has no mail address for the owner"),
        ("bounces", "the owner's address was rejected (550 5.1.1 no such mailbox)"),
    ],
)
async def test_the_task_log_records_why_an_unreachable_owner_was_not_reminded(database, tmp_path, owner, why):
    await insert_task(database, owner)
    async with sink(tmp_path) as settings:
        assert await sweep(database, settings) == 0
        assert await sweep(database, settings) == 0
    assert mails(tmp_path) == []
    assert await task_log(database) == [("noted", f"{owner} was not reminded: {why}")]
    async with database.reading() as connection:
        (task,) = await fetch_all(connection, sql("SELECT remind_at, reminded_at FROM tasks"))
    assert tuple(task.values()) == (None, None)


async def test_outside_production_an_owner_not_on_the_allow_list_is_not_reminded(database, tmp_path):
    await insert_task(database, "dana")
    async with sink(tmp_path, smtp_lookup=None, allowed_recipients="*@customer.example") as settings:
        assert await sweep(database, settings) == 0
        ((kind, text),) = await task_log(database)
        assert (kind, text[:60]) == ("noted", "dana was not reminded: outside production only recipients on")
        assert mails(tmp_path) == []
        async with database.transaction() as connection:
            await connection.execute("UPDATE tasks SET remind_at = now()")
        assert await sweep(database, settings.model_copy(update={"allowed_recipients": "*@staff.example"})) == 1
    assert [mail["Delivered-To"] for mail in mails(tmp_path)] == ["dana@staff.example"]


async def test_a_reminder_with_an_unknown_result_is_resent_as_the_same_mail(database, tmp_path):
    """The relay accepts it and disconnects: one more copy at most, with the same Message-ID."""
    await insert_task(database, "dana")
    async with sink(tmp_path, MailFaults(close_after_accept_rate=1.0)) as settings:
        assert await sweep(database, settings) == 0
    assert await task_log(database) == []
    async with database.transaction() as connection:
        (task,) = await fetch_all(connection, sql("SELECT remind_at FROM tasks"))
        assert timedelta(minutes=4) < task["remind_at"] - datetime.now(UTC) <= timedelta(minutes=5)
        await connection.execute("UPDATE tasks SET remind_at = now()")
    async with sink(tmp_path) as settings:
        assert await sweep(database, settings) == 1
    first, second = mails(tmp_path)
    assert first["Message-ID"] == second["Message-ID"]
    assert await task_log(database) == [("reminded", "dana was reminded")]


async def test_a_reminder_is_retried_later_when_the_relay_is_busy(database, tmp_path):
    await insert_task(database, "busy")
    async with sink(tmp_path) as settings:
        assert await sweep(database, settings) == 0
    assert await task_log(database) == []
    async with database.reading() as connection:
        (task,) = await fetch_all(connection, sql("SELECT remind_at FROM tasks"))
    assert task["remind_at"] > datetime.now(UTC)


async def test_reminders_go_by_resend_when_it_is_configured(database):
    number = await insert_task(database, "dana")
    async with local_provider() as local:
        given = load_providers(resend_key=KEY, resend_base=f"{local.url}/resend", outgoing_allow=local.origin)
        settings = Settings(
            smtp_url="smtp://127.0.0.1:9", environment="production", public_url="https://tenure.example", **OWN_KEYS
        )
        assert await sweep(database, settings, given) == 1
        (kept,) = local.provider.accepted.search(provider="resend")
    assert kept["to"] == "dana@staff.example"
    assert f"On the command line: python -m cli tasks {number}" in kept["content"]["text"]
    assert await task_log(database) == [("reminded", "dana was reminded")]
