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
from store.inbox.items import CHANNEL, ITEM_ID, item_of
from store.people.test_clocks import now_from_outside
from store.retry import retry_transaction
from store.rows import RowDict
from store.schema import inbox, subjects
from store.schema.base import TextArray, Timestamp

Mark = Literal["seen", "acted", "dismissed"]

_CLOCK = sql(select(subjects.c.clock).where(subjects.c.key == bindparam("key")))
_COLUMNS = ("key", "recipient", "content", "created_at", "seen_at", "acted_at", "dismissed_at")
_GET = sql(select(ITEM_ID, *inbox.c[_COLUMNS], checklists.ticks_of(inbox.c.key)).where(inbox.c.ref == bindparam("id")))
_changed = update(inbox).where(inbox.c.ref == bindparam("id")).values(changed=THIS_TRANSACTION)


def _first(column: Column[Any]) -> ColumnElement[Any]:
    """The first instant stays."""
    return func.coalesce(column, bindparam("at", type_=Timestamp))


def _mark(*columns: Column[Any]) -> SqlStatement:
    marked = (
        _changed.values({column: _first(column) for column in columns})
        .returning(ITEM_ID, *inbox.c[_COLUMNS])
        .cte("marked")
    )
    notified = func.pg_notify(CHANNEL, marked.c.recipient).label("notified")
    return sql(select(marked, checklists.ticks_of(marked.c.key), notified))


# Acting on a message or dismissing it also marks it as seen.
_MARK: Mapping[Mark, SqlStatement] = {
    "seen": _mark(inbox.c.seen_at),
    "acted": _mark(inbox.c.seen_at, inbox.c.acted_at),
    "dismissed": _mark(inbox.c.seen_at, inbox.c.dismissed_at),
}


async def record_interaction(
    database: Database,
    catalogue: DefinitionRegistry,
    identity: str,
    mark: Mark,
    item: str | None = None,
    *,
    of: Collection[str] | None = None,
) -> RowDict | None:
    """Mark a message and emit `message_<mark>`, once; the message afterwards, or None if there is none.

    `of` are the keys of one person, who may mark only their own messages; without it any message may be marked.

    `item` is the key of a message within a digest, to which the mark then applies. Raises LookupError if the digest
    does not contain it.
    """

    async def work(connection: Connection) -> RowDict | None:
        # The signal first: it locks the person, and every transaction locks the person before a row of their inbox.
        before = await fetch_one(connection, _GET, id=identity)
        if before is None or (of is not None and before["recipient"] not in of):
            return None
        message = item_of(before)
        about = before["key"] if item is None else _member(message, item)
        event = await reaction(connection, f"message_{mark}", about, before["recipient"], once=f"{about}={mark}")
        await ingest.accept_within(connection, catalogue, [event], source=SOURCE_SELF)
        clock = await fetch_one(connection, _CLOCK, key=before["recipient"])
        at = await now_from_outside(connection, clock["clock"] if clock else None)
        after = await fetch_one(connection, _MARK[mark], id=identity, at=at)
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


class NotASurvey(Exception):
    """The message is no survey. The caller's turn: answer one of kind `survey`."""


class AnsweredDifferently(Exception):
    """The survey has another answer already, which stays. The caller's turn: show the stored answer."""


async def record_survey_answer(
    database: Database,
    catalogue: DefinitionRegistry,
    identity: str,
    value: int | str,
    comment: str | None,
    item: str | None = None,
    *,
    of: Collection[str] | None = None,
) -> RowDict | None:
    """Store the answer to a survey and emit `survey_answered`, once; the message afterwards, or None if there is none.

    `of` and `item` as for a mark. Raises LookupError if `item` is not in the digest, NotASurvey, AnsweredDifferently,
    and ValueError for an answer that this survey does not offer.
    """

    async def work(connection: Connection) -> RowDict | None:
        before = await fetch_one(connection, _GET, id=identity)
        if before is None or (of is not None and before["recipient"] not in of):
            return None
        message = item_of(before)
        about, path, part = _part(message, item)
        if "asks" not in part:
            raise NotASurvey
        answer = Survey.model_validate(part["asks"]).answer_properties(value, comment)
        event = await reaction(connection, ANSWERED, about, before["recipient"], once=f"{about}=answered", **answer)
        await ingest.accept_within(connection, catalogue, [event], source=SOURCE_SELF)
        clock = await fetch_one(connection, _CLOCK, key=before["recipient"])
        at = await now_from_outside(connection, clock["clock"] if clock else None)
        await fetch_one(connection, _ANSWER, id=identity, path=path, answer=as_json(answer), at=at)
        after = await fetch_one(connection, _GET, id=identity)
        assert after is not None
        shown = item_of(after)
        if _part(shown, item)[2]["answer"] != answer:
            raise AnsweredDifferently
        return {name: part for name, part in shown.items() if name not in {"key", "recipient"}}

    return await retry_transaction(database, work)


def _part(message: RowDict, item: str | None) -> tuple[str, list[str], Mapping[str, Any]]:
    """The key that the answer is about, its path in the content, and the part of the content with the question."""
    content = message["content"]
    if item is None:
        return message["key"], ["answer"], content
    _member(message, item)
    place = next(n for n, part in enumerate(content["items"]) if part.get("key") == item)
    return item, ["items", str(place), "answer"], content["items"][place]


def _member(message: RowDict, key: str) -> str:
    if key not in {part.get("key") for part in message["content"].get("items", ())}:
        raise LookupError(key)
    return key
