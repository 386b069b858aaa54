"""Reevaluation: deferred messages made due when their reason ended.

The people are read before any of them is locked, in key order; then their rows are changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import Text, column, select, union

from journeys.calendar.timezones import TIMEZONE_FIELDS
from journeys.events.inbound import ResolvedEvent
from journeys.gate.status import Status
from store.database import Connection, fetch_all, sql
from store.definitions.registry import DefinitionRegistry
from store.expressions import any_of, unnest
from store.messages.ledger import made_due, waits_for_codes
from store.outbox import queue as outbox
from store.schema import members, messages
from store.schema.base import Timestamp

TICKET: Final = ("urgent_ticket",)
BEHIND: Final = ("behind",)
HOURS: Final = ("quiet_hours", "send_window", "cap_reached")
"""Reasons that depend on the person's time zone; calendar caps end at its midnight."""

_changed = select(unnest("given", keys=column("key", Text), ats=column("at", Timestamp))).cte("changed")
_concerned = union(
    select(_changed.c.key.label("person"), _changed.c.at),
    select(members.c.person_key, _changed.c.at).join_from(_changed, members, members.c.account_key == _changed.c.key),
).subquery("concerned")
_MAKE_DUE = made_due(_concerned.c.at, messages.c.recipient == _concerned.c.person)
_WAITING = sql(
    select(messages.c.recipient)
    .distinct()
    .join_from(members, messages, messages.c.recipient == members.c.person_key)
    .where(any_of(members.c.account_key, "accounts"), messages.c.status == Status.DEFERRED, waits_for_codes())
)


async def members_to_lock(
    connection: Connection, catalogue: DefinitionRegistry, resolved: Sequence[ResolvedEvent]
) -> set[str]:
    """Members of accounts whose messages a batch may make due: locked with all others, in key order."""
    codes, accounts = set[str](), set[str]()
    for item in resolved:
        event = item.event
        resolves = event.name in catalogue.tickets.resolved_by
        if resolves or (event.kind == "group" and TIMEZONE_FIELDS & event.traits.keys()):
            codes.update(TICKET if resolves else HOURS)
            accounts |= _accounts(item)
    if not accounts:
        return set()
    rows = await fetch_all(connection, _WAITING, accounts=sorted(accounts), codes=sorted(codes))
    return {row["recipient"] for row in rows}


async def make_due(connection: Connection, changed: Iterable[tuple[str, datetime]], codes: Collection[str]) -> None:
    """Make messages due as of an instant, of each person or account's members, that wait for one of these reasons."""
    keys, ats = [], []
    for key, at in changed:
        keys.append(key)
        ats.append(at)
    if keys:
        rows = await fetch_all(connection, _MAKE_DUE, keys=keys, ats=ats, codes=list(codes))
        for person in sorted({row["recipient"] for row in rows}):
            await outbox.wake_outreach(connection, person)


def _accounts(item: ResolvedEvent) -> set[str]:
    """The accounts that an event is about: the one that it names, its subject's, its subject itself."""
    itself = item.subject_key if item.subject_key.startswith("a_") else None
    return {key for key in (item.named_account, item.own_account, itself) if key}
