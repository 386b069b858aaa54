"""Mail sink: an SMTP server with a Maildir and faults.

Nothing is delivered to anybody.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from aiosmtpd.smtp import SMTP, Envelope, Session

from worker.stack.maildir import Maildir

REFUSALS = {
    "bounce.example": "550 5.1.1 no such mailbox",
    "busy.example": "451 4.3.2 mailbox busy, try again later",
    "full.example": "552 5.2.2 mailbox full",
    "refused.example": "550 5.7.1 sender refused by policy",
}
MAXIMUM_BYTES = 10 * 1024 * 1024


@dataclass(frozen=True)
class MailFaults:
    """Faults as probabilities per mail. The same seed gives the same sequence."""

    fail_rate: float = 0.0
    close_after_accept_rate: float = 0.0
    delay_seconds: float = 0.0
    seed: int = 0


class MailSink:
    """Handler for aiosmtpd. A mail is complete on disk before its 250 is sent."""

    def __init__(self, maildir: Maildir, faults: MailFaults = MailFaults(), *, sync: bool = False) -> None:
        self._maildir = maildir
        self._faults = faults
        self._sync = sync
        self._chance = random.Random(faults.seed)  # noqa: S311 — repeatable, not unpredictable

    async def handle_RCPT(  # noqa: N802 — aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, rcpt_options: list[str]
    ) -> str:
        if refusal := REFUSALS.get(address.rpartition("@")[2].lower()):
            return refusal
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(rcpt_options)
        return "250 2.1.5 recipient ok"

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self._happens(self._faults.fail_rate):
            return "451 4.3.0 try again later"
        self._maildir.add(_as_delivered(envelope), sync=self._sync)
        if self._faults.delay_seconds:
            # The mail is accepted before the delay: a sender killed meanwhile has sent it.
            await asyncio.sleep(self._faults.delay_seconds)
        if self._happens(self._faults.close_after_accept_rate) and server.transport is not None:
            # The mail is accepted, and the sender cannot know (RFC 5321 §4.2.5).
            cast("asyncio.Transport", server.transport).abort()
        return "250 2.0.0 accepted"

    def _happens(self, rate: float) -> bool:
        return rate > 0 and self._chance.random() < rate


def _as_delivered(envelope: Envelope) -> bytes:
    """The mail with the envelope in its headers, as a delivering server adds it: tests read the recipient there."""
    content = envelope.content or b""
    body = content.encode() if isinstance(content, str) else content
    lines = [
        f"Return-Path: <{envelope.mail_from or ''}>",
        *(f"Delivered-To: {address}" for address in envelope.rcpt_tos),
    ]
    return "".join(f"{line}\r\n" for line in lines).encode() + body


async def listen_for_mail(
    maildir: Path, *, host: str = "127.0.0.1", port: int = 0, faults: MailFaults = MailFaults(), sync: bool = False
) -> asyncio.Server:
    """Start to listen; the port is `server.sockets[0].getsockname()[1]`. Closing the server stops it."""
    folder = Maildir(maildir)
    folder.create()
    sink = MailSink(folder, faults, sync=sync)

    def protocol() -> SMTP:
        return SMTP(sink, enable_SMTPUTF8=True, data_size_limit=MAXIMUM_BYTES, hostname="sink.tenure.example")

    return await asyncio.get_running_loop().create_server(protocol, host, port)


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m worker.stack.mail_sink", description=__doc__)
    parser.add_argument("--maildir", type=Path, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 takes any free one and prints it")
    parser.add_argument("--page-port", type=int, default=0, help="port of the page that shows the mails; 0 serves none")
    parser.add_argument("--fail-rate", type=float, default=0.0, help="probability of answering 451 and storing nothing")
    parser.add_argument(
        "--close-after-accept-rate",
        type=float,
        default=0.0,
        help="probability of storing the mail and dropping the connection",
    )
    parser.add_argument("--delay-ms", type=float, default=0.0, help="delay between storing a mail and answering DATA")
    parser.add_argument("--seed", type=int, default=0, help="seed of the faults")
    parser.add_argument("--sync", action="store_true", help="fsync each mail, so that it survives a power cut")
    return parser.parse_args(argv)


async def run_mail_sink(options: argparse.Namespace) -> None:
    faults = MailFaults(options.fail_rate, options.close_after_accept_rate, options.delay_ms / 1_000, options.seed)
    server = await listen_for_mail(
        options.maildir, host=options.host, port=options.port, faults=faults, sync=options.sync
    )
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    print(f"mail sink on smtp://{options.host}:{server.sockets[0].getsockname()[1]}", flush=True)
    async with server, _showing(options.maildir, options.page_port):
        await stopped.wait()


@contextlib.asynccontextmanager
async def _showing(maildir: Path, port: int) -> AsyncIterator[None]:
    """Serve the page on the loopback while the body runs, if it has a port."""
    if port == 0:
        yield
        return
    from worker.stack.mail_page.app import page_server  # noqa: PLC0415 — the sinks of tests need no page

    server = page_server(maildir, "127.0.0.1", port)
    serving = asyncio.create_task(server.serve())
    try:
        yield
    finally:
        server.should_exit = True
        await serving


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run_mail_sink(_arguments(None)))
