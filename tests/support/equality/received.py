"""Messages and tasks of a test clock as its responder receives them, under the names of the in-memory world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from journeys.simulation.responder import ReceivedMessage, ReceivedTask
from journeys.tasks.assignment import Roster
from store.clocks.decided import ExternalNames
from store.database import Connection, fetch_all, sql
from worker.testing.rehearsal import Rehearsal

MESSAGES = sql(
    """
    SELECT f.id AS line, m.id, m.key, m.recipient, m.journey, m.action, m.template, f.channel, m.topic,
      r.subject_key, r.case_key, r.epoch
    FROM feed f JOIN messages m ON m.id = f.message JOIN runs r ON r.id = m.run
    WHERE f.id > :line AND m.clock = :clock AND f.event IS NULL AND f.status IN ('sending', 'sent', 'merged')
      AND coalesce(f.was, 'deferred') = 'deferred' AND m.key NOT LIKE 'digest/%'
    ORDER BY f.id
    """
)
TASKS = sql(
    """
    SELECT t.id, t.key, t.task, t.scope_key, t.opened_at, m.key AS answered, r.journey, r.subject_key, r.case_key, r.epoch,
      m.recipient, mr.journey AS of_journey, mr.subject_key AS of_subject, mr.case_key AS of_case, mr.epoch AS of_epoch
    FROM tasks t JOIN runs r ON r.id = t.run
    LEFT JOIN messages m ON t.key LIKE 'reply/%' AND m.id = CAST(t.data->>'message' AS bigint)
    LEFT JOIN runs mr ON mr.id = m.run
    WHERE t.id > :task AND t.clock = :clock ORDER BY t.id
    """
)


@dataclass
class ReceivedLive:
    """What was read so far: the last line of the feed and the last task; keys of messages and numbers of tasks by name."""

    line: int = 0
    task: int = 0
    keys: dict[str, str] = field(default_factory=dict)
    tasks: dict[tuple[str, datetime | None], int] = field(default_factory=dict)


async def read_received(
    connection: Connection, stage: Rehearsal, names: ExternalNames, received: ReceivedLive, roster: Roster
) -> tuple[list[ReceivedMessage], list[tuple[str, ReceivedTask]]]:
    """The messages that were sent since the last read, at the clock's now, and the tasks that were opened, with their scopes."""
    messages, tasks = [], []
    for row in await fetch_all(connection, MESSAGES, line=received.line, clock=stage.clock):
        received.line = row["line"]
        name = names.of_message(row)
        received.keys[name] = row["key"]
        messages.append(
            ReceivedMessage(
                name, names.of(row["recipient"]), row["journey"], row["action"], row["template"], row["channel"],
                row["topic"], stage.now,
            )
        )  # fmt: skip
    for row in await fetch_all(connection, TASKS, task=received.task, clock=stage.clock):
        received.task = row["id"]
        name = _task_name(row, names)
        received.tasks[name, row["opened_at"]] = row["id"]
        task = ReceivedTask(name, row["task"], roster.team.outcomes(row["task"]), row["opened_at"])
        tasks.append((names.of(row["scope_key"]), task))
    return messages, tasks


def _task_name(row: Mapping[str, Any], names: ExternalNames) -> str:
    """The name of the request, or of the replied message, that opened the task."""
    if row["answered"] is None:
        return f"{names.of_run(row)}#{str(row['key']).partition('#')[2]}"
    of_run = {name: row[f"of_{column}"] for name, column in RUN_COLUMNS.items()}
    return f"{names.of_message({**of_run, 'key': row['answered']})}=reply"


RUN_COLUMNS = {"journey": "journey", "subject_key": "subject", "case_key": "case", "epoch": "epoch"}
