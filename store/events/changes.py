"""Consent changes and closed tasks, committed with the events that they cause."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from journeys.consent.changes import ConsentChange
from journeys.gate.policy import Policy
from journeys.protocol.wire import SOURCE_SELF
from journeys.tasks.assignment import Roster
from journeys.tokens.signed_links import Link
from store.consent import consents, double_opt_in
from store.consent.consents import ConsentChangeResult
from store.consent.requests import SOURCE_CONSENT
from store.database import Connection, Database
from store.definitions.registry import DefinitionRegistry
from store.events import log
from store.events.ingest import accept_within
from store.people import subjects
from store.process_clock import current_instant
from store.retry import retry_transaction
from store.rows import RowDict
from store.tasks import tasks


async def change_consents(
    database: Database, catalogue: DefinitionRegistry, policy: Policy, person: str, changes: Sequence[ConsentChange]
) -> ConsentChangeResult:
    """Record a person's changes, and apply withdrawals before anything else is sent: all in one transaction.

    Raises ClockAdvancing.
    """

    async def change(connection: Connection) -> ConsentChangeResult:
        key = await subjects.canonical_key(connection, person)
        (result,) = await consents.change_consents_within(connection, catalogue, policy, {key: changes}, outside=True)
        await accept_within(connection, catalogue, result.events, source=SOURCE_CONSENT)
        return result

    return await retry_transaction(database, change)


async def confirm_consent(
    database: Database, catalogue: DefinitionRegistry, link: Link, proof: Mapping[str, str]
) -> ConsentChangeResult:
    """Put a pending grant in force; a second time changes nothing.

    Raises NothingToConfirm, AddressChanged and ClockAdvancing.
    """

    async def confirm(connection: Connection) -> ConsentChangeResult:
        result = await double_opt_in.confirm_within(connection, catalogue, link, proof)
        await accept_within(connection, catalogue, result.events, source=SOURCE_CONSENT)
        return result

    return await retry_transaction(database, confirm)


async def close_task(
    database: Database, identity: int, *, resolution: str, by: str, note: str, roster: Roster, now: datetime
) -> tuple[bool, RowDict] | None:
    """Close a task and emit `<action>.closed` to every run that asked for it, once; whether it was open until now.

    None if there is no such task. Raises TaskNotOpen if it has ended differently, OutcomeNotDeclared and ClockAdvancing.
    """

    async def close(connection: Connection, task: RowDict, at: datetime) -> bool:
        closing = await tasks.close_within(connection, task, at, resolution=resolution, by=by, note=note, roster=roster)
        if closing.event is not None:
            # It is stored but not admitted to a lane: the conversation's own run has received it already.
            await log.store_one(connection, closing.event, at, source=SOURCE_SELF, received_at=current_instant())
        return closing.was_open

    return await tasks.change_under_lock(database, identity, now, close)
