"""What waits is decided again at once, because what it waited for has changed: a ticket is resolved, a clock hangs elsewhere.

Whose messages these are is asked before everybody is locked, in key order; then their rows are touched.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Final

from journeys.calendar.timezones import TIMEZONE_FIELDS
from journeys.events.segment import InboundEvent
from journeys.gate.status import Status
from store.database import Connection, fetch_all, sql
from store.definitions.registry import DefinitionRegistry
from store.messages.ledger import made_due
from store.outbox import queue as outbox
from store.people.identities import KnownIdentities, subject_of

TICKET: Final = ("urgent_ticket",)
HOURS: Final = ("quiet_hours", "send_window", "cap_reached")
"""Reasons that the clock on the person's wall has a part in; calendar caps end at its midnight."""

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
    connection: Connection, catalogue: DefinitionRegistry, calls: Sequence[InboundEvent], known: KnownIdentities
) -> set[str]:
    """The members of accounts for whom a batch may end a wait: locked with all others, in key order."""
    codes, accounts = set[str](), set[str]()
    for call in calls:
        resolves = call.name in catalogue.tickets.resolved_by
        if resolves or (call.kind == "group" and TIMEZONE_FIELDS & call.traits.keys()):
            codes.update(TICKET if resolves else HOURS)
            accounts |= _accounts(call, known)
    if not accounts:
        return set()
    found = await fetch_all(connection, _WAITING, accounts=sorted(accounts), codes=sorted(codes))
    return {item["recipient"] for item in found}


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


def _accounts(call: InboundEvent, known: KnownIdentities) -> set[str]:
    subject = subject_of(call, known)
    named = {known["account_id", call.account_id][0]} if call.account_id else set()
    theirs = {account for key, account in known.values() if key == subject and account is not None}
    return named | theirs | ({subject} if subject.startswith("a_") else set())
