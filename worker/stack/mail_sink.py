"""An SMTP server that delivers to nobody: every mail it accepts is a file, and its faults are those of real ones."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from aiosmtpd.smtp import SMTP, Envelope, Session

from worker.stack.maildir import Maildir

REFUSALS = {
    "bounce.example": "550 5.1.1 no such mailbox",
    "busy.example": "451 4.3.2 mailbox busy, try again later",
}
MAXIMUM_BYTES = 10 * 1024 * 1024


@dataclass(frozen=True)
class MailFaults:
    """What goes wrong, as probabilities per mail. The same seed gives the same sequence."""

    fail_rate: float = 0.0
    close_after_accept_rate: float = 0.0
    delay_seconds: float = 0.0
    seed: int = 0


class MailSink:
    """aiosmtpd's handler. A mail is complete on disk before its 250 is sent."""

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
            # Slow to answer, not to take: who is killed meanwhile has sent it.
            await asyncio.sleep(self._faults.delay_seconds)
        if self._happens(self._faults.close_after_accept_rate) and server.transport is not None:
            # The worst fault of SMTP: it has the mail, and the sender cannot know.
            cast("asyncio.Transport", server.transport).abort()
        return "250 2.0.0 accepted"

    def _happens(self, rate: float) -> bool:
        return rate > 0 and self._chance.random() < rate


def _as_delivered(envelope: Envelope) -> bytes:
    """Prepend what a delivering server prepends: the envelope is where a test sees who would have got the mail."""
    content = envelope.content or b""
    body = content.encode() if isinstance(content, str) else content
    lines = [f"Return-Path: <{envelope.mail_from or ''}>", *(f"Delivered-To: {each}" for each in envelope.rcpt_tos)]
    return "".join(f"{line}\r\n" for line in lines).encode() + body


async def listen_for_mail(
    maildir: Path, *, host: str = "127.0.0.1", port: int = 0, faults: MailFaults = MailFaults(), sync: bool = False
) -> asyncio.Server:
    """Listen; the port is `server.sockets[0].getsockname()[1]`. Close the server to stop."""
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
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one and prints it")
    parser.add_argument("--fail-rate", type=float, default=0.0, help="answer 451 and store nothing")
    parser.add_argument("--close-after-accept-rate", type=float, default=0.0, help="store, then drop the connection")
    parser.add_argument(
        "--delay-ms", type=float, default=0.0, help="wait before answering DATA, when the mail is stored"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sync", action="store_true", help="fsync each mail: it survives a power cut too")
    return parser.parse_args(argv)


async def run_mail_sink(options: argparse.Namespace) -> None:
    faults = MailFaults(options.fail_rate, options.close_after_accept_rate, options.delay_ms / 1_000, options.seed)
    server = await listen_for_mail(
        options.maildir, host=options.host, port=options.port, faults=faults, sync=options.sync
    )
    stopped = asyncio.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(each, stopped.set)
    print(f"mail sink on smtp://{options.host}:{server.sockets[0].getsockname()[1]}", flush=True)
    async with server:
        await stopped.wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run_mail_sink(_arguments(None)))
