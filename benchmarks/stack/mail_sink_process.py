"""Mail sink process that reports each mail on a socket."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from pathlib import Path

from aiosmtpd.smtp import SMTP, Envelope, Session

from worker.stack.mail_sink import MAXIMUM_BYTES, MailSink
from worker.stack.maildir import Maildir


class ReportingSink(MailSink):
    """Writes `address nanoseconds` to a socket once a mail is complete, before its 250 is sent."""

    def __init__(self, maildir: Maildir, reports: asyncio.StreamWriter) -> None:
        super().__init__(maildir)
        self.reports = reports

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 -- aiosmtpd's
        """Store the mail, then report it. All processes of a machine share CLOCK_MONOTONIC."""
        reply = await super().handle_DATA(server, session, envelope)
        self.reports.write(f"{envelope.rcpt_tos[0]} {time.monotonic_ns()}\n".encode())
        return reply


async def run_sink_process(port: int, folder: Path, path: str) -> None:
    """Accept mail until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    maildir = Maildir(folder)
    maildir.create()
    _, reports = await asyncio.open_unix_connection(path)
    sink = ReportingSink(maildir, reports)

    def protocol() -> SMTP:
        return SMTP(sink, data_size_limit=MAXIMUM_BYTES, hostname="sink.tenure.example")

    async with await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", port):
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(run_sink_process(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
