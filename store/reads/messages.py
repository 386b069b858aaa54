"""Reads of the ledger: messages with the reasons of their verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import bindparam, literal_column, select

from journeys.gate.status import Status
from store.database import Connection, fetch_all, fetch_one, sql
from store.expressions import any_of, before_given, trace_of, when_given
from store.rows import RowDict, loaded
from store.schema import messages

_messages = select(
    messages.c.id,
    messages.c.key,
    messages.c.run,
    messages.c.journey,
    messages.c.state,
    messages.c.action,
    messages.c.template,
    messages.c.topic,
    messages.c.priority,
    messages.c.via,
    messages.c.channel,
    messages.c.status,
    messages.c.reasons,
    messages.c.at,
    messages.c.due_at,
    messages.c.expires_at,
    messages.c.decided_at,
    messages.c.sent_at,
    messages.c.settled_at,
    messages.c.attempts,
    messages.c.detail,
    messages.c.recipient,
    messages.c.step,
    messages.c.merged_into,
    trace_of(messages.c.trace),
)
_page = _messages.where(before_given(messages.c.id)).order_by(messages.c.id.desc()).limit(bindparam("limit"))
_of_status = _page.where(when_given("status", messages.c.status))
_OF_RECIPIENT = sql(_of_status.where(any_of(messages.c.recipient, "keys")))
_OF_RUN = sql(_of_status.where(messages.c.run == bindparam("run")))
_LIST = sql(_page)
_WITH_STATUS = {status: sql(_page.where(messages.c.status == literal_column(f"'{status}'"))) for status in Status}
_GET = sql(_messages.where(messages.c.id == bindparam("id")))
_CONTENT = sql(
    select(messages.c.channel, messages.c.address, messages.c.body, messages.c.summary).where(
        messages.c.id == bindparam("id")
    )
)
_BY_KEY = sql(_messages.where(messages.c.key == bindparam("key")))
_PARTS = sql(_messages.where(messages.c.merged_into == bindparam("key")).order_by(messages.c.id))
_OF_TEMPLATE = sql(
    _messages.where(any_of(messages.c.recipient, "keys"), messages.c.template == bindparam("template"))
    .order_by(messages.c.id.desc())
    .limit(20)
)
_OF_TRACE = sql(
    _messages.where(messages.c.trace == bindparam("trace")).order_by(messages.c.id).limit(bindparam("limit"))
)


async def list_messages(
    connection: Connection,
    *,
    keys: list[str] | None = None,
    run: str | None = None,
    status: str | None = None,
    before: int | None = None,
    limit: int,
) -> list[RowDict]:
    """The ledger, newest first: of one person, of one run, or of all."""
    page: dict[str, Any] = {"before": before, "limit": limit}
    if keys is not None:
        rows = await fetch_all(connection, _OF_RECIPIENT, keys=keys, status=status, **page)
    elif run is not None:
        rows = await fetch_all(connection, _OF_RUN, run=run, status=status, **page)
    elif status is not None:
        rows = await fetch_all(connection, _WITH_STATUS[Status(status)], **page)
    else:
        rows = await fetch_all(connection, _LIST, **page)
    return [_message(row) for row in rows]


async def get_message(connection: Connection, identity: int) -> RowDict | None:
    """One row of the ledger."""
    row = await fetch_one(connection, _GET, id=identity)
    return _message(row) if row else None


async def content_of_message(connection: Connection, identity: int) -> RowDict | None:
    """Channel, address, rendered bytes and summary of a message."""
    row = await fetch_one(connection, _CONTENT, id=identity)
    return {**row, "summary": loaded(row["summary"])} if row else None


async def message_with_key(connection: Connection, key: str) -> RowDict | None:
    """One row of the ledger by its key."""
    row = await fetch_one(connection, _BY_KEY, key=key)
    return _message(row) if row else None


async def parts_of_message(connection: Connection, key: str) -> list[RowDict]:
    """The messages that were sent in this digest."""
    return [_message(row) for row in await fetch_all(connection, _PARTS, key=key)]


async def messages_of_template(connection: Connection, keys: list[str], template: str) -> list[RowDict]:
    """A person's messages of this template, newest first, at most 20."""
    return [_message(row) for row in await fetch_all(connection, _OF_TEMPLATE, keys=keys, template=template)]


async def messages_of_trace(connection: Connection, trace: str, limit: int) -> list[RowDict]:
    """The messages that one event has caused, oldest first."""
    return [_message(row) for row in await fetch_all(connection, _OF_TRACE, trace=trace, limit=limit)]


def _message(row: Mapping[str, Any]) -> RowDict:
    return {**row, "via": loaded(row["via"]), "reasons": loaded(row["reasons"])}
