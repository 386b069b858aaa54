"""`python -m worker` sends reminders by mail and escalates late replies."""

from __future__ import annotations

import shutil
from email import message_from_bytes
from email.policy import default
from pathlib import Path

import yaml

from tests.support.worker_parts import running_relay, stack_without_workers, worker, worker_process
from worker.settings import ROOT

TEAM = """
hours: {mon-sun: "00:00-24:00"}
remind: PT8H
people: {dana: {team: success, email: dana@staff.example}, erin: {team: leads}}
teams: {success: {}, leads: {}}
"""
JOURNEY = """
journey: helping
entry: {on: help_wanted, again: never}
start: needed
states:
  needed:
    do: [{task: call, owner: success, within: PT8H}]
    on: {help_given: done}
  done: {final: helped}
"""
ANSWERED = """
INSERT INTO conversations (run, recipient, message_id, journey, template, channel, owner, opened_at, last_at, until, task_id)
SELECT t.run, t.subject_key, 1, t.journey, 't', 'email', t.owner, now(), now(), now() + interval '1 day', t.id
FROM tasks t JOIN identities i ON i.subject_key = t.subject_key WHERE i.value = 'ben'
"""
LATE = """
UPDATE tasks SET due_at = now() WHERE subject_key = (SELECT subject_key FROM identities WHERE value = 'ben')
"""


async def test_C10_the_worker_reminds_the_owner_by_mail_and_escalates_an_answer(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    catalog = Path(shutil.copytree(ROOT / "catalog", tmp_path / "catalog"))
    (catalog / "team.yaml").write_text(TEAM)
    rules = yaml.safe_load((catalog / "policy.yaml").read_text()) | {"answered": {"escalate": ["leads"]}}
    (catalog / "policy.yaml").write_text(yaml.safe_dump(rules))
    async with stack_without_workers(database_url, temporal_address, task_queue, tmp_path, catalog=catalog) as stack:
        await stack.publish(JOURNEY)
        # Both exist before the first sweep of the process: the next one follows only after 15 seconds.
        async with running_relay(stack), worker(stack):
            await stack.accept(stack.track("ada", "help_wanted"), stack.track("ben", "help_wanted"))
            await stack.until("SELECT count(*) FROM tasks WHERE due_at IS NOT NULL", lambda count: count == 2)
        async with stack.database.transaction() as connection:
            await connection.execute(ANSWERED)
            await connection.execute(LATE)
        async with worker_process(stack):
            await stack.until("SELECT count(*) FROM task_log WHERE text = 'dana was reminded'")
            await stack.until("SELECT count(*) FROM task_log WHERE text LIKE 'overdue with dana, so it goes to erin%'")
            mails = [
                message_from_bytes(path.read_bytes(), policy=default) for path in (tmp_path / "mail").glob("new/*")
            ]
            assert "dana@staff.example" in {mail["Delivered-To"] for mail in mails}
            texts = {mail.get_body(("plain",)).get_content() for mail in mails if "dana@" in mail["Delivered-To"]}
            assert any("Person: ada" in text and "Why: " in text for text in texts), texts
