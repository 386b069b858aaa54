"""An in-app message is seen, acted on, put away or answered: the mark and the signal that tells of it are one commit."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

from journeys.content.surveys import ANSWERED, Survey
from journeys.protocol.wire import SOURCE_SELF
from store.database import Connection, Database, as_json, fetch_one, sql
from store.definitions.registry import DefinitionRegistry
from store.events import ingest
from store.events.reactions import reaction
from store.inbox import checklists
from store.inbox.items import CHANGED, CHANNEL, item_of
from store.people.test_clocks import now_for
from store.retry import retry_transaction
from store.rows import RowDict

Mark = Literal["seen", "acted", "dismissed"]

_CLOCK = sql("SELECT clock FROM subjects WHERE key = :key")
_ITEM = f"i.id, i.key, i.recipient, i.content, i.created_at, i.seen_at, i.acted_at, i.dismissed_at, {checklists.TICKS} AS ticks"
_ONE = sql(f"SELECT {_ITEM} FROM inbox i WHERE i.id = :id")  # noqa: S608 -- the columns are ours


def _mark(column: str) -> Any:
    """Who acts or dismisses has seen it; the first time counts."""
    marks = dict.fromkeys(("seen_at", column), None)
    told = ", ".join(f"{name} = coalesce({name}, :at)" for name in marks)
    return sql(
        f"""
        WITH marked AS (UPDATE inbox SET {told}, {CHANGED} WHERE id = :id RETURNING *)
        SELECT {_ITEM}, pg_notify('{CHANNEL}', i.recipient) FROM marked i
        """  # noqa: S608 -- the columns are ours
    )


_MARK: Mapping[Mark, Any] = {"seen": _mark("seen_at"), "acted": _mark("acted_at"), "dismissed": _mark("dismissed_at")}


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
        before = await fetch_one(connection, _ONE, id=identity)
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
        return {name: value for name, value in item_of(after).items() if name not in {"key", "recipient", "pg_notify"}}

    return await retry_transaction(database, work)


_ANSWER = sql(
    f"""
    WITH marked AS (
      UPDATE inbox SET content = jsonb_set(content, CAST(:path AS text[]), CAST(:answer AS jsonb)),
        seen_at = coalesce(seen_at, :at), acted_at = coalesce(acted_at, :at), {CHANGED}
      WHERE id = :id AND content #> CAST(:path AS text[]) IS NULL RETURNING recipient)
    SELECT pg_notify('{CHANNEL}', recipient) FROM marked
    """  # noqa: S608 -- the columns are ours
)


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
        before = await fetch_one(connection, _ONE, id=identity)
        if before is None or (of is not None and before["recipient"] not in of):
            return None
        found = item_of(before)
        about, path, part = _part(found, item)
        if "asks" not in part:
            raise NoSurvey
        given = Survey.model_validate(part["asks"]).answered(value, comment)
        told = await reaction(connection, ANSWERED, about, before["recipient"], once=f"{about}=answered", **given)
        await ingest.accept_within(connection, catalogue, [told], source=SOURCE_SELF)
        clock = await fetch_one(connection, _CLOCK, key=before["recipient"])
        at = await now_for(connection, clock["clock"] if clock else None)
        await fetch_one(connection, _ANSWER, id=identity, path=path, answer=as_json(given), at=at)
        after = await fetch_one(connection, _ONE, id=identity)
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
