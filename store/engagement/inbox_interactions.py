"""Interactions with in-app messages: seen, acted on, dismissed, answered; each is a signal too.

The mark and its signal are one commit.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

from sqlalchemy import Column, ColumnElement, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import JSONB

from journeys.content.surveys import ANSWERED, Survey
from journeys.protocol.wire import SOURCE_SELF
from store.database import Connection, Database, SqlStatement, as_json, fetch_one, sql
from store.definitions.registry import DefinitionRegistry
from store.events import ingest
from store.events.reactions import reaction
from store.expressions import THIS_TRANSACTION
from store.inbox import checklists
from store.inbox.items import CHANNEL, item_of
from store.people.test_clocks import now_for
from store.retry import retry_transaction
from store.rows import RowDict
from store.schema import inbox, subjects
from store.schema.base import TextArray, Timestamp

Mark = Literal["seen", "acted", "dismissed"]

_CLOCK = sql(select(subjects.c.clock).where(subjects.c.key == bindparam("key")))
_ITEM = ("id", "key", "recipient", "content", "created_at", "seen_at", "acted_at", "dismissed_at")
_GET = sql(select(*inbox.c[_ITEM], checklists.ticks_of(inbox.c.key)).where(inbox.c.id == bindparam("id")))
_changed = update(inbox).where(inbox.c.id == bindparam("id")).values(changed=THIS_TRANSACTION)


def _first(column: Column[Any]) -> ColumnElement[Any]:
    """The first time counts."""
    return func.coalesce(column, bindparam("at", type_=Timestamp))


def _mark(*columns: Column[Any]) -> SqlStatement:
    marked = _changed.values({column: _first(column) for column in columns}).returning(*inbox.c[_ITEM]).cte("marked")
    notified = func.pg_notify(CHANNEL, marked.c.recipient).label("notified")
    return sql(select(marked, checklists.ticks_of(marked.c.key), notified))


# Who acts or dismisses has seen it.
_MARK: Mapping[Mark, SqlStatement] = {
    "seen": _mark(inbox.c.seen_at),
    "acted": _mark(inbox.c.seen_at, inbox.c.acted_at),
    "dismissed": _mark(inbox.c.seen_at, inbox.c.dismissed_at),
}


async def record_interaction(
    database: Database,
    catalogue: DefinitionRegistry,
    identity: int,
    what: Mark,
    item: str | None = None,
    *,
    of: Collection[str] | None = None,
) -> RowDict | None:
    """Mark one message and tell `message_<what>`, once: the message as it is then. None if there is none.

    `of` are the keys of one person, who marks only what is theirs; without it the caller may mark anybody's.

    `item` is the key of one message within a digest: what is done is done to that one. Raises LookupError if it is not in it.
    """

    async def work(connection: Connection) -> RowDict | None:
        # The signal first: it locks the person, whom everybody else locks before a row of their inbox.
        before = await fetch_one(connection, _GET, id=identity)
        if before is None or (of is not None and before["recipient"] not in of):
            return None
        found = item_of(before)
        about = before["key"] if item is None else _member(found, item)
        told = await reaction(connection, f"message_{what}", about, before["recipient"], once=f"{about}={what}")
        await ingest.accept_within(connection, catalogue, [told], source=SOURCE_SELF)
        clock = await fetch_one(connection, _CLOCK, key=before["recipient"])
        at = await now_for(connection, clock["clock"] if clock else None)
        after = await fetch_one(connection, _MARK[what], id=identity, at=at)
        assert after is not None
        return {name: value for name, value in item_of(after).items() if name not in {"key", "recipient", "notified"}}

    return await retry_transaction(database, work)


_path = bindparam("path", type_=TextArray)
_answered = (
    _changed.where(inbox.c.content.op("#>")(_path).is_(None))
    .values(
        content=func.jsonb_set(inbox.c.content, _path, bindparam("answer", type_=JSONB)),
        seen_at=_first(inbox.c.seen_at),
        acted_at=_first(inbox.c.acted_at),
    )
    .returning(inbox.c.recipient)
    .cte("answered")
)
_ANSWER = sql(select(func.pg_notify(CHANNEL, _answered.c.recipient)))


class NoSurvey(Exception):
    """The message asks nothing. The caller's turn: answer one of kind `survey`."""


class OtherAnswer(Exception):
    """It was answered otherwise before, and that stands. The caller's turn: show what was said."""


async def record_survey_answer(
    database: Database,
    catalogue: DefinitionRegistry,
    identity: int,
    value: int | str,
    comment: str | None,
    item: str | None = None,
    *,
    of: Collection[str] | None = None,
) -> RowDict | None:
    """Keep the answer to a survey and tell `survey_answered`, once: the message as it is then. None if there is none.

    `of` and `item` as for a mark. Raises LookupError if `item` is not in the digest, NoSurvey, OtherAnswer, and ValueError for
    no answer of this survey's.
    """

    async def work(connection: Connection) -> RowDict | None:
        before = await fetch_one(connection, _GET, id=identity)
        if before is None or (of is not None and before["recipient"] not in of):
            return None
        found = item_of(before)
        about, path, part = _part(found, item)
        if "asks" not in part:
            raise NoSurvey
        given = Survey.model_validate(part["asks"]).answer_properties(value, comment)
        told = await reaction(connection, ANSWERED, about, before["recipient"], once=f"{about}=answered", **given)
        await ingest.accept_within(connection, catalogue, [told], source=SOURCE_SELF)
        clock = await fetch_one(connection, _CLOCK, key=before["recipient"])
        at = await now_for(connection, clock["clock"] if clock else None)
        await fetch_one(connection, _ANSWER, id=identity, path=path, answer=as_json(given), at=at)
        after = await fetch_one(connection, _GET, id=identity)
        assert after is not None
        shown = item_of(after)
        if _part(shown, item)[2]["answer"] != given:
            raise OtherAnswer
        return {name: each for name, each in shown.items() if name not in {"key", "recipient"}}

    return await retry_transaction(database, work)


def _part(found: RowDict, item: str | None) -> tuple[str, list[str], Mapping[str, Any]]:
    """What the answer is about, where in the content it is kept, and what was asked."""
    content = found["content"]
    if item is None:
        return found["key"], ["answer"], content
    _member(found, item)
    place = next(n for n, each in enumerate(content["items"]) if each.get("key") == item)
    return item, ["items", str(place), "answer"], content["items"][place]


def _member(found: RowDict, key: str) -> str:
    if key not in {each.get("key") for each in found["content"].get("items", ())}:
        raise LookupError(key)
    return key
