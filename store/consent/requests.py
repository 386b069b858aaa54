"""Requests for confirmation: grants that wait for a signed link (double opt-in)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Text, bindparam, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from journeys.consent.changes import REPEAT_AFTER, REQUESTED, ConsentChange
from journeys.consent.preferences import ChannelTopic
from journeys.events.inbound import InboundEvent
from journeys.gate.verdicts import ANY
from journeys.tokens.signed_links import CONFIRM_WITHIN
from store.database import Connection, as_json, execute, fetch_all, fetch_one, sql
from store.expressions import any_of
from store.schema import consent_requests

SOURCE_CONSENT: Final = "consent"
"""The source of the events that a change of consent causes."""


def _overlaps(like: ColumnElement[str], name: str) -> ColumnElement[bool]:
    """A channel or topic that equals the parameter, where either may be `ANY`."""
    value = bindparam(name, type_=Text)
    return or_(like == value, value == ANY, like == ANY)


_open = (consent_requests.c.confirmed_at.is_(None), consent_requests.c.refused_at.is_(None))
_PENDING = sql(
    select(
        consent_requests.c.id,
        consent_requests.c.channel,
        consent_requests.c.topic,
        consent_requests.c.at,
        consent_requests.c.asked_at,
        consent_requests.c.address,
    )
    .where(
        consent_requests.c.subject_key == bindparam("key"),
        *_open,
        consent_requests.c.asked_at > bindparam("since"),
    )
    .order_by(consent_requests.c.id)
)
_REQUEST = sql(
    insert(consent_requests)
    .values(
        subject_key=bindparam("key"),
        channel=bindparam("channel"),
        topic=bindparam("topic"),
        source=bindparam("source"),
        wording=bindparam("wording"),
        proof=bindparam("proof"),
        at=bindparam("said_at"),
        address=bindparam("address"),
        asked_at=bindparam("now"),
    )
    .returning(consent_requests.c.id)
)
_DROP = sql(
    update(consent_requests)
    .where(
        consent_requests.c.subject_key == bindparam("key"),
        *_open,
        consent_requests.c.at <= bindparam("said_at"),
        _overlaps(consent_requests.c.channel, "channel"),
        _overlaps(consent_requests.c.topic, "topic"),
    )
    .values(refused_at=bindparam("now"))
)
_LOCK = sql(
    select(
        consent_requests.c.id,
        consent_requests.c.channel,
        consent_requests.c.topic,
        consent_requests.c.source,
        consent_requests.c.wording,
        consent_requests.c.proof,
        consent_requests.c.confirmed_at,
        consent_requests.c.refused_at,
        consent_requests.c.address,
    )
    .where(consent_requests.c.id == bindparam("id"), any_of(consent_requests.c.subject_key, "keys"))
    .with_for_update()
)
_OPEN = sql(
    select(consent_requests.c.channel, consent_requests.c.topic, consent_requests.c.address).where(
        consent_requests.c.id == bindparam("id"), consent_requests.c.subject_key == bindparam("key"), *_open
    )
)
_CONFIRM = sql(
    update(consent_requests).where(consent_requests.c.id == bindparam("id")).values(confirmed_at=bindparam("at"))
)
_MOVE = sql(
    update(consent_requests)
    .where(consent_requests.c.subject_key == bindparam("gone"))
    .values(subject_key=bindparam("into"))
)


async def pending_confirmations(connection: Connection, person: str, now: datetime) -> list[dict[str, Any]]:
    """The grants that wait for confirmation; `now` is by the person's clock."""
    return [dict(row) for row in await fetch_all(connection, _PENDING, key=person, since=now - CONFIRM_WITHIN)]


async def request_confirmation(
    connection: Connection,
    person: str,
    change: ConsentChange,
    *,
    said_at: datetime,
    now: datetime,
    address: str | None,
) -> InboundEvent | None:
    """Store a pending grant; the event that sends its link, or None if one was sent just now. The person is locked."""
    for row in await pending_confirmations(connection, person, now):
        is_same = (row["channel"], row["topic"], row["address"]) == (*change.place, address)
        if is_same and now - row["asked_at"] < REPEAT_AFTER:
            return None
    stored = await fetch_one(
        connection,
        _REQUEST,
        key=person,
        channel=change.channel,
        topic=change.topic,
        source=change.source,
        wording=change.wording,
        proof=as_json(dict(change.proof)),
        said_at=said_at,
        now=now,
        address=address,
    )
    assert stored is not None
    request = str(stored["id"])
    return consent_event(REQUESTED, person, change.channel, change.topic, request, wording=change.wording)


async def open_request(connection: Connection, number: str, person: str) -> Mapping[str, Any] | None:
    """A request of this person that is neither confirmed nor refused: channel, topic and address; None if there is none."""
    return await fetch_one(connection, _OPEN, id=int(number), key=person) if _is_number(number) else None


def consent_event(name: str, person: str, channel: str, topic: str, request: str, **data: Any) -> InboundEvent:
    """An event about a request, accepted once for each request and name."""
    event_data = {"request": request, **data, "channel": channel, "topic": topic}
    return InboundEvent("track", f"{name}:{request}", name, subject_key=person, data=event_data)


async def drop_pending(
    connection: Connection, person: str, place: ChannelTopic, said_at: datetime, now: datetime
) -> None:
    """Refuse every pending grant for this channel and topic that was not said after this instant."""
    channel, topic = place
    await execute(connection, _DROP, key=person, channel=channel, topic=topic, said_at=said_at, now=now)


async def lock_request(connection: Connection, request: str, keys: list[str]) -> Mapping[str, Any] | None:
    """A request of one of these subjects, locked; None if there is none with this number."""
    return await fetch_one(connection, _LOCK, id=int(request), keys=keys) if _is_number(request) else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19


async def mark_confirmed(connection: Connection, request: int, at: datetime) -> None:
    """Record that a request was confirmed."""
    await execute(connection, _CONFIRM, id=request, at=at)


async def move_to(connection: Connection, gone: str, into: str) -> None:
    """Move a visitor's requests to the user."""
    await execute(connection, _MOVE, gone=gone, into=into)
