"""The newest published catalogue, in a folder of this process."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Final, Self

from store.availability import log_outage
from store.database import Database
from store.definitions.catalogue_versions import current_version, files_of
from store.errors import is_outage
from worker.catalogue.folder import write_folder
from worker.loops.loop import sleep_or_stop
from worker.settings import Settings

POLL_SECONDS: Final = 1.0
"""Between two looks for a newer version."""


class PublishedCatalogue:
    """`async with`: folders of published versions, deleted at its end.

    Without a published version a process reads the folder that its settings name.
    """

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings, self._database = settings, database
        self._home = tempfile.TemporaryDirectory(prefix="tenure-catalogue-", ignore_cleanup_errors=True)
        self.number: int | None = None
        """The version whose folder was returned last."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._home.cleanup()

    async def first(self, stop: asyncio.Event) -> Settings | None:
        """The settings with the folder of the current version, or None after `stop`. An outage is waited for."""
        return await self._wait(stop, newer=False)

    async def at_once(self) -> Settings:
        """The same without a wait: in an outage those of the folder that the settings name."""
        try:
            return await self._current()
        except Exception as error:
            if not is_outage(error):
                raise
            return self._settings

    async def newer(self, stop: asyncio.Event) -> Settings | None:
        """The same once there is a version newer than the last one that was returned."""
        return await self._wait(stop, newer=True)

    async def _wait(self, stop: asyncio.Event, *, newer: bool) -> Settings | None:
        while not stop.is_set():
            try:
                used = self.number
                settings = await self._current()
                if self.number != used or not newer:
                    return settings
            except Exception as error:
                if not is_outage(error) and not newer:
                    raise
                log_outage("catalogue.not_read", error)
            await sleep_or_stop(stop, POLL_SECONDS)
        return None

    async def _current(self) -> Settings:
        async with self._database.reading() as connection:
            version = await current_version(connection)
            if version is None:
                return self._settings
            folder = Path(self._home.name) / str(version.number)
            if not folder.exists():
                write_folder(folder, await files_of(connection, version.number))
        self.number = version.number
        return self._settings.model_copy(update={"catalog": folder})
