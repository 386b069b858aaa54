"""The API's application by the newest published version of the catalogue."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final
from weakref import WeakSet

import structlog
from starlette.types import Receive, Scope, Send

from api.app import build_app
from api.http.asgi import AsgiApp
from api.parts import Parts, ProcessState
from worker.catalogue.published import PublishedCatalogue
from worker.settings import Settings

log = structlog.get_logger()

LIFESPAN: Final = "lifespan"


class VersionedApp:
    """ASGI application that hands each request to the application of the version that is in use when it begins.

    Applications share the state of the process. Loops of the first run as long as the process.
    """

    def __init__(self, parts_of: Callable[[Settings], Parts], settings: Settings) -> None:
        parts = parts_of(settings)
        self._parts_of, self._state = parts_of, ProcessState.of(parts)
        self.current = self.first = build_app(parts, self._state)
        self._begun: WeakSet[AsgiApp] = WeakSet([self.first])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self.first if scope["type"] == LIFESPAN else self.current
        await app(scope, receive, send)

    async def operations(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application of the operations listener."""
        await self.current.operations(scope, receive, send)

    def end_streams(self) -> None:
        """End the open streams of every version."""
        for app in self._begun:
            app.end_streams()

    async def use(self, settings: Settings) -> None:
        """Use the catalogue of these settings from the next request on. Raises SettingsError and TemplateProblems."""
        parts = await asyncio.to_thread(self._parts_of, settings)
        self.current = build_app(parts, self._state)
        self._begun.add(self.current)


@contextlib.asynccontextmanager
async def follows_versions(app: VersionedApp, published: PublishedCatalogue) -> AsyncIterator[None]:
    """Let the application use each newer version while the body runs. One that this code cannot read is passed over."""
    stop = asyncio.Event()
    following = asyncio.create_task(_follow(app, published, stop))
    try:
        yield
    finally:
        stop.set()
        await following


async def _follow(app: VersionedApp, published: PublishedCatalogue, stop: asyncio.Event) -> None:
    while (settings := await published.newer(stop)) is not None:
        try:
            await app.use(settings)
        except Exception as error:  # noqa: BLE001 -- newer code has published it; the version in use stays
            log.error("catalogue.unreadable", version=published.number, error=str(error)[:200])
        else:
            log.info("catalogue.loaded", version=published.number)
