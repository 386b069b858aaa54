"""Fields that are declared after their traits have arrived, filled from kept events.

The newest kept value counts, of a user before that of their merged visitors. A field that has a value keeps it, and one
that was forgotten since stays so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.dialects.postgresql import insert

from journeys.fields.table import FieldOwner, FieldTable
from store.database import Connection, execute, fetch_all, fetch_one, sql
from store.expressions import unnest
from store.process_clock import current_instant
from store.rows import loaded
from store.schema import declared_fields

PAGE: Final = 500
"""People or accounts of one slice."""

_of_field = (declared_fields.c.owner == bindparam("owner")) & (declared_fields.c.name == bindparam("name"))
_KNOWN = sql(select(func.count().label("number")).select_from(declared_fields))
_given = unnest(
    "given", owners=declared_fields.c.owner, names=declared_fields.c.name, instants=declared_fields.c.filled_at
)
_DECLARE = sql(
    insert(declared_fields).from_select(["owner", "name", "filled_at"], select(_given)).on_conflict_do_nothing()
)
_NEXT = sql(
    select(declared_fields.c.owner, declared_fields.c.name, declared_fields.c.after)
    .where(declared_fields.c.filled_at.is_(None), _of_field)
    .with_for_update(skip_locked=True)
)
_MOVE = sql(update(declared_fields).where(_of_field).values(after=bindparam("last")))
_FILLED = sql(update(declared_fields).where(_of_field).values(filled_at=func.clock_timestamp()))
_VALUES: Final = {
    owner: sql(
        f"""
        WITH page AS (
          SELECT key FROM subjects WHERE key > :after AND kind = '{kind}' AND merged_into IS NULL ORDER BY key LIMIT :most
        ), names AS (
          SELECT p.key, p.key AS name, 0 AS rank FROM page p JOIN subjects s ON s.key = p.key WHERE NOT (s.profile ? :name OR s.origins ? :name)
          UNION ALL SELECT p.key, v.key, 1 FROM page p JOIN subjects s ON s.key = p.key
            JOIN subjects v ON v.merged_into = p.key WHERE NOT (s.profile ? :name OR s.origins ? :name)
        )
        SELECT DISTINCT ON (p.key) p.key, e.id, e.value
        FROM page p LEFT JOIN names n ON n.key = p.key
        LEFT JOIN LATERAL (
          SELECT id, coalesce(occurred_at, at) AS said, given.value FROM events, LATERAL (
            SELECT coalesce(data -> trait, data #> string_to_array(trait, '.')) AS value
            FROM unnest(CAST(:traits AS text[])) WITH ORDINALITY AS t (trait, place)
            WHERE coalesce(data -> trait, data #> string_to_array(trait, '.')) IS NOT NULL
            ORDER BY place LIMIT 1) AS given
          WHERE {column} = n.name AND kind = '{call}'
            AND (cardinality(CAST(:writers AS text[])) = 0 OR split_part(source, ':', 2) = ANY(CAST(:writers AS text[])))
          ORDER BY said DESC, id DESC LIMIT 1) AS e ON true
        ORDER BY p.key, e.id IS NULL, n.rank, e.said DESC, e.id DESC
        """  # noqa: S608 -- names of ours
    )
    for owner, kind, column, call in (
        ("profile", "user", "subject_key", "identify"),
        ("account", "account", "account_key", "group"),
    )
}


class FilledValue(NamedTuple):
    """The value of a field in the newest kept event of a subject, with that event's number."""

    key: str
    event: int
    value: Any


class DeclaredField(NamedTuple):
    """A field of a tracking plan; `writers` are the sources that may write it, of none all.

    `traits` are the names by which senders give it, its own first; `table` reads its values.
    """

    owner: FieldOwner
    name: str
    writers: tuple[str, ...]
    traits: tuple[str, ...]
    table: FieldTable


async def declare_fields(connection: Connection, fields: Iterable[DeclaredField]) -> None:
    """Record the fields of a plan. Those of the first plan are filled: until then every trait was a field."""
    row = await fetch_one(connection, _KNOWN)
    instant = None if row is not None and row["number"] else current_instant()
    pairs = [(field.owner, field.name) for field in fields]
    await execute(
        connection,
        _DECLARE,
        owners=[owner for owner, _ in pairs],
        names=[name for _, name in pairs],
        instants=[instant] * len(pairs),
    )


async def next_values(connection: Connection, field: DeclaredField) -> list[FilledValue] | None:
    """Values for the next page of subjects; None if the field is filled, or another process has it in hand."""
    row = await fetch_one(connection, _NEXT, owner=field.owner, name=field.name)
    if row is None:
        return None
    rows = await fetch_all(
        connection,
        _VALUES[field.owner],
        after=row["after"],
        name=field.name,
        traits=list(field.traits),
        writers=list(field.writers),
        most=PAGE,
    )
    if not rows:
        await execute(connection, _FILLED, owner=field.owner, name=field.name)
        return None
    await execute(connection, _MOVE, owner=field.owner, name=field.name, last=rows[-1]["key"])
    return [FilledValue(item["key"], item["id"], value) for item in rows if (value := _value(field, item)) is not None]


def _value(field: DeclaredField, row: Mapping[str, Any]) -> Any:
    """The value as the field's type reads it; None without one, or if it cannot be read."""
    if row["value"] is None:
        return None
    return field.table.read(field.owner, {field.name: loaded(row["value"])}).values.get(field.name)
