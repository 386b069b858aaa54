"""Providers that kill their client just before or after they accept a message, once for each cell."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

from aiosmtpd.smtp import SMTP, Envelope, Session
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.storm.crash_cells import Cell
from tests.storm.dying_process import LOOKUPS
from tests.support.crms import NAMES
from worker.stack.mail_sink import MailSink
from worker.stack.maildir import Maildir
from worker.stack.providers.app import LocalProviderApp, Vendor, VendorRequest, discard, read_body
from worker.stack.providers.crm_tasks import tasks_of
from worker.stack.providers.serving import VENDORS, listening, provider

MARKER: Final = re.compile(rb"cell\d{3}x", re.IGNORECASE)


async def _take(request: VendorRequest) -> Response:
    request.accepted.add("tail", to=request.path("who"), content=request.json)
    return Response(status_code=200)


TAIL: Final = Vendor("tail", (("POST", "/{who:path}", _take),), lambda _, code: {"error": code})


@dataclass
class KillingProviders:
    """All providers of one matrix. `taken` counts the messages that a vendor has accepted."""

    folder: Path
    cells: Sequence[Cell]
    provider: LocalProviderApp = field(default_factory=lambda: provider(vendors=(*VENDORS, TAIL)))

    def __post_init__(self) -> None:
        self.arm(self.cells)
        self._crms = {cell.marker: provider() for cell in self.cells if cell.target.kind == "task"}
        self.mails = Maildir(self.folder / "mail")

    def arm(self, cells: Sequence[Cell]) -> None:
        """Kill the process of each of these cells at its next message."""
        self._due = {cell.marker: cell.point for cell in cells if cell.point.startswith("acceptance")}

    def kill_if_due(self, content: bytes, point: str) -> bool:
        """Kill the process of this content's cell if it is due to die at this point. Returns whether it was killed."""
        marker = _marker(content)
        if self._due.get(marker) != point:
            return False
        del self._due[marker]
        os.kill(int((self.folder / f"{marker}.pid").read_text()), signal.SIGKILL)
        return True

    def taken(self, cell: Cell) -> int:
        """How often this cell's message was accepted."""
        match cell.target.vendor:
            case "mail":
                mails = (path.read_bytes() for path in (self.mails.folder / "new").iterdir())
                return sum(cell.marker.encode() in mail for mail in mails)
            case "hubspot" | "salesforce":
                return len(tasks_of(self._crms[cell.marker].accepted, cell.target.vendor))
            case "google" | "meta":
                items = self.provider.accepted.search(provider=cell.target.vendor, to=cell.marker)
                return len({tuple(item["content"]["hashes"]) for item in items})
            case vendor:
                items = self.provider.accepted.search(provider=vendor)
                return sum(cell.marker in json.dumps(item).lower() for item in items)

    # -- over HTTP -------------------------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application: CRMs under a prefix for each cell, all other vendors as they are."""
        body = await read_body(receive)
        content = scope["path"].encode() + body
        inner, scope = self._route(scope)

        async def receive_again() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        if scope["method"] == "GET" or scope["path"].endswith(LOOKUPS):
            await inner(scope, receive_again, send)
        elif self.kill_if_due(content, "acceptance-before"):
            cast("Any", send).__self__.transport.abort()
        elif self._due.get(_marker(content)) == "acceptance-after":
            await inner(scope, receive_again, discard)
            self.kill_if_due(content, "acceptance-after")
            cast("Any", send).__self__.transport.abort()
        else:
            await inner(scope, receive_again, send)

    def end(self) -> None:
        for vendor in (self.provider, *self._crms.values()):
            vendor.app.end()

    def _route(self, scope: Scope) -> tuple[ASGIApp, Scope]:
        vendor, _, rest = scope["path"].removeprefix("/").partition("/")
        if vendor not in NAMES:
            return self.provider.app, scope
        marker = rest.partition("/")[0]
        path, raw = scope["path"].replace(f"/{marker}", "", 1), scope["raw_path"].replace(f"/{marker}".encode(), b"", 1)
        return self._crms[marker].app, {**scope, "path": path, "raw_path": raw}


def _marker(content: bytes) -> str:
    match = MARKER.search(content)
    return match[0].decode().lower() if match else ""


class KillingSink(MailSink):
    """A mail sink that kills its client in the same way."""

    def __init__(self, providers: KillingProviders) -> None:
        super().__init__(providers.mails)
        self._providers = providers

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = str(envelope.rcpt_tos).encode()
        if self._providers.kill_if_due(content, "acceptance-before"):
            cast("asyncio.Transport", server.transport).abort()
            return "451 4.3.0 the client is dead"
        answer = await super().handle_DATA(server, session, envelope)
        if self._providers.kill_if_due(content, "acceptance-after"):
            cast("asyncio.Transport", server.transport).abort()
        return answer


@dataclass(frozen=True, slots=True)
class ProviderAddresses:
    """URLs of the HTTP providers and of the mail relay."""

    provider: str
    relay: str


@contextlib.asynccontextmanager
async def serve_killing(providers: KillingProviders) -> AsyncIterator[ProviderAddresses]:
    """Serve the providers for as long as the body runs."""
    providers.mails.create()
    http = listening(providers.provider)
    http.server.config.app = providers
    served = asyncio.create_task(http.server.serve([http.socket]))

    def protocol() -> SMTP:
        return SMTP(KillingSink(providers), enable_SMTPUTF8=True, hostname="sink.tenure.example")

    relay = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    try:
        async with relay:
            yield ProviderAddresses(http.url, f"smtp://127.0.0.1:{relay.sockets[0].getsockname()[1]}")
    finally:
        providers.end()
        http.server.should_exit = http.server.force_exit = True
        await served
        http.socket.close()
