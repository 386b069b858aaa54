"""Consent, bounces and complaints in accepted events, applied in their commit; failures about us."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from journeys.consent import statements
from journeys.consent.changes import ConsentChange, changes_in, opt_out_by_reply, without_requests
from journeys.consent.rules import ConsentRuleSet
from journeys.consent.statements import ADDRESS_FIELDS, Bounced
from journeys.events.inbound import InboundEvent, ResolvedEvent, StoredEvent
from store.consent import consents, suppressions
from store.database import Connection
from store.definitions.registry import DefinitionRegistry
from store.messages import due, sender_refusals
from store.messages.answered import answered_messages
from store.people import subjects

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ReportedAddress:
    """An address that bounced or complained, and the event that says so."""

    item: StoredEvent
    bounced: Bounced
    address: str


async def lanes_to_lock(connection: Connection, book: ConsentRuleSet, resolved: Sequence[ResolvedEvent]) -> set[str]:
    """Lanes that may receive outcomes of messages withdrawn by these events: locked with all others, in key order."""
    people = {
        item.subject_key
        for item in resolved
        if statements.statements_in(book.rules, item.event) or statements.answered_message(item.event) is not None
    }
    return people | await due.lanes_of_unsettled(connection, people)


async def reported_addresses(
    connection: Connection, book: ConsentRuleSet, stored: Sequence[StoredEvent]
) -> list[ReportedAddress]:
    """The addresses that these events report as bounced or complaining: named by them, or the person's own."""
    reported = []
    for item in stored:
        bounced = statements.bounce_in(book.rules, item.event)
        address = await _address(connection, bounced, item) if bounced is not None else None
        if bounced is not None and address is not None:
            reported.append(ReportedAddress(item, bounced, address))
    return reported


async def apply_consent_events(
    connection: Connection,
    catalogue: DefinitionRegistry,
    stored: Sequence[StoredEvent],
    reported: Sequence[ReportedAddress],
) -> list[InboundEvent]:
    """Record the consent changes in these events, each person's in order; the events that this causes, to be accepted.

    The mailboxes of those who have said something are locked together with the `reported` addresses. Raises Contended.
    """
    book = catalogue.consent
    changes_by_person: dict[str, list[ConsentChange]] = {}
    for item in stored:
        changes = changes_in(book, item) or await _opt_out_by_reply(connection, item)
        changes = without_requests(book.rules, changes) if item.is_history else changes
        if changes and item.subject_key.startswith("u_"):
            changes_by_person.setdefault(item.subject_key, []).extend(changes)
    if not changes_by_person:
        return []
    results = await consents.change_consents_within(
        connection, catalogue, book.policy, changes_by_person, outside=False, suppressing=_names(reported)
    )
    return [event for result in results for event in result.events]


async def _opt_out_by_reply(connection: Connection, item: StoredEvent) -> list[ConsentChange]:
    """The opt-out of a stop word in a reply to a mail. Text messages are matched by number (`sms_keywords.py`)."""
    message = statements.answered_message(item.event)
    if message is None or statements.keyword_in_reply(item.event) != "stop":
        return []
    answered = await answered_messages(connection, item.subject_key, message)
    return [opt_out_by_reply(message)] if any(part["channel"] == "email" for part in answered) else []


async def suppress_addresses(connection: Connection, book: ConsentRuleSet, reported: Sequence[ReportedAddress]) -> None:
    """Suppress addresses that bounced or complained: locked together, after every subject (`store/locks.py`)."""
    await suppressions.lock_addresses(connection, book.addresses, _names(reported))
    for one in reported:
        await _suppress(connection, book, one)


async def note_refusals(connection: Connection, book: ConsentRuleSet, stored: Sequence[StoredEvent]) -> None:
    """Count the failures about us that these events report, in one order: their rows are locked last (`store/locks.py`)."""
    refusals = [refusal for item in stored if (refusal := statements.refusal_in(book.rules, item.event)) is not None]
    named = sorted((refusal.channel, sender_refusals.code_of(refusal.words), refusal.address) for refusal in refusals)
    for channel, code, address in named:
        place = sender_refusals.place_of(book.addresses, channel, address)
        if await sender_refusals.note_refusal(connection, channel, code, place):
            log.error("sender.refused", channel=channel, code=code, turn="operator")


def _names(reported: Sequence[ReportedAddress]) -> list[tuple[str, str]]:
    return [(one.bounced.channel, one.address) for one in reported]


async def _suppress(connection: Connection, book: ConsentRuleSet, reported: ReportedAddress) -> None:
    item, bounced, address = reported.item, reported.bounced, reported.address
    source = f"{item.source}:{item.event.name}"
    if bounced.reason == "complaint":
        await suppressions.note_complaint(
            connection, book.addresses, bounced.channel, address, source=source, at=item.at
        )
    else:
        await suppressions.note_bounce(
            connection,
            book.addresses,
            bounced.channel,
            address,
            hard=bounced.hard,
            rules=book.rules.soft_bounces,
            source=source,
            reference=item.event.message_id,
            at=item.at,
        )


async def _address(connection: Connection, bounced: Bounced, item: StoredEvent) -> str | None:
    """The address that the event names, else the person's own."""
    if bounced.address is not None:
        return bounced.address
    person = await subjects.canonical_key(connection, item.subject_key)
    value = (await subjects.profile_of(connection, person)).get(ADDRESS_FIELDS.get(bounced.channel, ""))
    if isinstance(value, str) and value:
        return value
    log.warning("suppression.no_address", channel=bounced.channel, signal=item.event.name)
    return None
