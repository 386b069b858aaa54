"""Traits of accepted calls that are no fields here, although another plan declares them.

Processes with an older plan accept events while newer ones fill a new field, and a field may be taken out and declared
again. So a process records when it leaves out a value of a field that some plan has declared, and that field is filled again
(`store/people/field_filling.py`). It is recorded at most once in `RECORDED_EVERY` for each field.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final

from journeys.fields.table import FieldOwner
from store.database import Connection, execute, sql

RECORDED_EVERY: Final = timedelta(seconds=30)
# In the order of the names, so that two batches do not wait for each other.
_RECORD = sql(
    """
    WITH late AS (
      SELECT f.owner, f.name FROM declared_fields f
      JOIN unnest(CAST(:owners AS text[]), CAST(:names AS text[])) AS given(owner, name) USING (owner, name)
      WHERE f.dropped_at IS NULL OR f.dropped_from IS NULL
        OR f.dropped_at < statement_timestamp() - CAST(:every AS interval)
      ORDER BY f.owner, f.name
      FOR NO KEY UPDATE OF f
    )
    UPDATE declared_fields f SET dropped_at = clock_timestamp(), dropped_from = coalesce(f.dropped_from, CAST(:since AS timestamptz))
    FROM late WHERE f.owner = late.owner AND f.name = late.name
    """
)


async def record_dropped(connection: Connection, fields: Collection[tuple[FieldOwner, str]], since: datetime) -> None:
    """Record fields of which values did not reach a profile, received at `since`. The last lock of its transaction."""
    if fields:
        await execute(
            connection,
            _RECORD,
            owners=[owner for owner, _ in fields],
            names=[name for _, name in fields],
            every=RECORDED_EVERY,
            since=since,
        )
