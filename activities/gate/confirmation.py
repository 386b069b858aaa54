"""Link of a double opt-in request, made when its message is sent.

An event carries only the number of the request. Link and title come from the request's row and the catalogue, and only for
the address that the person had when they asked: a changed address needs a request of its own.
"""

from __future__ import annotations

from datetime import datetime

from activities.dependencies import Dependencies
from activities.gate.snapshot import Recipient
from activities.ports import Confirmation
from journeys.consent.bound_addresses import MAIL, current_addresses
from journeys.tokens.signed_links import Link
from store.consent import requests
from store.database import Connection
from store.messages.entries import LedgerEntry


async def confirmation_of(
    deps: Dependencies, connection: Connection, recipient: Recipient, entry: LedgerEntry, now: datetime
) -> Confirmation | None:
    """What the message asks to confirm; None if it names no open request that was made for the person's address."""
    number, channel, person = entry.data.get("request"), deps.channels.get(MAIL), recipient.person
    if not isinstance(number, str) or channel is None:
        return None
    consent = deps.catalogue.consent
    request = await requests.open_request(connection, number, person.key)
    address = channel.address(person.profile, person.key)
    if request is None or address is None:
        return None
    if request["address"] not in current_addresses(consent.addresses, person.profile):
        return None
    await deps.catalogue.current(connection)
    title = consent.topic_title(request["topic"], deps.catalogue.topics())
    if title is None:
        return None
    link = Link("confirm", person.key, request["channel"], request["topic"], number)
    return Confirmation(consent.links.url(link, now), title)
