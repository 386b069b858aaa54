"""Fields that are declared after their traits have arrived, filled from kept events.

The newest kept value counts, of a user before that of their merged visitors. A field that has a value keeps it, and one
that was forgotten since stays so, unless the newest kept value was left out: then a process with an older plan accepted it,
or the field was declared again.

A filling begins when no value was left out for `QUIET`. What was left out before is committed then, so the filling sees it.
What is left out afterwards (`store/people/dropped_fields.py`) lets another filling follow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, NamedTuple

from journeys.fields.table import FieldOwner, FieldTable
from store.database import Connection, execute, fetch_all, fetch_one, sql
from store.locks import Lock, lock_if_free
from store.people.dropped_fields import RECORDED_EVERY
from store.process_clock import current_instant
from store.retention.periods import UNSEEN
from store.rows import loaded

PAGE: Final = 500
"""People or accounts of one slice."""
QUIET: Final = UNSEEN + RECORDED_EVERY
"""A value that was left out is committed at most so long after `dropped_at`: the life of its transaction, and what is recorded."""
SOURCE_FILLED: Final = "filled"
"""The source of the events that fill fields."""

_KNOWN = sql("SELECT count(*) AS number FROM declared_fields")
# Until now other processes may have left out the field without a trace.
_DECLARE = sql(
    """
    INSERT INTO declared_fields (owner, name, filled_at, began_at, dropped_at)
    SELECT given.owner, given.name, CAST(:instant AS timestamptz), CAST(:instant AS timestamptz),
      CASE WHEN CAST(:instant AS timestamptz) IS NULL THEN clock_timestamp() END
    FROM unnest(CAST(:owners AS text[]), CAST(:names AS text[])) AS given(owner, name)
    ORDER BY given.owner, given.name ON CONFLICT DO NOTHING
    """
)
_given = "unnest(CAST(:owners AS text[]), CAST(:names AS text[])) AS given(owner, name)"
# Rows are locked in the order of their names, as `record_dropped` does.
_BEGIN = sql(
    f"""
    WITH missing AS (
      SELECT f.owner, f.name FROM declared_fields f JOIN {_given} USING (owner, name)
      WHERE (f.dropped_at IS NULL OR f.dropped_at < statement_timestamp() - CAST(:quiet AS interval))
        AND (f.began_at IS NULL OR (f.filled_at IS NOT NULL AND f.dropped_at + CAST(:quiet AS interval) >= f.began_at))
      ORDER BY f.owner, f.name
      FOR NO KEY UPDATE OF f
    )
    UPDATE declared_fields f SET began_at = clock_timestamp(), after = '', filled_at = NULL
    FROM missing WHERE f.owner = missing.owner AND f.name = missing.name
    """  # noqa: S608 -- names of ours
)
_UNFILLED = sql(
    f"""
    SELECT f.owner, f.name FROM declared_fields f JOIN {_given} USING (owner, name)
    WHERE f.filled_at IS NULL AND f.began_at IS NOT NULL
    """  # noqa: S608 -- names of ours
)
_of_field = "WHERE owner = :owner AND name = :name AND filled_at IS NULL AND began_at IS NOT NULL"
_NEXT = sql(
    f"SELECT after, dropped_from - CAST(:quiet AS interval) AS since FROM declared_fields {_of_field}"  # noqa: S608
)
_MOVE = sql(f"UPDATE declared_fields SET after = :last {_of_field}")  # noqa: S608 -- names of ours
_FILLED = sql(
    f"""
    UPDATE declared_fields SET filled_at = clock_timestamp(),
      dropped_from = CASE WHEN dropped_at + CAST(:quiet AS interval) >= began_at THEN dropped_from END {_of_field}
    """  # noqa: S608 -- names of ours
)
_VALUES: Final = {
    owner: sql(
        f"""
        WITH page AS (
          SELECT key, profile, profile ? :name OR origins ? :name AS has FROM subjects
          WHERE key > :after AND kind = '{kind}' AND merged_into IS NULL ORDER BY key LIMIT :most
        ), names AS (
          SELECT p.key, p.key AS name, 0 AS rank FROM page p WHERE NOT p.has OR CAST(:since AS timestamptz) IS NOT NULL
          UNION ALL SELECT p.key, v.key, 1 FROM page p JOIN subjects v ON v.merged_into = p.key WHERE NOT p.has
        )
        SELECT DISTINCT ON (p.key) p.key, e.id, CASE
            WHEN NOT p.has THEN e.value
            WHEN e.received_at >= CAST(:since AS timestamptz) AND e.value <> p.profile -> CAST(:name AS text) THEN e.value
          END AS value
        FROM page p LEFT JOIN names n ON n.key = p.key
        LEFT JOIN LATERAL (
          SELECT id, received_at, coalesce(occurred_at, at) AS said, given.value FROM events, LATERAL (
            SELECT coalesce(data -> trait, data #> string_to_array(trait, '.')) AS value
            FROM unnest(CAST(:traits AS text[])) WITH ORDINALITY AS t (trait, place)
            WHERE coalesce(data -> trait, data #> string_to_array(trait, '.')) IS NOT NULL
            ORDER BY place LIMIT 1) AS given
          WHERE {column} = n.name AND kind = '{call}' AND source <> '{SOURCE_FILLED}'
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


class FilledPage(NamedTuple):
    """The values of a page of subjects, and the last of them."""

    values: list[FilledValue]
    last: str


async def declare_fields(connection: Connection, fields: Iterable[DeclaredField]) -> None:
    """Record the fields of a plan. Those of the first plan are filled: until then every trait was a field."""
    row = await fetch_one(connection, _KNOWN)
    instant = None if row is not None and row["number"] else current_instant()
    await execute(connection, _DECLARE, **_names(fields), instant=instant)


async def begin_fillings(
    connection: Connection, fields: Sequence[DeclaredField], *, quiet: timedelta = QUIET
) -> list[DeclaredField]:
    """Begin to fill the fields of a plan of which a value may be missing; all those that are being filled."""
    await execute(connection, _BEGIN, **_names(fields), quiet=quiet)
    rows = await fetch_all(connection, _UNFILLED, **_names(fields))
    unfilled = {(row["owner"], row["name"]) for row in rows}
    return [field for field in fields if (field.owner, field.name) in unfilled]


async def next_values(connection: Connection, field: DeclaredField) -> FilledPage | None:
    """Values for the next page of subjects; None if the field is filled, or another process has one in hand."""
    if not await lock_if_free(connection, Lock.FILLING):
        return None
    row = await fetch_one(connection, _NEXT, owner=field.owner, name=field.name, quiet=QUIET)
    if row is None:
        return None
    rows = await fetch_all(
        connection,
        _VALUES[field.owner],
        after=row["after"],
        since=row["since"],
        name=field.name,
        traits=list(field.traits),
        writers=list(field.writers),
        most=PAGE,
    )
    if not rows:
        await execute(connection, _FILLED, owner=field.owner, name=field.name, quiet=QUIET)
        return None
    values = [
        FilledValue(item["key"], item["id"], value) for item in rows if (value := _value(field, item)) is not None
    ]
    return FilledPage(values, rows[-1]["key"])


async def move_on(connection: Connection, field: DeclaredField, page: FilledPage) -> None:
    """Go on behind a page: the last statement of its transaction, as `store/locks.py` says."""
    await execute(connection, _MOVE, owner=field.owner, name=field.name, last=page.last)


def _names(fields: Iterable[DeclaredField]) -> dict[str, list[str]]:
    pairs = [(field.owner, field.name) for field in fields]
    return {"owners": [owner for owner, _ in pairs], "names": [name for _, name in pairs]}


def _value(field: DeclaredField, row: Mapping[str, Any]) -> Any:
    """The value as the field's type reads it; None without one, or if it cannot be read."""
    if row["value"] is None:
        return None
    return field.table.read(field.owner, {field.name: loaded(row["value"])}).values.get(field.name)
