"""From a verdict to `sending`: rendered once, the bytes kept, and the attempt that follows marked with its lease.

Every attempt sends the same bytes, but to whom and by what they were rendered for only: a message that goes by another channel,
or to another address, is made anew. What may have arrived already is not: it goes again as it was, or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from activities.dependencies import Dependencies
from activities.ports import SLACK, FieldsUnknown, Outgoing, Prepared, RecipientNotAllowed, TemplateFault
from journeys.gate.status import Status, final_status
from journeys.gate.verdicts import Reason
from store.database import Connection
from store.inbox import items as inbox_items
from store.messages.entries import LedgerEntry
from store.people.subjects import Subject, account_in

MOVED = "their address has changed since an attempt that may have arrived"


def switch_channel(entry: LedgerEntry, channel: str) -> None:
    """By this channel now: what was rendered for another is of no use to it."""
    if channel != entry.channel:
        _forget(entry)
    entry.channel = channel


def prepare(
    deps: Dependencies,
    entry: LedgerEntry,
    person: Subject,
    accounts: Mapping[str, Subject],
    now: datetime,
    parts: tuple[LedgerEntry, ...] = (),
) -> Prepared | None:
    """What goes out, kept or rendered now. None where nothing can: then the message is settled, and says why."""
    channel = deps.channels[entry.channel or ""]
    address = channel.address(person.profile, person.key) or ""
    if entry.body is not None and entry.address != address:
        if entry.in_doubt:
            _end(entry, Status.UNKNOWN, MOVED, now)
            return None
        _forget(entry)
    try:
        return _kept(entry) or channel.prepare(outgoing(entry, person, accounts, address, parts))
    except TemplateFault as fault:
        status, why = _unmade(deps, entry, fault)
        entry.reasons = (why, *entry.reasons)  # its run hears the first
        _end(entry, status, str(fault), now)
    return None


def mark_sending(deps: Dependencies, entry: LedgerEntry, made: Prepared, now: datetime) -> None:
    """Mark a message as being sent, or as sent where no attempt is needed."""
    channel = deps.channels[entry.channel or ""]
    entry.reference, entry.address, entry.body = made.reference, made.address, made.body
    entry.summary = made.summary or entry.summary
    entry.attempts += 1
    entry.due_at, entry.sent_at, entry.first_attempt_at = None, now, entry.first_attempt_at or now
    if channel.inside:
        entry.status, entry.settled_at = Status.SENT, now
    else:
        entry.status, entry.lease_until = Status.SENDING, datetime.now(UTC) + channel.attempt + SLACK


def _unmade(deps: Dependencies, entry: LedgerEntry, fault: TemplateFault) -> tuple[Status, Reason]:
    """How a message ends that cannot be made: withheld where nothing is wrong with its content."""
    match fault:
        case RecipientNotAllowed():
            return Status.WITHHELD, Reason("not_allowed", str(fault))
        case FieldsUnknown() if entry.priority not in deps.policy.state_exempt:
            return Status.WITHHELD, Reason("state_unknown", f"not known: {', '.join(fault.fields)}")
        case _:
            return Status.FAILED, Reason("template", str(fault))


async def deliver_in_app(connection: Connection, entry: LedgerEntry, content: bytes) -> None:
    """Deliver by writing a row of ours, once the ledger has taken the message: what it knows already is not there twice."""
    await inbox_items.put_item(
        connection, entry.key, entry.recipient, json.loads(content), entry.sent_at or entry.decided_at
    )


def outgoing(
    entry: LedgerEntry,
    person: Subject,
    accounts: Mapping[str, Subject],
    address: str,
    parts: tuple[LedgerEntry, ...] = (),
) -> Outgoing:
    """A message as its channel renders it."""
    known = fields_of(accounts, person, account_in(entry.subject_key))
    items = tuple(outgoing(part, person, accounts, address) for part in parts)
    return Outgoing(
        entry.key,
        entry.template,
        address,
        person.profile,
        known,
        entry.data,
        entry.topic,
        items=items,
        person=person.key,
        trace=entry.trace or "",
    )


def fields_of(accounts: Mapping[str, Subject], person: Subject, about: str | None) -> Mapping[str, Any]:
    """What is known of the account that a message is about, else of the one that its person was put into last."""
    account = accounts.get(about or person.account_key or "")
    return account.profile if account is not None else {}


def _kept(entry: LedgerEntry) -> Prepared | None:
    """What was rendered for an earlier attempt: retries send just those bytes."""
    if entry.body is None or entry.reference is None or entry.address is None:
        return None
    return Prepared(entry.reference, entry.address, entry.body)


def _forget(entry: LedgerEntry) -> None:
    """Nothing was tried there yet, and the time for tries begins with the first."""
    entry.reference, entry.address, entry.body, entry.first_attempt_at = None, None, None, None


def _end(entry: LedgerEntry, status: Status, why: str, now: datetime) -> None:
    status = final_status(status, in_doubt=entry.in_doubt)
    entry.status, entry.detail, entry.due_at, entry.settled_at = status, why, None, now
