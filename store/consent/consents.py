"""Changes of consent, each in force with its own commit (C5).

A withdrawal ends the queued messages that may no longer be sent, and sends `opted_out` to runs that have no channel
left. Everything else is the gate's rule. A grant that needs confirmation waits in `requests.py` and is not in force
until then. A consent may also be revoked (`granted` None), which is neither a grant nor a refusal.

A change returns the events that it causes. The caller accepts them in the same transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from sqlalchemy import bindparam, select

from journeys.consent.bound_addresses import bound_address
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
from store.outbox.derived import DerivedSignal, enqueue_derived
from store.people import subjects
from store.people.test_clocks import now_for, now_from_outside
from store.schema import runs

_OPEN_RUNS = sql(
    select(runs.c.id, runs.c.definition)
    .where(runs.c.lane == bindparam("key"), runs.c.status == "open")
    .order_by(runs.c.id)
)


@dataclass(frozen=True, slots=True)
class ConsentChangeResult:
    """Counts of withdrawn messages and ended runs, the grants that wait for confirmation, and the consents now.

    The caller accepts `events` in the same transaction.
    """

    at: datetime
    withdrawn: int = 0
    ended: int = 0
    pending: tuple[ChannelTopic, ...] = ()
    person: str = ""
    consents: Consents = field(default_factory=dict)
    events: tuple[InboundEvent, ...] = ()


async def change_consents_within(
    connection: Connection,
    catalogue: DefinitionRegistry,
    policy: Policy,
    person: str,
    changes: Sequence[ConsentChange],
    *,
    outside: bool,
) -> ConsentChangeResult:
    """Record a person's changes, and apply withdrawals before anything else is sent to them.

    Raises ClockAdvancing for a change from `outside` while the person's test clock advances, and Contended: retry the
    transaction.
    """
    rules = catalogue.consent.rules
    account = await subjects.account_of(connection, person) if may_need_confirmation(rules, changes) else None
    # The gate decides under the same lock, so every decision after this commit sees the change.
    locked = await lock_outcome_lanes(connection, person, account)
    at = await (now_from_outside if outside else now_for)(connection, locked[person].clock)
    profile, addresses = locked[person].profile, catalogue.consent.addresses
    before = await records.statements_by(connection, addresses, person)
    pending, last = [], 0
    for change in changes:
        waits = waits_for_confirmation(rules, before, change)
        if waits:
            pending.append(change)
        elif change.granted and rules.needs_confirming(*change.place):
            change = replace(change, address=bound_address(addresses, change.channel, profile))  # noqa: PLW2901
        last = await records.record_change(connection, person, change, at, waits=waits) or last
    now_in_force = await records.statements_by(connection, addresses, person)
    events = [
        await requests.request_confirmation(connection, person, change, at, bound_address(addresses, "email", profile))
        for change in pending
    ]
    counts = (
        (0, 0)
        if only_grants(changes)
        else await _apply_withdrawals(connection, catalogue, policy, person, now_in_force, at, last)
    )
    return ConsentChangeResult(
        at,
        *counts,
        pending=tuple(change.place for change in pending),
        person=person,
        consents=now_in_force,
        events=tuple(event for event in events if event is not None),
    )


async def _apply_withdrawals(
    connection: Connection,
    catalogue: DefinitionRegistry,
    policy: Policy,
    person: str,
    now_in_force: Consents,
    at: datetime,
    logged: int,
) -> tuple[int, int]:
    """End runs that have no channel left, and messages that may no longer be sent; the counts of messages and runs."""
    ended = await _end_opted_out(connection, catalogue, policy, person, now_in_force, at, f"consent:{logged}")
    return await _withdraw(connection, catalogue, policy, person, now_in_force, at, ended), len(ended)


async def _withdraw(
    connection: Connection,
    catalogue: DefinitionRegistry,
    policy: Policy,
    person: str,
    now_in_force: Consents,
    at: datetime,
    ended: set[str],
) -> int:
    """Withdraw the queued messages that may no longer be sent; runs that go on receive the outcome."""

    def refusals(entry: LedgerEntry) -> tuple[Reason, ...] | None:
        return refusals_by_all(policy, entry.via, entry.topic, entry.priority, now_in_force)

    return await withdraw_from_person(connection, catalogue, person, refusals, at, ended=ended)


async def _end_opted_out(
    connection: Connection,
    catalogue: DefinitionRegistry,
    policy: Policy,
    person: str,
    now_in_force: Consents,
    at: datetime,
    event_id: str,
) -> set[str]:
    """Send `opted_out` to the open runs that have no channel left; their ids."""
    ended = set()
    for run in await fetch_all(connection, _OPEN_RUNS, key=person):
        chart = await catalogue.readable(connection, run["definition"])
        if chart is not None and has_opted_out(policy, chart, now_in_force):
            signal = DerivedSignal(person, run["id"], "opted_out", "", f"{event_id}:{run['id']}", at)
            await enqueue_derived(connection, signal)
            ended.add(run["id"])
    return ended
