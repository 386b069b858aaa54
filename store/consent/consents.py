"""Changes of consent, each in force with its own commit (C5).

What is queued for a channel and topic of which nothing remains is withdrawn at once, and a run whose topic has no channel
left is told that its person has opted out. What remains is the gate's own rule. A yes that needs confirming waits in
`requests.py` and is no grant; what was said may be taken back (`granted` None), which is neither a yes nor a no.

A change returns the events that it causes, for its caller to accept in the same transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import bindparam, select

from journeys.consent.changes import ConsentChange, may_need_confirmation, only_grants, waits_for_confirmation
from journeys.consent.preferences import ChannelTopic
from journeys.events.inbound import InboundEvent
from journeys.gate.consent import has_opted_out, refusals_by_all
from journeys.gate.policy import Policy
from journeys.gate.verdicts import Consents, Reason
from store.consent import records, requests
from store.database import Connection, fetch_all, sql
from store.definitions.registry import DefinitionRegistry
from store.messages.entries import LedgerEntry
from store.messages.outcomes import lock_outcome_lanes
from store.messages.withdrawals import withdraw_from_person
from store.outbox import queue as outbox
from store.outbox.queue import DerivedSignal
from store.people import subjects
from store.people.test_clocks import now_for
from store.schema import runs

_OPEN_RUNS = sql(
    select(runs.c.id, runs.c.definition)
    .where(runs.c.lane == bindparam("key"), runs.c.status == "open")
    .order_by(runs.c.id)
)


@dataclass(frozen=True, slots=True)
class ConsentChangeResult:
    """What it changed at once. `pending` are the places whose yes waits for its link; `said` is what holds now.

    `events` are caused by it and not accepted yet: whoever changes a consent accepts them in the same transaction.
    """

    at: datetime
    withdrawn: int = 0
    ended: int = 0
    pending: tuple[ChannelTopic, ...] = ()
    person: str = ""
    said: Consents = field(default_factory=dict)
    events: tuple[InboundEvent, ...] = ()


async def change_consents_within(
    connection: Connection, catalogue: DefinitionRegistry, policy: Policy, person: str, changes: Sequence[ConsentChange]
) -> ConsentChangeResult:
    """Record what a person says, and act on a withdrawal before anyone else can send. Raises Contended: then all of it again."""
    rules = catalogue.consent.rules
    account = await subjects.account_of(connection, person) if may_need_confirmation(rules, changes) else None
    # The gate decides under the same lock: what it sends after this commit, it sends knowing this.
    locked = await lock_outcome_lanes(connection, person, account)
    at = await now_for(connection, locked[person].clock)
    before = await records.statements_by(connection, person)
    pending, last = [], 0
    for change in changes:
        waits = waits_for_confirmation(rules, before, change)
        if waits:
            pending.append(change)
        last = await records.record_change(connection, person, change, at, waits=waits) or last
    said = await records.statements_by(connection, person)
    events = [
        await requests.request_confirmation(connection, catalogue.consent.links, person, change, at)
        for change in pending
    ]
    done = (0, 0) if only_grants(changes) else await _act(connection, catalogue, policy, person, said, at, last)
    return ConsentChangeResult(
        at,
        *done,
        pending=tuple(change.place for change in pending),
        person=person,
        said=said,
        events=tuple(event for event in events if event is not None),
    )


async def _act(
    connection: Connection,
    catalogue: DefinitionRegistry,
    policy: Policy,
    person: str,
    said: Consents,
    at: datetime,
    logged: int,
) -> tuple[int, int]:
    """Take back what may no longer be said, end what has nothing left to say: how many messages, how many runs."""
    ended = await _end(connection, catalogue, policy, person, said, at, f"consent:{logged}")
    return await _withdraw(connection, catalogue, policy, person, said, at, ended), len(ended)


async def _withdraw(
    connection: Connection,
    catalogue: DefinitionRegistry,
    policy: Policy,
    person: str,
    said: Consents,
    at: datetime,
    ended: set[str],
) -> int:
    """Take back what may no longer be said, and tell the runs that go on."""

    def refusals(entry: LedgerEntry) -> tuple[Reason, ...] | None:
        return refusals_by_all(policy, entry.via, entry.topic, entry.priority, said)

    return await withdraw_from_person(connection, catalogue, person, refusals, at, ended=ended)


async def _end(
    connection: Connection,
    catalogue: DefinitionRegistry,
    policy: Policy,
    person: str,
    said: Consents,
    at: datetime,
    event_id: str,
) -> set[str]:
    """Tell the runs that have no channel left; which they are."""
    ended = set()
    for run in await fetch_all(connection, _OPEN_RUNS, key=person):
        chart = await catalogue.chart(connection, run["definition"])
        if has_opted_out(policy, chart, said):
            signal = DerivedSignal(person, run["id"], "opted_out", "", f"{event_id}:{run['id']}", at)
            await outbox.enqueue_derived(connection, signal)
            ended.add(run["id"])
    return ended
