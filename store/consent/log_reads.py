"""Reads of the consent log: of one person, and of what changed nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from sqlalchemy import bindparam, literal_column, select

from journeys.consent.precedence import StatementEffect
from store.database import Connection, fetch_all, sql
from store.expressions import any_of, before_given
from store.rows import RowDict
from store.schema import consent_log

_log = (
    select(
        consent_log.c.id,
        consent_log.c.channel,
        consent_log.c.topic,
        consent_log.c.granted,
        consent_log.c.pending,
        consent_log.c.source,
        consent_log.c.wording,
        consent_log.c.proof,
        consent_log.c.at,
        consent_log.c.by,
        consent_log.c.effect,
        consent_log.c.unreadable,
        consent_log.c.recorded_at,
    )
    .where(before_given(consent_log.c.id))
    .order_by(consent_log.c.id.desc())
    .limit(bindparam("limit"))
)
_LOG = sql(_log.where(any_of(consent_log.c.subject_key, "keys")))
_of_person = _log.add_columns(consent_log.c.subject_key.label("person"))
_LISTED = {
    effect: sql(_of_person.where(consent_log.c.effect == literal_column(f"'{effect}'"))) for effect in StatementEffect
}
_UNREADABLE = sql(_of_person.where(consent_log.c.unreadable.is_not(None)))


async def read_consent_log(connection: Connection, keys: list[str], before: int | None, limit: int) -> list[RowDict]:
    """The log of these subjects' consent changes, newest first."""
    return _entries(await fetch_all(connection, _LOG, keys=keys, before=before, limit=limit))


async def statements_with_effect(
    connection: Connection, effect: StatementEffect, before: int | None, limit: int
) -> list[RowDict]:
    """Statements of everybody with this effect, newest first."""
    return _entries(await fetch_all(connection, _LISTED[effect], before=before, limit=limit))


async def unreadable_opt_outs(connection: Connection, before: int | None, limit: int) -> list[RowDict]:
    """Opt-outs of everybody that were taken in their widest meaning, newest first."""
    return _entries(await fetch_all(connection, _UNREADABLE, before=before, limit=limit))


def _entries(rows: Iterable[Mapping[str, Any]]) -> list[RowDict]:
    return [{**row, "proof": orjson.loads(row["proof"])} for row in rows]
