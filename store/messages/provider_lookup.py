"""Whom a provider speaks of: the message with our reference, or the last one to an address. Events about it go in by `ingest`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from store.database import Connection, fetch_all, fetch_one, sql
from store.people.subjects import canonical_key

_BY_REFERENCE = sql(
    """
    SELECT id, recipient, channel, template, journey, address FROM messages
    WHERE reference = :reference AND channel <> 'in_app' ORDER BY id DESC LIMIT 1
    """
)
_BY_ADDRESS = sql(
    """
    SELECT id, recipient, channel, template, journey FROM messages
    WHERE channel = :channel AND address = :address AND channel IN ('sms', 'webinar')
      AND (CAST(:field AS text) IS NULL OR data->>:field = :value)
    ORDER BY id DESC LIMIT 1
    """
)
_ABSENT = sql(
    """
    SELECT DISTINCT ON (m.recipient) m.id, m.recipient, m.channel, m.template, m.journey FROM messages m
    WHERE m.channel = 'webinar' AND m.data->>'webinar_id' = :webinar AND m.status = 'sent'
      AND NOT EXISTS (SELECT 1 FROM events e WHERE e.subject_key = m.recipient AND e.name = 'webinar_attended'
                      AND e.data->>'webinar_id' = :webinar)
    ORDER BY m.recipient, m.id DESC
    """
)

# The mark is a part of the digest that the outside sees of our key (SHA-256): enough among one person's messages.
_BY_MARK = sql(
    """
    SELECT id, recipient, channel, template, journey, address FROM messages
    WHERE recipient = :person AND encode(sha256(convert_to(key, 'UTF8')), 'hex') LIKE :mark || '%'
    ORDER BY id DESC LIMIT 1
    """
)

ProviderReference = Mapping[str, Any]
"""A message: `id`, `recipient` (the person's key), `channel`, `template`, `journey`."""


async def find_by_reference(connection: Connection, reference: str) -> ProviderReference | None:
    """The message of which a provider keeps this reference."""
    return await fetch_one(connection, _BY_REFERENCE, reference=reference)


async def find_by_token(connection: Connection, person: str, mark: str) -> ProviderReference | None:
    """The message that a reply address names."""
    return await fetch_one(connection, _BY_MARK, person=await canonical_key(connection, person), mark=mark)


async def find_by_address(
    connection: Connection, channel: str, address: str, field: str | None = None, value: str = ""
) -> ProviderReference | None:
    """The last message to an address by `sms` or `webinar`; with `field`, one whose data has that value there."""
    return await fetch_one(connection, _BY_ADDRESS, channel=channel, address=address, field=field, value=value)


async def webinar_no_shows(connection: Connection, webinar: str) -> list[ProviderReference]:
    """Who was registered for a webinar by us and has not been seen in it; one message each."""
    return await fetch_all(connection, _ABSENT, webinar=webinar)
