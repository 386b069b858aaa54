"""What `why not` needs of a person: their runs of a journey, and the last event of each name that could have opened one."""

from __future__ import annotations

from collections.abc import Sequence

from journeys.whynot import Been, Heard
from store.database import Connection, rows, sql
from store.queries import loaded

_RUNS = sql(
    """
    SELECT id, epoch, state, entered_at, status, outcome, ended_at, memory FROM runs
    WHERE lane = ANY(CAST(:keys AS text[])) AND journey = :journey ORDER BY epoch DESC LIMIT 20
    """
)
_HEARD = sql(
    """
    SELECT DISTINCT ON (name) name, at, data FROM events
    WHERE subject_key = ANY(CAST(:keys AS text[])) AND name = ANY(CAST(:names AS text[])) ORDER BY name, id DESC
    """
)


async def runs_of(connection: Connection, keys: Sequence[str], journey: str) -> list[Been]:
    """The newest first."""
    found = await rows(connection, _RUNS, keys=list(keys), journey=journey)
    return [
        Been(
            item["id"], item["epoch"], item["state"], item["entered_at"], item["status"] == "open", item["outcome"],
            item["ended_at"], (loaded(item["memory"]) or {}).get("variables", {}),
        )
        for item in found
    ]  # fmt: skip


async def last_heard(connection: Connection, keys: Sequence[str], names: Sequence[str]) -> dict[str, Heard]:
    """By name."""
    found = await rows(connection, _HEARD, keys=list(keys), names=list(names))
    return {item["name"]: Heard(item["at"], loaded(item["data"])) for item in found}
