"""Records of consent by channel and topic, and the append-only log."""

from __future__ import annotations

import operator
from datetime import datetime

import orjson
from sqlalchemy import bindparam, delete, select
from sqlalchemy.dialects.postgresql import insert

from journeys.consent.changes import ConsentChange
from journeys.consent.preferences import ChannelTopic, merged_consents
from store.consent import requests
from store.database import Connection, as_json, execute, fetch_all, fetch_one, sql
from store.expressions import any_of, when_given
from store.rows import RowDict
from store.schema import consent_log, consents

_LIST = sql(
    select(
        consents.c.channel,
        consents.c.topic,
        consents.c.granted,
        consents.c.source,
        consents.c.wording,
        consents.c.at,
    )
    .where(consents.c.subject_key == bindparam("key"))
    .order_by(consents.c.topic, consents.c.channel)
)
_LOG = sql(
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
    )
    .where(any_of(consent_log.c.subject_key, "keys"), when_given("before", consent_log.c.id, operator.lt))
    .order_by(consent_log.c.id.desc())
    .limit(bindparam("limit"))
)
_KEY = (consents.c.subject_key, consents.c.channel, consents.c.topic)
_consent = insert(consents).values(
    subject_key=bindparam("key"),
    channel=bindparam("channel"),
    topic=bindparam("topic"),
    granted=bindparam("granted"),
    source=bindparam("source"),
    wording=bindparam("wording"),
    at=bindparam("at"),
)
_SET = sql(
    _consent.on_conflict_do_update(
        index_elements=_KEY,
        set_={
            "granted": _consent.excluded.granted,
            "source": _consent.excluded.source,
            "wording": _consent.excluded.wording,
            "at": _consent.excluded.at,
        },
    )
)
_REVOKE = sql(
    delete(consents).where(
        consents.c.subject_key == bindparam("key"),
        consents.c.channel == bindparam("channel"),
        consents.c.topic == bindparam("topic"),
    )
)
_RECORD = sql(
    insert(consent_log)
    .values(
        subject_key=bindparam("key"),
        channel=bindparam("channel"),
        topic=bindparam("topic"),
        granted=bindparam("granted"),
        pending=bindparam("pending"),
        source=bindparam("source"),
        wording=bindparam("wording"),
        proof=bindparam("proof"),
        at=bindparam("at"),
    )
    .returning(consent_log.c.id)
)
_OF_BOTH = sql(
    select(consents.c.subject_key, consents.c.channel, consents.c.topic, consents.c.granted)
    .where(any_of(consents.c.subject_key, "keys"))
    .order_by(consents.c.channel, consents.c.topic)
)
_merged_values = {
    "subject_key": bindparam("into"),
    "channel": bindparam("channel"),
    "topic": bindparam("topic"),
    "granted": bindparam("granted"),
    "source": "merge",
    "at": bindparam("at"),
}
_merged = insert(consents).values(_merged_values)
_MERGE = sql(
    _merged.on_conflict_do_update(
        index_elements=_KEY,
        set_={
            "granted": _merged.excluded.granted,
            "source": _merged.excluded.source,
            "at": _merged.excluded.at,
        },
    )
)
_RECORD_MERGE = sql(insert(consent_log).values(_merged_values))


async def list_consents(connection: Connection, key: str) -> list[RowDict]:
    """A person's consents as they are now, by topic and channel."""
    return [dict(row) for row in await fetch_all(connection, _LIST, key=key)]


async def read_consent_log(connection: Connection, keys: list[str], before: int | None, limit: int) -> list[RowDict]:
    """The log of these subjects' consent changes, newest first."""
    rows = await fetch_all(connection, _LOG, keys=keys, before=before, limit=limit)
    return [{**row, "proof": orjson.loads(row["proof"])} for row in rows]


async def statements_by(connection: Connection, person: str) -> dict[ChannelTopic, bool]:
    """A person's consents as they are now, by channel and topic."""
    return {(row["channel"], row["topic"]): row["granted"] for row in await fetch_all(connection, _LIST, key=person)}


async def record_change(
    connection: Connection, person: str, change: ConsentChange, at: datetime, *, waits: bool
) -> int:
    """Log a change, and put it in force unless it `waits`; the number of the log line.

    It is 0 if there was nothing to revoke.
    """
    place = {"key": person, "channel": change.channel, "topic": change.topic}
    consent = {**place, "granted": change.granted, "source": change.source, "wording": change.wording, "at": at}
    if change.granted is None:
        if not await execute(connection, _REVOKE, **place):
            return 0
    elif not waits:
        await execute(connection, _SET, **consent)
    if not change.granted:
        await requests.drop_pending(connection, person, change.channel, change.topic, at)
    logged = await fetch_one(connection, _RECORD, **consent, pending=waits, proof=as_json(dict(change.proof)))
    return int(logged["id"]) if logged else 0


async def move_to(connection: Connection, gone: str, into: str, at: datetime) -> None:
    """Move a visitor's consents to the user; where they differ, the withdrawal wins."""
    consents_of: dict[str, dict[ChannelTopic, bool]] = {gone: {}, into: {}}
    for row in await fetch_all(connection, _OF_BOTH, keys=[gone, into]):
        consents_of[row["subject_key"]][row["channel"], row["topic"]] = row["granted"]
    for (channel, topic), granted in merged_consents(consents_of[gone], consents_of[into]).items():
        if consents_of[into].get((channel, topic)) is not granted:
            values = {"into": into, "channel": channel, "topic": topic, "granted": granted, "at": at}
            await execute(connection, _MERGE, **values)
            await execute(connection, _RECORD_MERGE, **values)
