"""Changes of consent, each in force with its own commit (C5).

`journeys/consent/precedence.py` says what a statement changes. A withdrawal ends the queued messages that may no longer
be sent, and sends `opted_out` to runs that have no channel left. Everything else is the gate's rule. A grant that needs
confirmation waits in `requests.py` and is not in force until then. A consent may also be revoked (`granted` None), which
is neither a grant nor a refusal.

A change returns the events that it causes. The caller accepts them in the same transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import structlog
from sqlalchemy import bindparam, select

from journeys.consent.bound_addresses import bound_address, counts_now, current_addresses
from journeys.consent.changes import ConsentChange, decide_change, is_request, may_need_confirmation
from journeys.consent.mailboxes import with_refusals
from journeys.consent.precedence import DatedStatement, NewestStatements, StatementEffect, in_force, with_statement
from journeys.consent.preferences import ChannelTopic
from journeys.consent.rules import ConsentRuleSet
from journeys.events.inbound import InboundEvent
from journeys.gate.consent import has_opted_out, refusals_by_all
from journeys.gate.policy import Policy
from journeys.gate.verdicts import Consents, Reason
from store.consent import address_consents, records, requests
from store.consent.suppressions import lock_mailboxes
from store.database import Connection, fetch_all, sql
from store.definitions.registry import DefinitionRegistry
from store.messages.entries import LedgerEntry
from store.messages.outcomes import lock_lanes_of
from store.messages.withdrawals import withdraw_from_person
from store.outbox.derived import DerivedSignal, enqueue_derived
from store.people import subjects
from store.people.subjects import Subject
from store.people.test_clocks import now_for, now_from_outside
from store.schema import runs

log = structlog.get_logger()

_OPEN_RUNS = sql(
    select(runs.c.id, runs.c.definition)
    .where(runs.c.lane == bindparam("key"), runs.c.status == "open")
    .order_by(runs.c.id)
)


@dataclass(frozen=True, slots=True)
class ConsentChangeResult:
    """Counts of withdrawn messages and ended runs, the grants that wait for confirmation, and the consents now.

    `effects` are those of the changes, in their order. The caller accepts `events` in the same transaction.
    """

    at: datetime
    withdrawn: int = 0
    ended: int = 0
    pending: tuple[ChannelTopic, ...] = ()
    person: str = ""
    consents: Consents = field(default_factory=dict)
    effects: tuple[StatementEffect, ...] = ()
    events: tuple[InboundEvent, ...] = ()


async def change_consents_within(
    connection: Connection,
    catalogue: DefinitionRegistry,
    policy: Policy,
    changes: Mapping[str, Sequence[ConsentChange]],
    *,
    outside: bool,
    suppressing: Iterable[tuple[str, str]] = (),
) -> list[ConsentChangeResult]:
    """Record changes by person, and apply withdrawals before anything else is sent to them; the results in key order.

    `suppressing` are the channels and addresses whose suppression the same transaction changes afterwards: all are locked at once.

    Raises ClockAdvancing for a change from `outside` while a person's test clock advances, and Contended: retry the
    transaction.
    """
    # The gate decides under the same lock, so every decision after this commit sees the changes.
    locked = await _lock_people(connection, catalogue, changes)
    people = []
    for person in sorted(changes):
        subject = locked[person]
        now = await (now_from_outside if outside else now_for)(connection, subject.clock)
        people.append(PersonStatements(connection, catalogue.consent, subject, now))
    own = [person for person, stated in changes.items() if any(change.is_own for change in stated)]
    await lock_mailboxes(connection, catalogue.consent, [locked[person].profile for person in own], suppressing)
    results = []
    for statements in people:
        await statements.load()
        for change in changes[statements.person.key]:
            await statements.add(change)
        results.append(await _take_effect(connection, catalogue, policy, statements))
    return results


async def _lock_people(
    connection: Connection, catalogue: DefinitionRegistry, changes: Mapping[str, Sequence[ConsentChange]]
) -> dict[str, Subject]:
    """Lock the people, and every lane that a change may reach: all at once, before any address (`store/locks.py`)."""
    rules = catalogue.consent.rules
    asking = [person for person, stated in changes.items() if may_need_confirmation(rules, stated)]
    return await lock_lanes_of(connection, changes, await subjects.accounts_of_people(connection, asking))


class PersonStatements:
    """The statements of one locked person, as they are changed one after another at one instant."""

    def __init__(self, connection: Connection, book: ConsentRuleSet, person: Subject, now: datetime) -> None:
        self.connection, self.book, self.person, self.now = connection, book, person, now
        self.current = current_addresses(book.addresses, person.profile)
        self.newest: dict[ChannelTopic, NewestStatements] = {}
        self.refused: list[ChannelTopic] = []
        self.effects: list[StatementEffect] = []
        self.pending: list[ConsentChange] = []
        self.events: list[InboundEvent] = []
        self.withdraws, self.logged = False, 0

    async def load(self) -> None:
        """Read the statements."""
        person = self.person
        self.newest = await records.read_newest(self.connection, person.key)
        rows = await address_consents.refusals_at(self.connection, self.book, person.profile, person.clock)
        self.refused = address_consents.places_of(rows)

    @property
    def consents(self) -> Consents:
        """What is in force for the person and at their addresses."""
        counting = {place: in_force(newest) for place, newest in self.newest.items()}
        own = {
            place: statement.granted
            for place, statement in counting.items()
            if statement is not None and statement.granted is not None and counts_now(statement.address, self.current)
        }
        return with_refusals(own, self.refused)

    async def add(self, change: ConsentChange) -> None:
        """Record one change."""
        rules, before = self.book.rules, self.consents
        if change.confirmed and rules.needs_confirming(*change.place):
            address = bound_address(self.book.addresses, change.channel, self.person.profile)
            change = replace(change, address=address)
        newest = self.newest.get(change.place, {})
        statement = change.dated(newest, self.now)
        effect = decide_change(rules, self.newest, before, change, statement)
        self.effects.append(effect)
        if not is_request(rules, change):
            after = with_statement(newest, statement)
            if after is not newest:
                self.newest[change.place] = after
                await records.keep_statements(self.connection, self.person.key, change.place, after, [statement])
            if change.is_own:
                await self._keep_at_addresses(change.place, statement)
        if effect is StatementEffect.WAITS:
            await self._request(change, statement.at)
        elif not change.granted:
            await requests.drop_pending(self.connection, self.person.key, change.place, statement.at, self.now)
        if change.granted is None and effect is StatementEffect.APPLIED and change.place not in before:
            return  # there was nothing to take back
        self.withdraws |= effect is StatementEffect.APPLIED and not change.granted
        self.logged = await records.log_change(self.connection, self.person.key, change, statement, effect)
        if change.unreadable:
            log.warning("consent.unreadable", line=self.logged, why=change.unreadable)

    async def _keep_at_addresses(self, place: ChannelTopic, statement: DatedStatement) -> None:
        """What the person has said themselves holds at their mailboxes too."""
        person = self.person
        kept = await address_consents.keep_at_addresses(
            self.connection, self.book, person.profile, person.clock, place, statement
        )  # fmt: skip
        others = [refused for refused in self.refused if refused not in kept]
        self.refused = [*others, *kept] if statement.granted is False else others

    async def _request(self, change: ConsentChange, at: datetime) -> None:
        self.pending.append(change)
        address = bound_address(self.book.addresses, "email", self.person.profile)
        event = await requests.request_confirmation(
            self.connection, self.person.key, change, said_at=at, now=self.now, address=address
        )
        if event is not None:
            self.events.append(event)


async def _take_effect(
    connection: Connection, catalogue: DefinitionRegistry, policy: Policy, statements: PersonStatements
) -> ConsentChangeResult:
    """End runs that have no channel left, and messages that may no longer be sent."""
    person, consents, now = statements.person.key, statements.consents, statements.now
    withdrawn, ended = 0, set[str]()
    if statements.withdraws:
        ended = await _end_opted_out(
            connection, catalogue, policy, person, consents, now, f"consent:{statements.logged}"
        )

        def refusals(entry: LedgerEntry) -> tuple[Reason, ...] | None:
            return refusals_by_all(policy, entry.via, entry.topic, entry.priority, consents)

        withdrawn = await withdraw_from_person(connection, catalogue, person, refusals, now, ended=ended)
    return ConsentChangeResult(
        now,
        withdrawn,
        len(ended),
        tuple(change.place for change in statements.pending),
        person,
        consents,
        tuple(statements.effects),
        tuple(statements.events),
    )


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
