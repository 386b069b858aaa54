"""Export of a person: every row about them, from one snapshot."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import LargeBinary, Table, select
from sqlalchemy.dialects.postgresql import JSONB

from journeys.access.user_hash import without_hash
from journeys.consent.statements import ADDRESS_FIELDS
from journeys.tokens.address_hash import AddressHash
from store.database import Connection, Database, fetch_all, sql
from store.expressions import any_of
from store.reads.people import subject_keys
from store.reads.personal_tables import PERSONAL
from store.rows import RowDict, loaded
from store.schema import identities, messages, runs, subjects, task_asks, tasks

_RUNS = sql(select(runs.c.id).where(any_of(runs.c.subject_key, "keys") | any_of(runs.c.lane, "keys")))
_MESSAGES = sql(
    select(messages.c.key, messages.c.id, messages.c.channel, messages.c.address).where(
        any_of(messages.c.recipient, "keys") | any_of(messages.c.run, "runs")
    )
)
_OWN_TASKS = sql(select(tasks.c.id).where(any_of(tasks.c.run, "runs") | any_of(tasks.c.subject_key, "keys")))
_ASKED_TASKS = sql(select(task_asks.c.task_id).where(any_of(task_asks.c.run, "runs")))
_PROFILES = sql(select(subjects.c.profile).where(any_of(subjects.c.key, "keys")))
_IDS = sql(select(identities.c.value).where(any_of(identities.c.subject_key, "keys")))


@dataclass(frozen=True, slots=True)
class PersonalExport:
    """By table, a person's rows with the values of every column. Bytes are text, or base64 where they are no UTF-8."""

    key: str
    tables: Mapping[str, Sequence[RowDict]]

    @property
    def size(self) -> int:
        """Rows of all tables."""
        return sum(len(rows) for rows in self.tables.values())


async def export_person(database: Database, addresses: AddressHash, key: str) -> PersonalExport:
    """Everything known of a person, by their current key."""
    async with database.transaction() as connection:
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        named = await _names_of(connection, addresses, key)
        return PersonalExport(
            key,
            {
                part.table.name: [_exported(part.table, row) for row in await fetch_all(connection, part.rows, **named)]
                for part in PERSONAL
            },
        )


async def _names_of(connection: Connection, addresses: AddressHash, key: str) -> dict[str, list[Any]]:
    """The arrays by which tables name the person."""
    keys = await subject_keys(connection, key)
    own_runs = _first(await fetch_all(connection, _RUNS, keys=keys))
    ledger = await fetch_all(connection, _MESSAGES, keys=keys, runs=own_runs)
    own_tasks = _first(await fetch_all(connection, _OWN_TASKS, keys=keys, runs=own_runs))
    asked = _first(await fetch_all(connection, _ASKED_TASKS, runs=own_runs))
    profiles = [loaded(row["profile"]) for row in await fetch_all(connection, _PROFILES, keys=keys)]
    known = [(channel, profile.get(field)) for profile in profiles for channel, field in ADDRESS_FIELDS.items()]
    known += [(row["channel"], row["address"]) for row in ledger if row["channel"] in ADDRESS_FIELDS]
    written = {(channel, address) for channel, address in known if isinstance(address, str) and address}
    return {
        "keys": keys,
        "runs": own_runs,
        "messages": [row["key"] for row in ledger],
        "numbers": [row["id"] for row in ledger],
        "own_tasks": own_tasks,
        "tasks": sorted({*own_tasks, *asked}),
        "digests": [digest for channel, address in sorted(written) for digest in addresses.digests(channel, address)],
        "ids": _first(await fetch_all(connection, _IDS, keys=keys)),
    }


def _first(rows: Iterable[Mapping[str, Any]]) -> list[Any]:
    return [next(iter(row.values())) for row in rows]


def _exported(table: Table, row: Mapping[str, Any]) -> RowDict:
    values = {column.name: _value(column.type, row[column.name]) for column in table.columns}
    # Whoever reads the hash of a user id could act for that user.
    return {**values, "event": without_hash(values["event"])} if table.name == "quarantine" else values


def _value(kind: Any, value: Any) -> Any:
    match kind, value:
        case JSONB(), str():
            return loaded(value)
        case LargeBinary(), bytes():
            try:
                return value.decode()
            except UnicodeDecodeError:
                return b64encode(value).decode()
        case _, UUID():  # the driver has its own subclass, which JSON does not know
            return str(value)
        case _:
            return value
