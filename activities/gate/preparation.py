"""Content of a message: rendered now, or kept from an earlier attempt.

Every attempt by one channel to one address sends the same bytes. A message whose channel or address has changed is
rendered again, unless it may have arrived: then it is sent unchanged, or not at all.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime

from activities.dependencies import Dependencies
from activities.gate.snapshot import Recipient
from activities.ports import (
    SLACK,
    Confirmation,
    FieldsUnknown,
    NoOpenRequest,
    Outgoing,
    Prepared,
    RecipientNotAllowed,
    TemplateFault,
)
from journeys.consent.bound_addresses import MAIL
from journeys.consent.mailboxes import is_mailbox
from journeys.gate.session import CannotSend
from journeys.gate.status import Status
from journeys.gate.verdicts import Reason
from store.database import Connection
from store.inbox import items as inbox_items
from store.messages.entries import LedgerEntry
from store.people.subjects import account_in
from store.process_clock import current_instant

MOVED = "the address has changed since an attempt that may have arrived"


def prepare(
    deps: Dependencies,
    entry: LedgerEntry,
    by: str,
    recipient: Recipient,
    parts: tuple[LedgerEntry, ...] = (),
    confirm: Confirmation | None = None,
) -> Prepared | CannotSend:
    """The content to send by a channel, or the reason why nothing can be sent. Changes nothing."""
    address = address_of(deps, by, recipient)
    if entry.in_doubt and entry.body is not None and entry.channel == by and entry.address != address:
        return CannotSend(Status.UNKNOWN, MOVED)
    try:
        kept = _kept(entry, by, address)
        # A link to confirm proves the address it is sent to, so no other channel carries it.
        message = replace(outgoing(entry, recipient, address, parts), confirm=confirm if by == MAIL else None)
        return kept or deps.channels[by].prepare(message)
    except TemplateFault as fault:
        return _cannot_send(deps, entry, fault)


def address_of(deps: Dependencies, by: str, recipient: Recipient) -> str:
    """The recipient's address for a channel; empty if they have none."""
    return deps.channels[by].address(recipient.person.profile, recipient.person.key) or ""


def outgoing(entry: LedgerEntry, recipient: Recipient, address: str, parts: tuple[LedgerEntry, ...] = ()) -> Outgoing:
    """A message as its channel renders it."""
    return Outgoing(
        entry.key,
        entry.template,
        address,
        recipient.person.profile,
        recipient.account_fields(account_in(entry.subject_key)),
        entry.data,
        entry.topic,
        items=tuple(outgoing(part, recipient, address) for part in parts),
        person=recipient.person.key,
        trace=entry.trace or "",
    )


def set_channel(entry: LedgerEntry, by: str, address: str) -> None:
    """Set the channel and address of a message. Content and attempts for another channel or address do not count.

    The time for retries then begins with the next attempt.
    """
    moved = entry.body is not None and entry.address != address and not entry.in_doubt
    if entry.channel != by or moved:
        entry.reference, entry.address, entry.body, entry.first_attempt_at = None, None, None, None
    entry.channel = by


def mark_sending(deps: Dependencies, entry: LedgerEntry, content: Prepared, now: datetime) -> None:
    """Mark a message as being sent, or as sent where no attempt is needed."""
    channel = deps.channels[entry.channel or ""]
    entry.reference, entry.address, entry.body = content.reference, content.address, content.body
    counts = entry.channel is not None and is_mailbox(deps.policy, entry.channel, content.address)
    hashes = deps.catalogue.consent.addresses
    entry.address_hash = hashes.digest(entry.channel or "", content.address) if counts else None
    if content.summary:  # content that is kept from an earlier attempt has none
        entry.summary = {**content.summary, "catalogue": deps.version}
    entry.attempts += 1
    entry.due_at, entry.sent_at, entry.first_attempt_at = None, now, entry.first_attempt_at or now
    if channel.inside:
        entry.status, entry.settled_at = Status.SENT, now
    else:
        entry.status, entry.lease_until = Status.SENDING, current_instant() + channel.attempt + SLACK


async def deliver_in_app(connection: Connection, entry: LedgerEntry, content: bytes) -> None:
    """Deliver by writing an inbox row, once the ledger has accepted the message; an existing row stays."""
    await inbox_items.put_item(
        connection, entry.key, entry.recipient, json.loads(content), entry.sent_at or entry.decided_at
    )


def _kept(entry: LedgerEntry, by: str, address: str) -> Prepared | None:
    """Content that was rendered for an earlier attempt by this channel to this address."""
    if entry.body is None or entry.reference is None or (entry.channel, entry.address) != (by, address):
        return None
    return Prepared(entry.reference, address, entry.body)


def _cannot_send(deps: Dependencies, entry: LedgerEntry, fault: TemplateFault) -> CannotSend:
    """The end of a message that cannot be rendered: `withheld` if nothing is wrong with its content."""
    match fault:
        case RecipientNotAllowed():
            return CannotSend(Status.WITHHELD, str(fault), (Reason("not_allowed", str(fault)),))
        case NoOpenRequest():
            return CannotSend(Status.WITHHELD, str(fault), (Reason("nothing_to_confirm", str(fault)),))
        case FieldsUnknown() if entry.priority not in deps.policy.state_exempt:
            reason = Reason("state_unknown", f"not known: {', '.join(fault.fields)}")
            return CannotSend(Status.WITHHELD, str(fault), (reason,))
        case _:
            return CannotSend(Status.FAILED, str(fault), (Reason("template", str(fault)),))
