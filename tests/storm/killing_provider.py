"""Providers that kill who speaks to them, just before or just after they have taken a message, once for each cell."""

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
from tests.storm.dying_process import ASKS
from tests.support.crms import NAMES
from worker.stack.mail_sink import MailSink
from worker.stack.maildir import Maildir
from worker.stack.providers.app import LocalProviderApp, Vendor, VendorRequest, discard, read_body
from worker.stack.providers.crm_tasks import tasks_of
from worker.stack.providers.serving import VENDORS, listening, provider

MARKER: Final = re.compile(rb"cell\d{3}x", re.IGNORECASE)


async def _take(asked: VendorRequest) -> Response:
    asked.accepted.add("tail", to=asked.path("who"), content=asked.json)
    return Response(status_code=200)


TAIL: Final = Vendor("tail", (("POST", "/{who:path}", _take),), lambda _, code: {"error": code})


@dataclass
class Killing:
    """All providers of one matrix. `taken` counts what they have, by the vendor that has it."""

    folder: Path
    cells: Sequence[Cell]
    provider: LocalProviderApp = field(default_factory=lambda: provider(vendors=(*VENDORS, TAIL)))

    def __post_init__(self) -> None:
        self.arm(self.cells)
        self._crms = {each.marker: provider() for each in self.cells if each.of.kind == "task"}
        self.mails = Maildir(self.folder / "mail")

    def arm(self, cells: Sequence[Cell]) -> None:
        """Who is to be killed at the next message that comes from it."""
        self._due = {each.marker: each.point for each in cells if each.point.startswith("acceptance")}

    def strikes(self, content: bytes, point: str) -> bool:
        """Kill the process of this content's cell, if it is to die just here and has not yet."""
        marker = _marker(content)
        if self._due.get(marker) != point:
            return False
        del self._due[marker]
        os.kill(int((self.folder / f"{marker}.pid").read_text()), signal.SIGKILL)
        return True

    def taken(self, cell: Cell) -> int:
        """How often this cell's message was taken."""
        match cell.of.vendor:
            case "mail":
                mails = (path.read_bytes() for path in (self.mails.folder / "new").iterdir())
                return sum(cell.marker.encode() in mail for mail in mails)
            case "hubspot" | "salesforce":
                return len(tasks_of(self._crms[cell.marker].accepted, cell.of.vendor))
            case "google" | "meta":
                found = self.provider.accepted.search(provider=cell.of.vendor, to=cell.marker)
                return len({tuple(each["content"]["hashes"]) for each in found})
            case vendor:
                items = self.provider.accepted.search(provider=vendor)
                return sum(cell.marker in json.dumps(item).lower() for item in items)

    # -- over HTTP -------------------------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application: the CRMs by a prefix of each cell, all others as they are."""
        body = await read_body(receive)
        content = scope["path"].encode() + body
        inner, scope = self._of(scope)

        async def again() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        if scope["method"] == "GET" or scope["path"].endswith(ASKS):
            await inner(scope, again, send)
        elif self.strikes(content, "acceptance-before"):
            cast("Any", send).__self__.transport.abort()
        elif self._due.get(_marker(content)) == "acceptance-after":
            await inner(scope, again, discard)
            self.strikes(content, "acceptance-after")
            cast("Any", send).__self__.transport.abort()
        else:
            await inner(scope, again, send)

    def end(self) -> None:
        for each in (self.provider, *self._crms.values()):
            each.app.end()

    def _of(self, scope: Scope) -> tuple[ASGIApp, Scope]:
        vendor, _, rest = scope["path"].removeprefix("/").partition("/")
        if vendor not in NAMES:
            return self.provider.app, scope
        marker = rest.partition("/")[0]
        path, raw = scope["path"].replace(f"/{marker}", "", 1), scope["raw_path"].replace(f"/{marker}".encode(), b"", 1)
        return self._crms[marker].app, {**scope, "path": path, "raw_path": raw}


def _marker(content: bytes) -> str:
    found = MARKER.search(content)
    return found[0].decode().lower() if found else ""


class KillingSink(MailSink):
    """The mail sink, as deadly."""

    def __init__(self, killing: Killing) -> None:
        super().__init__(killing.mails)
        self._killing = killing

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = str(envelope.rcpt_tos).encode()
        if self._killing.strikes(content, "acceptance-before"):
            cast("asyncio.Transport", server.transport).abort()
            return "451 4.3.0 nobody hears this"
        said = await super().handle_DATA(server, session, envelope)
        if self._killing.strikes(content, "acceptance-after"):
            cast("asyncio.Transport", server.transport).abort()
        return said


@dataclass(frozen=True, slots=True)
class Places:
    """Where they listen."""

    provider: str
    relay: str


@contextlib.asynccontextmanager
async def killing_at(killing: Killing) -> AsyncIterator[Places]:
    """They listen for as long as the body runs."""
    killing.mails.create()
    made = listening(killing.provider)
    made.server.config.app = killing
    served = asyncio.create_task(made.server.serve([made.socket]))

    def protocol() -> SMTP:
        return SMTP(KillingSink(killing), enable_SMTPUTF8=True, hostname="sink.tenure.example")

    relay = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    try:
        async with relay:
            yield Places(made.url, f"smtp://127.0.0.1:{relay.sockets[0].getsockname()[1]}")
    finally:
        killing.end()
        made.server.should_exit = made.server.force_exit = True
        await served
        made.socket.close()
