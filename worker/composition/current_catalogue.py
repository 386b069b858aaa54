"""Dependencies of a worker process by the newest published version of the catalogue."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial

import structlog

from activities.dependencies import CurrentDependencies
from store.database import Database
from worker.catalogue.published import PublishedCatalogue
from worker.composition.audiences import audience_plans
from worker.composition.dependencies import dependencies
from worker.settings import Settings

log = structlog.get_logger()


class CurrentCatalogue:
    """The version in use: its settings, and the dependencies that it gives to activities."""

    def __init__(self, published: PublishedCatalogue, settings: Settings, database: Database) -> None:
        self._published = published
        self.settings, self.database = settings, database
        self.current = CurrentDependencies(dependencies(settings, database, version=published.number))

    async def next_version(self, stop: asyncio.Event) -> None:
        """Wait for a newer version and use it, or for `stop`. One that this code cannot read is passed over."""
        while (settings := await self._published.newer(stop)) is not None:
            number = self._published.number
            load = partial(dependencies, settings, self.database, before=self.current.deps, version=number)
            try:
                audience_plans(settings.catalog)  # the loops read it, and could not begin
                self.current.deps = await asyncio.to_thread(load)
            except Exception as error:  # noqa: BLE001 -- newer code has published it; the version in use stays
                log.error("catalogue.unreadable", version=number, error=str(error)[:200])
                continue
            self.settings = settings
            log.info("catalogue.loaded", version=number)
            return


@contextlib.asynccontextmanager
async def current_catalogue(
    settings: Settings, database: Database, stop: asyncio.Event
) -> AsyncIterator[CurrentCatalogue | None]:
    """The newest version while the body runs; None after `stop`. Raises SettingsError and TemplateProblems."""
    async with PublishedCatalogue(settings, database) as published:
        chosen = await published.first(stop)
        yield None if chosen is None else CurrentCatalogue(published, chosen, database)
