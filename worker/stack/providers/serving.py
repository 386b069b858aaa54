"""Server of the local provider: a process, or inside a test."""

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
from worker.stack.providers.hubspot import HUBSPOT
from worker.stack.providers.mail_and_phone import FCM, RESEND, TWILIO, WEB_PUSH
from worker.stack.providers.salesforce import SALESFORCE
from worker.stack.providers.slack import SLACK
from worker.stack.providers.webhook_receiver import RECEIVER
from worker.stack.providers.zendesk import ZENDESK
from worker.stack.providers.zoom import ZOOM

VENDORS = (
    RESEND, TWILIO, FCM, WEB_PUSH, SLACK, ZENDESK, ZOOM, RECEIVER, GOOGLE, META, HUBSPOT, SALESFORCE,
)  # fmt: skip


class _Quiet(uvicorn.Server):
    """Leaves signals to the owner of the event loop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass(frozen=True, slots=True)
class Listening:
    """A server and its bound socket. Clients that connect before it serves wait."""

    server: uvicorn.Server
    socket: socket.socket
    url: str


@dataclass(frozen=True, slots=True)
class LocalProvider:
    """A provider that answers requests."""

    provider: LocalProviderApp
    url: str

    @property
    def origin(self) -> str:
        """`host:port`, as TENURE_OUTGOING_ALLOW names it."""
        return self.url.removeprefix("http://")


def provider(
    folder: Path | None = None, vendors: tuple[Vendor, ...] = VENDORS, token: str | None = None
) -> LocalProviderApp:
    """A provider with these vendors. With a token its record and its faults are for those who know it."""
    return LocalProviderApp(vendors, folder, token=token)


def listening(provider_app: LocalProviderApp, *, host: str = "127.0.0.1", port: int = 0) -> Listening:
    """Bind the port; serving starts later."""
    bound = socket.create_server((host, port))
    config = uvicorn.Config(
        provider_app.app, http="h11", lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=1
    )
    return Listening(_Quiet(config), bound, f"http://{host}:{bound.getsockname()[1]}")


@contextlib.asynccontextmanager
async def local_provider(
    folder: Path | None = None, vendors: tuple[Vendor, ...] = VENDORS
) -> AsyncIterator[LocalProvider]:
    """A provider on a free port of the loopback, for as long as the body runs."""
    provider_app = provider(folder, vendors)
    bound = listening(provider_app)
    server = bound.server
    task = asyncio.create_task(server.serve([bound.socket]))
    try:
        yield LocalProvider(provider_app, bound.url)
    finally:
        provider_app.app.end()
        server.should_exit = server.force_exit = True
        await task
        bound.socket.close()
