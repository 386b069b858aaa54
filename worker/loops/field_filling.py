"""Loop that fills newly declared fields from kept events.

Each value is an event of Tenure's own, so that runs that read the field receive it, and the log says where it comes from.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from journeys.events.inbound import CallKind, InboundEvent
from journeys.events.tracking_plan import PlannedField, TrackingPlan
from journeys.fields.table import FieldOwner
from store.database import Connection, Database
from store.definitions.registry import DefinitionRegistry
from store.events.ingest import accept_within
from store.people.field_filling import (
    SOURCE_FILLED,
    DeclaredField,
    begin_fillings,
    declare_fields,
    move_on,
    next_values,
)
from store.retry import retry_transaction
from worker.loops.loop import run_periodically

log = structlog.get_logger()

SECONDS: Final = 60.0


def fields_of(plan: TrackingPlan) -> tuple[DeclaredField, ...]:
    """The fields of people and accounts that a plan declares."""
    return (
        *(_declared(plan, "profile", name, field) for name, field in plan.profile.items()),
        *(_declared(plan, "account", name, field) for name, field in plan.account.items()),
    )


def _declared(plan: TrackingPlan, owner: FieldOwner, name: str, field: PlannedField) -> DeclaredField:
    return DeclaredField(owner, name, field.writers, (name, *field.from_), plan.traits)


async def fill_declared_fields(
    database: Database, catalogue: DefinitionRegistry, fields: Sequence[DeclaredField], stop: asyncio.Event
) -> None:
    """Fill what the plan has declared, slice after slice, until `stop` is set."""

    async def poll() -> bool:
        async with database.transaction() as connection:
            await declare_fields(connection, fields)
            unfilled = await begin_fillings(connection, fields)
        for field in unfilled:
            while not stop.is_set() and await fill_slice(database, catalogue, field):
                pass
        return False

    if not fields:
        return
    await run_periodically("field filling", poll, stop, SECONDS)


async def fill_slice(database: Database, catalogue: DefinitionRegistry, field: DeclaredField) -> bool:
    """Fill a field of the next page of people or accounts; False if there are none left."""

    async def fill(connection: Connection) -> bool:
        page = await next_values(connection, field)
        if page is None:
            return False
        kind: CallKind = "group" if field.owner == "account" else "identify"
        events = [
            InboundEvent(
                kind,
                f"{field.name}:{item.key}:{item.event}",
                kind,
                subject_key=item.key,
                traits={field.name: item.value},
            )
            for item in page.values
        ]
        await accept_within(connection, catalogue, events, source=SOURCE_FILLED)
        await move_on(connection, field, page)
        if events:
            log.info("fields.filled", field=field.name, subjects=len(events))
        return True

    return await retry_transaction(database, fill)
