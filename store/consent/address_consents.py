"""Consents of addresses, which hold for everybody who has one.

They are what people have said themselves. Only keyed hashes are stored. A statement is written under the exclusive lock of the address, which the gate takes too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import bindparam, delete, select
from sqlalchemy.dialects.postgresql import insert

from journeys.consent.mailboxes import concerned, mailboxes_of
from journeys.consent.precedence import DatedStatement, is_newer
from journeys.consent.preferences import ChannelTopic
from journeys.consent.rules import ConsentRuleSet
from store.database import Connection, execute, fetch_all, sql
from store.expressions import any_of
from store.schema import address_consents

_at_addresses = (any_of(address_consents.c.digest, "digests"), address_consents.c.clock == bindparam("clock"))
_REFUSED = sql(
    select(
        address_consents.c.digest, address_consents.c.topic, address_consents.c.source, address_consents.c.at
    ).where(*_at_addresses, address_consents.c.granted.is_(False))
)  # fmt: skip
_OF_TOPIC = sql(
    select(address_consents.c.granted, address_consents.c.at).where(
        *_at_addresses, address_consents.c.topic == bindparam("topic")
    )
)
_FORGET = sql(delete(address_consents).where(*_at_addresses, address_consents.c.topic == bindparam("topic")))
_KEEP = sql(
    insert(address_consents).values(
        digest=bindparam("digest"),
        clock=bindparam("clock"),
        topic=bindparam("topic"),
        granted=bindparam("granted"),
        source=bindparam("source"),
        at=bindparam("at"),
    )
)


async def refusals_at(
    connection: Connection, book: ConsentRuleSet, profile: Mapping[str, Any], clock: str | None
) -> list[dict[str, Any]]:
    """The topics that were opted out of at a person's mailboxes: channel, topic, source and instant of each."""
    channels = book.addresses.of_all(mailboxes_of(book.policy, profile))
    if not channels:
        return []
    rows = await fetch_all(connection, _REFUSED, digests=list(channels), clock=clock or "")
    return [
        {"channel": channels[row["digest"]], "topic": row["topic"], "source": row["source"], "at": row["at"]}
        for row in rows
    ]


def places_of(refusals: Iterable[Mapping[str, Any]]) -> list[ChannelTopic]:
    """The channels and topics of refusals."""
    return [(refusal["channel"], refusal["topic"]) for refusal in refusals]


async def keep_at_addresses(
    connection: Connection,
    book: ConsentRuleSet,
    profile: Mapping[str, Any],
    clock: str | None,
    place: ChannelTopic,
    statement: DatedStatement,
) -> list[ChannelTopic]:
    """Store what a person has said themselves at the mailboxes that it concerns, unless something newer was said there.

    The addresses are locked. A grant lifts an opt-out there, and grants nothing to others. Returns where it was stored.
    """
    mailboxes = mailboxes_of(book.policy, profile)
    kept = []
    for channel in concerned(place, mailboxes):
        digests = book.addresses.digests(channel, mailboxes[channel])
        named = {"digests": digests, "clock": clock or "", "topic": place[1]}
        rows = await fetch_all(connection, _OF_TOPIC, **named)
        if not all(is_newer(statement, DatedStatement(row["granted"], row["at"])) for row in rows):
            continue
        await execute(connection, _FORGET, **named)
        await execute(
            connection,
            _KEEP,
            digest=digests[0],
            clock=clock or "",
            topic=place[1],
            granted=statement.granted,
            source=statement.source,
            at=statement.at,
        )
        kept.append((channel, place[1]))
    return kept
