"""Loop that replays rows parked for a newer version, once this one can."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from store.database import Database
from store.definitions.registry import DefinitionRegistry
from store.outbox.parked import ParkedCode, list_parked
from store.outbox.replay import NotReplayable, replay_parked
from worker.loops.loop import run_periodically

log = structlog.get_logger()

SECONDS: Final = 600.0
"""A deployment of code that reads the definition starts this loop at once; it polls for other versions' publications."""
PAGE: Final = 500
BY: Final = "Tenure"
CODES: Final[tuple[ParkedCode, ...]] = ("definition", "version")
"""Rows parked for these wait for code, not for a person."""


async def replay_readable_rows(database: Database, catalogue: DefinitionRegistry, stop: asyncio.Event) -> None:
    """Replay until `stop` is set; a row that cannot be replayed yet is left as it is."""

    async def poll() -> bool:
        await replay_readable(database, catalogue, stop)
        return False

    await run_periodically("parked rows", poll, stop, SECONDS)


async def replay_readable(database: Database, catalogue: DefinitionRegistry, stop: asyncio.Event) -> int:
    """Replay every held row that was parked for a newer version, in order, as far as this one can; how many."""
    after, count, waiting = 0, 0, set[str]()
    while not stop.is_set():
        async with database.reading() as connection:
            page = await list_parked(connection, status="held", codes=CODES, run=None, after=after, limit=PAGE)
        for row in page:
            if stop.is_set() or row["run"] in waiting:
                continue
            try:
                count += await replay_parked(database, catalogue, row["id"], BY)
            except NotReplayable:
                waiting.add(row["run"])
        if len(page) < PAGE:
            break
        after = page[-1]["id"]
    if count:
        log.info("parked.replayed", rows=count)
    return count
