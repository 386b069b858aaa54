"""Context of a task: person, account, promise, messages, and the opening decision.

It is read when it is shown, so that it has today's names. A task keeps none of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import orjson
from sqlalchemy import Text, and_, bindparam, func, select

from store.database import Connection, fetch_all, fetch_one, sql
from store.expressions import any_of
from store.rows import RowDict, loaded
from store.schema import definitions, identities, messages, runs, subjects, timeline
from store.schema.base import Timestamp

SENT: Final = 5
"""Messages shown, the newest ones."""
LINES: Final = 10
_NAMES: Final = ("name", "full_name")
_FIELDS: Final = ("email", "phone", "role", "title", "company", "plan")
_SUBJECT = sql(
    select(
        subjects.c.key,
        subjects.c.kind,
        subjects.c.profile,
        select(func.min(identities.c.value))
        .where(identities.c.subject_key == subjects.c.key, identities.c.kind.in_(("user_id", "account_id")))
        .scalar_subquery()
        .label("id"),
    ).where(subjects.c.key == bindparam("key"))
)
_DEFINITION = sql(
    select(definitions.c.artifact)
    .join(runs, runs.c.definition == definitions.c.hash)
    .where(runs.c.id == bindparam("run"))
)
_SENT = sql(
    select(
        messages.c.id,
        messages.c.sent_at,
        messages.c.channel,
        messages.c.template,
        messages.c.status,
        messages.c.summary.op("->>", return_type=Text)("subject").label("subject"),
    )
    .where(any_of(messages.c.run, "runs"), messages.c.sent_at.is_not(None))
    .order_by(messages.c.sent_at.desc())
    .limit(SENT)
)
_line = timeline.alias("line")
_opened_in = (
    select(func.max(_line.c.step))
    .where(and_(_line.c.run == bindparam("run"), _line.c.at <= bindparam("at", type_=Timestamp)))
    .scalar_subquery()
)
_DECIDED = sql(
    select(timeline.c.at, timeline.c.kind, timeline.c.about, timeline.c.text)
    .where(timeline.c.run == bindparam("run"), timeline.c.step == _opened_in)
    .order_by(timeline.c.n)
    .limit(LINES)
)


async def read_task_context(connection: Connection, task: Mapping[str, Any]) -> RowDict:
    """The context of a row with `run`, `subject`, `account`, `opened_at` and, if known, `asked_by`."""
    person = await _described(connection, task["subject"])
    account = await _described(connection, task["account"])
    if person is not None and person["kind"] == "account":
        person, account = None, account or person
    requests = [request["run"] for request in task.get("asked_by") or ()]
    sent = await fetch_all(connection, _SENT, runs=sorted({task["run"], *requests}))
    return {
        "person": person,
        "account": account,
        "promised": await _promised(connection, task["run"], person, account),
        "sent": [dict(row) for row in sent],
        "because": [dict(row) for row in await _decided(connection, task["run"], task["opened_at"])],
    }


async def _described(connection: Connection, key: str | None) -> RowDict | None:
    """A person or an account by the fields that say who they are; None if there is none of this key."""
    row = await fetch_one(connection, _SUBJECT, key=key) if key is not None else None
    if row is None:
        return None
    profile = loaded(row["profile"])
    parts = (profile.get("first_name"), profile.get("last_name"))
    name = next((profile[field] for field in _NAMES if profile.get(field)), None)
    return {
        "key": row["key"],
        "kind": row["kind"],
        "id": row["id"],
        "name": name or " ".join(str(part) for part in parts if part) or None,
        **{field: profile.get(field) for field in _FIELDS},
    }


async def _promised(
    connection: Connection, run: str, person: RowDict | None, account: RowDict | None
) -> dict[str, Any] | None:
    """The promise of the journey's handoff (H1): the field that the author names, with its value."""
    row = await fetch_one(connection, _DEFINITION, run=run)
    journey = orjson.loads(row["artifact"]).get("journey", {}) if row is not None else {}
    handoff = journey.get("handoff") or {}
    field = handoff.get("promise")
    if not field:
        return None
    scope, _, name = field.partition(".")
    owner = {"profile": person, "account": account}.get(scope)
    value = await _value(connection, owner, name) if owner is not None and name.isidentifier() else None
    return {"field": field, "value": value, "from": handoff["from"], "to": handoff["to"]}


async def _value(connection: Connection, owner: RowDict, name: str) -> Any:
    row = await fetch_one(connection, _SUBJECT, key=owner["key"])
    return loaded(row["profile"]).get(name) if row is not None else None


async def _decided(connection: Connection, run: str, at: datetime) -> list[Mapping[str, Any]]:
    """The decisions of the run's step in which the task was opened."""
    return await fetch_all(connection, _DECIDED, run=run, at=at)
