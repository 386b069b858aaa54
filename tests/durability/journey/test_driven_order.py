"""The order of decisions on a test clock: equal inputs give equal decisions and verdicts, however slow the machine is."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from store.database import fetch_all, sql
from worker.stack.mail_sink import MailFaults
from worker.testing.rehearsal import Rehearsal
from worker.testing.stage import rehearsal

ORIGIN = datetime(2027, 1, 4, 9, 0, tzinfo=UTC)
FIRST = """
journey: a-first
entry: {on: signed_up, again: never}
topic: onboarding
start: waiting
states:
  waiting: {after: {P1D: sending}}
  sending:
    do: [{send: setup/first-steps, name: mail, via: [email]}]
    on: {mail.sent: {do: [{send: setup/your-checklist, name: told, via: [in_app]}]}}
    after: {P3D: done}
  done: {final: done}
"""
SECOND = FIRST.replace("a-first", "b-second").replace("setup/first-steps", "setup/checklist")
ACCOUNT = """
journey: c-account
subject: account
entry: {on: contract_started, again: never}
priority: lifecycle
topic: renewal
start: waiting
states:
  waiting: {after: {P1D: sending}}
  sending:
    do: [{send: renewal/plan-together, name: mail, for: [champion, admin], via: [email], data: {renewal_date: account.renewal_date}}]
    on: {mail.sent: asking}
    after: {P5D: done}
  asking:
    do: [{send: renewal/value-report, for: [champion, admin], via: [in_app, email], data: {renewal_date: account.renewal_date}}]
    on: {mail.sent: done}
    after: {P5D: done}
  done: {final: done}
"""
LEDGER = sql(
    """
    SELECT i.value AS who, m.journey, m.action, m.at, m.status, m.sent_at FROM messages m
    JOIN identities i ON i.subject_key = m.recipient AND i.kind = 'user_id' ORDER BY 1, 2, 3, 4, 5
    """
)


async def _company(stage: Rehearsal) -> None:
    for text in (FIRST, SECOND, ACCOUNT):
        await stage.publish(text, checked=False)
    for person, role in (("ada", "champion"), ("bob", "admin")):
        await stage.identify(person, email=f"{person}@example.com", first_name=person, role=role)
        await stage.group(person, "acme", name="Acme", renewal_date="2027-06-01T00:00:00Z")
        await stage.signal(person, "signed_up")
    await stage.signal(None, "contract_started", account="acme")
    await stage.forward(days=12)


EXPECTED = [
    ("ada", "a-first", "mail", "1 day, 0:00:00", "sent", "1 day, 0:00:00"),
    ("ada", "a-first", "told", "1 day, 0:00:00", "sent", "1 day, 0:00:00"),
    ("ada", "b-second", "mail", "1 day, 0:00:00", "sent", "1 day, 20:00:00"),
    ("ada", "b-second", "told", "1 day, 20:00:00", "sent", "2 days, 0:00:00"),
    ("ada", "c-account", "mail", "1 day, 0:00:00", "sent", "2 days, 16:00:00"),
    ("ada", "c-account", "send:renewal/value-report", "2 days, 16:00:00", "sent", "2 days, 20:00:00"),
    ("bob", "a-first", "mail", "1 day, 0:00:00", "sent", "1 day, 0:00:00"),
    ("bob", "a-first", "told", "1 day, 0:00:00", "sent", "1 day, 0:00:00"),
    ("bob", "b-second", "mail", "1 day, 0:00:00", "sent", "1 day, 20:00:00"),
    ("bob", "b-second", "told", "1 day, 20:00:00", "sent", "2 days, 0:00:00"),
    ("bob", "c-account", "mail", "1 day, 0:00:00", "withdrawn", None),
    ("bob", "c-account", "send:renewal/value-report", "2 days, 16:00:00", "sent", "2 days, 16:00:00"),
]
"""Who, journey, action, asked and sent after the beginning. Runs compete for one cooldown of mails and one cap a day.

The run that was opened first gets the first place; ada, who joined first, gets the account's mail first, and its outcome
leaves the state before bob's is due.
"""


async def _ledger(stage: Rehearsal) -> list[tuple[str | None, ...]]:
    async with stage.database.reading() as connection:
        rows = await fetch_all(connection, LEDGER)
    return [
        (
            *list(row.values())[:3],
            str(row["at"] - ORIGIN),
            row["status"],
            row["sent_at"] and str(row["sent_at"] - ORIGIN),
        )
        for row in rows
    ]


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.4])
async def test_runs_of_a_person_and_of_their_account_decide_in_one_order_at_any_speed_of_the_mail_server(
    database_url: str, temporal_address: str, tmp_path: Path, delay: float
) -> None:
    faults = MailFaults(delay_seconds=delay)
    async with rehearsal(database_url, temporal_address, tmp_path, faults=faults, begins=ORIGIN) as stage:
        await _company(stage)
        assert await _ledger(stage) == EXPECTED
