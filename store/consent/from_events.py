"""What events say of consent, bounces and complaints, taken in the commit that accepts them: 200 means it is in force."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import structlog

from journeys.consent import statements
from journeys.consent.rules import ConsentRuleSet
from journeys.events.segment import InboundEvent
from store.consent import consents, suppressions
from store.consent.consents import ConsentChange
from store.database import Connection, fetch_one, sql
from store.definitions.registry import DefinitionRegistry
from store.messages import due
from store.people import subjects
from store.people.identities import KnownIdentities, subject_of
from store.rows import loaded
from store.tasks import conversations

log = structlog.get_logger()

ADDRESS_FIELDS: Final = {"email": "email", "sms": "phone"}
"""Where the profile has the address of a channel, when a bounce does not name it."""
_PROFILE = sql("SELECT profile FROM subjects WHERE key = :key")


async def lanes_to_lock(
    connection: Connection, book: ConsentRuleSet, calls: Sequence[InboundEvent], known: KnownIdentities
) -> set[str]:
    """The lanes that may hear what a withdrawal or an answer takes back: locked with all others, in key order."""
    speakers = {
        subject_of(call, known)
        for call in calls
        if statements.statements_in(book.rules, call) or conversations.answered_message(call) is not None
    }
    found = set(speakers)
    for person in speakers:
        found |= await due.lanes_of_unsettled(connection, person)
    return found


async def apply_consent_events(
    connection: Connection,
    catalogue: DefinitionRegistry,
    fresh: Sequence[tuple[InboundEvent, datetime]],
    known: KnownIdentities,
    source: str,
) -> None:
    """After everything else of the batch, person by person in the order in which they spoke. Raises Contended."""
    book = catalogue.consent
    said: dict[str, list[ConsentChange]] = {}
    for call, _ in fresh:
        heard = statements.statements_in(book.rules, call)
        if heard:
            said.setdefault(subject_of(call, known), []).extend(_changes(book, call, heard, source))
    for person, changes in said.items():
        if person.startswith("u_"):
            await consents.change_consents_within(connection, catalogue, book.policy, person, changes)
    bounces = [
        (call, at, told, await _address(connection, told, subject_of(call, known), call))
        for call, at in fresh
        if (told := statements.bounces_in(book.rules, call)) is not None
    ]
    # The locks of addresses come after those of people, here as in the gate; all at once, or two batches would wait in a circle.
    known_of = [(told.channel, address) for _, _, told, address in bounces if address is not None]
    await suppressions.lock_addresses(connection, book.addresses, known_of)
    for call, at, told, address in bounces:
        if address is not None:
            await _suppress(connection, book, call, told, address, at, source)


def _changes(
    book: ConsentRuleSet, call: InboundEvent, heard: Sequence[statements.ConsentStatement], source: str
) -> list[ConsentChange]:
    proof = {"event": call.message_id, "by": source}
    address = (call.context or {}).get("ip")
    if isinstance(address, str) and address:
        proof["ip_hash"] = book.addresses.digest("ip", address)
    shown = statements.wording(call)
    return [
        ConsentChange(each.channel, each.topic, each.granted, f"{call.kind}:{call.name}", shown, proof)
        for each in heard
    ]


async def _suppress(
    connection: Connection,
    book: ConsentRuleSet,
    call: InboundEvent,
    bounced: statements.Bounced,
    address: str,
    at: datetime,
    source: str,
) -> None:
    told = f"{source}:{call.name}"
    if bounced.reason == "complaint":
        await suppressions.note_complaint(connection, book.addresses, bounced.channel, address, source=told, at=at)
    else:
        await suppressions.note_bounce(
            connection,
            book.addresses,
            bounced.channel,
            address,
            hard=bounced.hard,
            rules=book.rules.soft_bounces,
            source=told,
            reference=call.message_id,
            at=at,
        )


async def _address(connection: Connection, bounced: statements.Bounced, person: str, call: InboundEvent) -> str | None:
    """The one that the event names, else the person's own."""
    if bounced.address is not None:
        return bounced.address
    found = await fetch_one(connection, _PROFILE, key=await subjects.canonical_key(connection, person))
    value = loaded(found["profile"]).get(ADDRESS_FIELDS.get(bounced.channel, "")) if found else None
    if isinstance(value, str) and value:
        return value
    log.warning("suppression.no_address", channel=bounced.channel, signal=call.name)
    return None
