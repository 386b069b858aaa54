"""Requests of confirmation: a yes that waits for its signed link (double opt-in)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from journeys.consent.changes import ConsentChange
from journeys.events.inbound import InboundEvent
from journeys.tokens.signed_links import CONFIRM_WITHIN, Link, Links
from store.database import Connection, as_json, execute, fetch_all, fetch_one, sql

SOURCE_CONSENT: Final = "consent"
"""The source of the events that a change of consent causes."""
REQUESTED: Final = "consent_requested"
CONFIRMED: Final = "consent_confirmed"
PATIENCE: Final = timedelta(minutes=10)
"""Who asks again within it is sent no second link: a page that can be submitted must not fill somebody's mailbox."""

_PENDING = sql(
    """
    SELECT id, channel, topic, at, asked_at FROM consent_requests
    WHERE subject_key = :key AND confirmed_at IS NULL AND refused_at IS NULL
      AND asked_at > clock_timestamp() - CAST(:lifetime AS interval)
    ORDER BY id
    """
)
_REQUEST = sql(
    """
    INSERT INTO consent_requests (subject_key, channel, topic, source, wording, proof, at, asked_at)
    VALUES (:key, :channel, :topic, :source, :wording, CAST(:proof AS jsonb), :at, clock_timestamp()) RETURNING id
    """
)
_DROP = sql(
    """
    UPDATE consent_requests SET refused_at = clock_timestamp()
    WHERE subject_key = :key AND confirmed_at IS NULL AND refused_at IS NULL
      AND (channel = :channel OR CAST(:channel AS text) = '*' OR channel = '*')
      AND (topic = :topic OR CAST(:topic AS text) = '*' OR topic = '*')
    """
)
_LOCK = sql(
    """
    SELECT id, channel, topic, source, wording, proof, confirmed_at, refused_at FROM consent_requests
    WHERE id = :id AND subject_key = ANY(CAST(:keys AS text[])) FOR UPDATE
    """
)
_CONFIRM = sql("UPDATE consent_requests SET confirmed_at = clock_timestamp() WHERE id = :id")
_MOVE = sql("UPDATE consent_requests SET subject_key = :into WHERE subject_key = :gone")


async def pending_confirmations(connection: Connection, person: str) -> list[dict[str, Any]]:
    """The places whose yes waits for its link."""
    return [dict(row) for row in await fetch_all(connection, _PENDING, key=person, lifetime=CONFIRM_WITHIN)]


async def request_confirmation(
    connection: Connection, links: Links, person: str, change: ConsentChange, at: datetime
) -> InboundEvent | None:
    """Keep the yes; the event that has its link sent, or None where one was sent just now. The person is locked."""
    now = datetime.now(UTC)
    for row in await pending_confirmations(connection, person):
        if (row["channel"], row["topic"]) == change.place and now - row["asked_at"] < PATIENCE:
            return None
    made = await fetch_one(
        connection,
        _REQUEST,
        key=person,
        channel=change.channel,
        topic=change.topic,
        source=change.source,
        wording=change.wording,
        proof=as_json(dict(change.proof)),
        at=at,
    )
    assert made is not None
    request = str(made["id"])
    link = links.url(Link("confirm", person, change.channel, change.topic, request), now)
    data = {"link": link, "wording": change.wording}
    return consent_event(REQUESTED, person, change.channel, change.topic, request, **data)


def consent_event(name: str, person: str, channel: str, topic: str, request: str, **data: Any) -> InboundEvent:
    """An event about a request, accepted once for each request and name."""
    told = {"request": request, **data, "channel": channel, "topic": topic}
    return InboundEvent("track", f"{name}:{request}", name, subject_key=person, data=told)


async def drop_pending(connection: Connection, person: str, channel: str, topic: str) -> None:
    """A no ends every yes that was waiting there."""
    await execute(connection, _DROP, key=person, channel=channel, topic=topic)


async def lock_request(connection: Connection, request: str, keys: list[str]) -> Mapping[str, Any] | None:
    """A request of one of these subjects, locked; None if there is none of this number."""
    return await fetch_one(connection, _LOCK, id=int(request), keys=keys) if request.isdigit() else None


async def mark_confirmed(connection: Connection, request: int) -> None:
    """Its link was followed, and the yes confirmed."""
    await execute(connection, _CONFIRM, id=request)


async def move_to(connection: Connection, gone: str, into: str) -> None:
    """A visitor's requests are the user's."""
    await execute(connection, _MOVE, gone=gone, into=into)
