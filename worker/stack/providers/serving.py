"""The local provider on a port: by itself, or inside a test's own loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from worker.stack.providers.advertising import GOOGLE, META
from worker.stack.providers.app import LocalProviderApp, Vendor
from worker.stack.providers.chat_and_support import RECEIVER, SLACK, ZENDESK, ZOOM
from worker.stack.providers.crms import HUBSPOT, SALESFORCE
from worker.stack.providers.mail_and_phone import FCM, RESEND, TWILIO, WEB_PUSH

VENDORS = (
    RESEND, TWILIO, FCM, WEB_PUSH, SLACK, ZENDESK, ZOOM, RECEIVER, GOOGLE, META, HUBSPOT, SALESFORCE,
)  # fmt: skip


class _Quiet(uvicorn.Server):
    """Signals are the loop's owner's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass(frozen=True, slots=True)
class Listening:
    """A server and the socket it is to serve; whoever connects before it does is answered a little later."""

    server: uvicorn.Server
    socket: socket.socket
    url: str


@dataclass(frozen=True, slots=True)
class LocalProvider:
    """A provider that answers. `origin` is what the allow-list names."""

    provider: LocalProviderApp
    url: str

    @property
    def origin(self) -> str:
        return self.url.removeprefix("http://")


def provider(folder: Path | None = None, vendors: tuple[Vendor, ...] = VENDORS) -> LocalProviderApp:
    """Every vendor there is, or these."""
    return LocalProviderApp(vendors, folder)


def listening(made: LocalProviderApp, *, host: str = "127.0.0.1", port: int = 0) -> Listening:
    """Bind now, so that the port is known."""
    bound = socket.create_server((host, port))
    config = uvicorn.Config(
        made.app, http="h11", lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=1
    )
    return Listening(_Quiet(config), bound, f"http://{host}:{bound.getsockname()[1]}")


@contextlib.asynccontextmanager
async def local_provider(
    folder: Path | None = None, vendors: tuple[Vendor, ...] = VENDORS
) -> AsyncIterator[LocalProvider]:
    """A provider on a free port of the loopback, for as long as the body runs."""
    made = provider(folder, vendors)
    found = listening(made)
    server = found.server
    task = asyncio.create_task(server.serve([found.socket]))
    try:
        yield LocalProvider(made, found.url)
    finally:
        made.app.end()
        server.should_exit = server.force_exit = True
        await task
        found.socket.close()
