"""End of a run from outside its workflow, as a step of its own.

A workflow that still runs finds the step committed, adopts its state and ends: it has no further effect.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Text, bindparam, case, cast, false, func, update
from sqlalchemy.dialects.postgresql import JSONB

from journeys.decision.effects import LogLine, WithdrawnMessages
from store.database import Connection, fetch_one, sql
from store.messages import withdrawals
from store.people.subjects import lock_subjects
from store.runs import projection
from store.schema import runs
from store.schema.base import Timestamp
from store.tasks import requests as task_requests

_last_instant = case(
    (runs.c.clock.is_(None), func.coalesce(bindparam("at", type_=Timestamp), func.clock_timestamp())),
    else_=func.coalesce(runs.c.last_at, runs.c.started_at),
)
_CLOSE = sql(
    update(runs)
    .where(runs.c.id == bindparam("id"), runs.c.status == "open")
    .values(
        status="closed",
        outcome=func.coalesce(runs.c.outcome, bindparam("outcome", type_=Text)),
        next_due_at=None,
        paused=false(),
        step=runs.c.step + 1,
        memory=runs.c.memory.op("||")(
            cast(func.jsonb_build_object("outcome", bindparam("outcome", type_=Text)), JSONB)
        ),
        ended_at=func.coalesce(runs.c.ended_at, _last_instant),
    )
    .returning(runs.c.step, runs.c.ended_at)
)


async def close_run(connection: Connection, identity: str, outcome: str, why: str, at: datetime | None = None) -> bool:
    """Close the row of an open run, and withdraw what only an open run may leave open; False if it was closed already.

    These are its tasks and deferred messages, except messages of a final state. `why` is the sentence of its timeline, and
    `at` its end, by default now; on a test clock it ends at its last instant.
    """
    await lock_subjects(connection, await withdrawals.unsettled_recipients(connection, identity))
    closed = await fetch_one(connection, _CLOSE, id=identity, outcome=outcome, at=at)
    if closed is None:
        return False
    ended, reason = closed["ended_at"], f"the run ended as {outcome}"
    effect = WithdrawnMessages(reason, ended)
    log = [LogLine(ended, "finished", outcome, why)]
    withdrawn = [
        *await task_requests.withdraw_request(connection, identity, reason, ended),
        *[message.action for message in await withdrawals.withdraw_queued(connection, identity, effect, ended)],
    ]
    log += [LogLine(ended, "withdrawn", action, f"withdrawn: {reason}") for action in withdrawn]
    await projection.write_timeline(connection, identity, closed["step"], 0, log)
    return True
