"""Reevaluation: deferred messages are due at once when a ticket is resolved or a time zone changes.

Whose messages these are is asked before everybody is locked, in key order; then their rows are touched.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Final

from journeys.calendar.timezones import TIMEZONE_FIELDS
from journeys.events.inbound import ResolvedEvent
from journeys.gate.status import Status
from store.database import Connection, fetch_all, sql
from store.definitions.registry import DefinitionRegistry
from store.messages.ledger import made_due
from store.outbox import queue as outbox

TICKET: Final = ("urgent_ticket",)
HOURS: Final = ("quiet_hours", "send_window", "cap_reached")
"""Reasons that depend on the person's time zone; calendar caps end at its midnight."""

_CONCERNED = """
    WITH changed AS (SELECT * FROM unnest(CAST(:keys AS text[]), CAST(:ats AS timestamptz[])) AS w(key, at))
    SELECT key AS person, at FROM changed
    UNION SELECT b.person_key, w.at FROM changed w JOIN members b ON b.account_key = w.key
"""
_LOOK = made_due("c.at", people=f"FROM ({_CONCERNED}) AS c", where="m.recipient = c.person")
_WAITING = sql(
    f"""
    SELECT DISTINCT m.recipient FROM members b JOIN messages m ON m.recipient = b.person_key
    WHERE b.account_key = ANY(CAST(:accounts AS text[])) AND m.status = '{Status.DEFERRED}' AND EXISTS
      (SELECT 1 FROM jsonb_array_elements(m.reasons) r WHERE r->>'code' = ANY(CAST(:codes AS text[])))
    """  # noqa: S608 -- the status is ours
)


async def members_to_lock(
    connection: Connection, catalogue: DefinitionRegistry, resolved: Sequence[ResolvedEvent]
) -> set[str]:
    """The members of accounts for whom a batch may end a wait: locked with all others, in key order."""
    codes, accounts = set[str](), set[str]()
    for item in resolved:
        event = item.event
        resolves = event.name in catalogue.tickets.resolved_by
        if resolves or (event.kind == "group" and TIMEZONE_FIELDS & event.traits.keys()):
            codes.update(TICKET if resolves else HOURS)
            accounts |= _accounts(item)
    if not accounts:
        return set()
    waiting = await fetch_all(connection, _WAITING, accounts=sorted(accounts), codes=sorted(codes))
    return {row["recipient"] for row in waiting}


async def make_due(connection: Connection, changed: Iterable[tuple[str, datetime]], codes: Collection[str]) -> None:
    """What waits for one of these reasons is due: of each person, or of each member of an account, as of an instant."""
    keys, ats = [], []
    for key, at in changed:
        keys.append(key)
        ats.append(at)
    if keys:
        found = await fetch_all(connection, _LOOK, keys=keys, ats=ats, codes=list(codes))
        for person in sorted({item["recipient"] for item in found}):
            await outbox.wake_outreach(connection, person)


def _accounts(item: ResolvedEvent) -> set[str]:
    """The accounts that an event is about: the one that it names, its subject's, its subject itself."""
    itself = item.subject_key if item.subject_key.startswith("a_") else None
    return {key for key in (item.named_account, item.own_account, itself) if key}
