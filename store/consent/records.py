"""Records of consent by channel and topic, and the append-only log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import and_, bindparam, delete, select, update
from sqlalchemy.dialects.postgresql import insert

from journeys.consent.bound_addresses import counts_now, current_addresses
from journeys.consent.changes import ConsentChange
from journeys.consent.precedence import (
    DatedStatement,
    NewestStatements,
    StatedBy,
    StatementEffect,
    granted_in,
    in_force,
    merged_statements,
)
from journeys.consent.preferences import ChannelTopic, merged_consents
from journeys.consent.rules import ConsentRuleSet
from store.consent import address_consents
from store.database import Connection, as_json, execute, fetch_all, fetch_one, sql
from store.people import subjects
from store.rows import RowDict
from store.schema import consent_log, consents

_statement = select(
    consents.c.channel,
    consents.c.topic,
    consents.c.granted,
    consents.c.source,
    consents.c.wording,
    consents.c.at,
    consents.c.address,
)
_LIST = sql(
    _statement.where(consents.c.subject_key == bindparam("key"), consents.c.in_force).order_by(
        consents.c.topic, consents.c.channel
    )
)
_NEWEST = sql(_statement.add_columns(consents.c.by).where(consents.c.subject_key == bindparam("key")))
_KEY = (consents.c.subject_key, consents.c.channel, consents.c.topic, consents.c.by)
_consent = insert(consents).values(
    subject_key=bindparam("key"),
    channel=bindparam("channel"),
    topic=bindparam("topic"),
    by=bindparam("by"),
    granted=bindparam("granted"),
    in_force=False,
    source=bindparam("source"),
    wording=bindparam("wording"),
    at=bindparam("at"),
    address=bindparam("address"),
)
_SET = sql(
    _consent.on_conflict_do_update(
        index_elements=_KEY,
        set_={
            "granted": _consent.excluded.granted,
            "in_force": False,
            "source": _consent.excluded.source,
            "wording": _consent.excluded.wording,
            "at": _consent.excluded.at,
            "address": _consent.excluded.address,
        },
    )
)
_of_place = (
    consents.c.subject_key == bindparam("key"),
    consents.c.channel == bindparam("channel"),
    consents.c.topic == bindparam("topic"),
)
_PUT_IN_FORCE = sql(
    update(consents)
    .where(*_of_place)
    .values(in_force=and_(consents.c.by == bindparam("counting"), consents.c.granted.is_not(None)))
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
        by=bindparam("by"),
        effect=bindparam("effect"),
        unreadable=bindparam("unreadable"),
    )
    .returning(consent_log.c.id)
)
_FORGET = sql(delete(consents).where(consents.c.subject_key == bindparam("gone")))


async def list_consents(connection: Connection, key: str) -> list[RowDict]:
    """A person's statements in force, by topic and channel. `address` is the hash of the address that a statement is bound to."""
    return [dict(row) for row in await fetch_all(connection, _LIST, key=key)]


async def list_in_force(connection: Connection, book: ConsentRuleSet, person: str) -> list[RowDict]:
    """The statements that count for the person and at their addresses as they are now."""
    rows = await list_consents(connection, person)
    profile, clock = await subjects.profile_and_clock_of(connection, person)
    current = current_addresses(book.addresses, profile)
    refused = {
        (row["channel"], row["topic"]): {**row, "granted": False, "wording": "", "address": None}
        for row in await address_consents.refusals_at(connection, book, profile, clock)
    }
    own = [row for row in rows if counts_now(row["address"], current)]
    mine = {(row["channel"], row["topic"]) for row in own if row["granted"] is False}
    others = [row for row in own if (row["channel"], row["topic"]) not in refused.keys() - mine]
    return [*others, *(row for place, row in refused.items() if place not in mine)]


async def statements_by(connection: Connection, book: ConsentRuleSet, person: str) -> dict[ChannelTopic, bool]:
    """A person's consents as they are now, by channel and topic."""
    rows = await list_in_force(connection, book, person)
    return {(row["channel"], row["topic"]): row["granted"] for row in rows}


async def read_newest(connection: Connection, person: str) -> dict[ChannelTopic, NewestStatements]:
    """The newest statements of a person, also those that are not in force."""
    newest: dict[ChannelTopic, NewestStatements] = {}
    for row in await fetch_all(connection, _NEWEST, key=person):
        by = StatedBy(row["by"])
        statement = DatedStatement(
            row["granted"], row["at"], by, row["source"], row["wording"], row["address"]
        )  # fmt: skip
        place = row["channel"], row["topic"]
        newest[place] = {**newest.get(place, {}), by: statement}
    return newest


async def keep_statements(
    connection: Connection,
    person: str,
    place: ChannelTopic,
    newest: NewestStatements,
    changed: Sequence[DatedStatement],
) -> None:
    """Store the `changed` ones of the newest statements of a place, and put the one that counts in force."""
    counting = in_force(newest)
    assert counting is not None
    named = {"key": person, "channel": place[0], "topic": place[1]}
    for statement in changed:
        await execute(
            connection,
            _SET,
            **named,
            by=statement.by,
            granted=statement.granted,
            source=statement.source,
            wording=statement.wording,
            at=statement.at,
            address=statement.address,
        )
    await execute(connection, _PUT_IN_FORCE, **named, counting=counting.by)


async def log_change(
    connection: Connection, person: str, change: ConsentChange, statement: DatedStatement, effect: StatementEffect
) -> int:
    """Log a change with its effect; the number of the line."""
    logged = await fetch_one(
        connection,
        _RECORD,
        key=person,
        channel=change.channel,
        topic=change.topic,
        granted=change.granted,
        pending=effect is StatementEffect.WAITS,
        source=change.source,
        wording=change.wording,
        proof=as_json(dict(change.proof)),
        at=statement.at,
        by=statement.by,
        effect=effect,
        unreadable=change.unreadable or None,
    )
    assert logged is not None
    return int(logged["id"])


async def move_to(connection: Connection, gone: str, into: str, at: datetime) -> None:
    """Move a visitor's consents to the user; where they differ, the withdrawal wins."""
    theirs, mine = await read_newest(connection, gone), await read_newest(connection, into)
    before = granted_in(mine)
    merged = merged_consents(granted_in(theirs), before)
    for place in sorted({*theirs, *merged}):
        newest = merged_statements(theirs.get(place, {}), mine.get(place, {}), merged.get(place), at)
        changed = [each for by, each in newest.items() if mine.get(place, {}).get(by) is not each]
        await keep_statements(connection, into, place, newest, changed)
        counting = in_force(newest)
        if counting is not None and counting.granted is not before.get(place):
            change = ConsentChange(*place, counting.granted, "merge", by=counting.by)
            await log_change(connection, into, change, replace(counting, at=at), StatementEffect.APPLIED)
    await execute(connection, _FORGET, gone=gone)
