"""The send gate: one transaction per person decides every message of every journey. Locked read, `judge`, write.

The caller holds the person's row lock (`subjects.lock`), taken before anything here is read: that lock is what makes
caps exact, two journeys never overtake each other, and a consent that was withdrawn stop what is decided after it.
Nothing leaves from here. A send is the commit of `sending`; `delivery.py` makes the attempt afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import structlog

from activities.house import House
from activities.ports import SLACK, Outgoing, Prepared, TemplateFault
from journeys.judge import Ask, DeferUntil, Reason, SendNow, Withhold, judge
from journeys.policy import horizon
from store import inbox, ledger, outbox
from store.database import Connection
from store.ledger import Entry
from store.subjects import Subject

log = structlog.get_logger()


async def weigh(
    house: House, connection: Connection, entry: Entry, person: Subject, account: Subject | None, now: datetime
) -> bool:
    """Decide one message and write it to the ledger; whether it is to be attempted now (`sending` is committed next)."""
    entry.decided_at = now
    addresses = {
        name: house.channels[name].address(person.profile, person.key) for name in entry.via if name in house.channels
    }
    standing = await ledger.standing(
        connection,
        person.key,
        person.account_key,
        {name: address is not None for name, address in addresses.items()},
        now,
        horizon(house.policy),
        but=entry.key,
    )
    match judge(house.policy, _ask(entry), standing, now):
        case SendNow(channel, reasons):
            entry.reasons, entry.channel = reasons, channel
            await _begin(house, connection, entry, person, account, addresses[channel] or "", now)
        case DeferUntil(until, reasons):
            entry.status, entry.due_at, entry.reasons = "deferred", until, reasons
        case Withhold(reasons):
            entry.status, entry.due_at, entry.reasons, entry.settled_at = "withheld", None, reasons, now
    written = await ledger.write(connection, entry)
    if written and entry.status == "deferred":
        await outbox.wake(connection, entry.recipient)
    log.info("gate.decided", status=entry.status, channel=entry.channel, reasons=[r.code for r in entry.reasons])
    return written and entry.status == "sending"


def _ask(entry: Entry) -> Ask:
    why = f"{entry.state} was left" + (f" for {entry.now_in}" if entry.now_in else "")
    return Ask(
        channels=entry.via,
        topic=entry.topic,
        priority=entry.priority,
        at=entry.at,
        expires_at=entry.expires_at,
        stands=entry.stands,
        holds=entry.holds,
        holds_why=why,
    )


async def _begin(
    house: House,
    connection: Connection,
    entry: Entry,
    person: Subject,
    account: Subject | None,
    address: str,
    now: datetime,
) -> None:
    """Render once, keep the bytes, and mark the attempt that follows; an inbox row of ours needs no attempt."""
    channel = house.channels[entry.channel or ""]
    try:
        prepared = _prepared(entry) or channel.prepare(_outgoing(entry, person, account, address))
    except TemplateFault as fault:
        entry.status, entry.detail, entry.due_at, entry.settled_at = "failed", str(fault), None, now
        entry.reasons = (*entry.reasons, Reason("template", str(fault)))
        return
    entry.reference, entry.address, entry.body = prepared.reference, prepared.address, prepared.body
    entry.summary = prepared.summary or entry.summary
    entry.attempts += 1
    entry.due_at, entry.sent_at, entry.first_attempt_at = None, now, entry.first_attempt_at or now
    if channel.inside:
        await inbox.put(connection, entry.key, person.key, json.loads(prepared.body), now)
        entry.status, entry.settled_at, entry.body = "sent", now, None
    else:
        entry.status, entry.lease_until = "sending", datetime.now(UTC) + channel.attempt + SLACK


def _prepared(entry: Entry) -> Prepared | None:
    """What was rendered for an earlier attempt: retries send just those bytes."""
    if entry.body is None or entry.reference is None or entry.address is None:
        return None
    return Prepared(entry.reference, entry.address, entry.body)


def _outgoing(entry: Entry, person: Subject, account: Subject | None, address: str) -> Outgoing:
    known: Mapping[str, Any] = account.profile if account is not None else {}
    return Outgoing(entry.key, entry.template, address, person.profile, known, entry.data, entry.topic)
