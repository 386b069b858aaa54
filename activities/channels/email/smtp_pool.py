"""Pool of SMTP connections; progress of each mail up to its final dot.

Connections are reused, because a new one costs a handshake and several round trips. A failure before the final dot
means that nothing was delivered; after it the result is unknown until the reply (RFC 5321 §4.2.5).
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Self, cast

from aiosmtplib import SMTP, SMTPException, SMTPResponse, SMTPServerDisconnected

from activities.channels.email.relay_settings import SmtpRelay
from store.process_clock import current_instant

_DOTS = re.compile(rb"(?m)^\.")


class RefusedByRelay(Exception):
    """The relay rejected the mail with the SMTP reply `code`. `of_sender`: it rejected us, not the recipient."""

    def __init__(self, code: int, words: str, *, of_sender: bool = False) -> None:
        super().__init__(f"{code} {words}")
        self.code, self.words, self.of_sender = code, words, of_sender


@dataclass(slots=True)
class SendProgress:
    """Whether a mail's final dot was sent, and the instant `until` which it may be; kept beside exceptions."""

    dot_sent: bool = False
    until: datetime | None = None

    @property
    def too_late(self) -> bool:
        """Whether `until` has passed on the wall clock, also while the process was stopped."""
        return self.until is not None and current_instant() > self.until


@dataclass(frozen=True, slots=True)
class SmtpEnvelope:
    """Sender, recipient and content of a mail."""

    sender: str
    recipient: str
    content: bytes


class SmtpConnection:
    """An open connection, used for one mail at a time."""

    def __init__(self, smtp: SMTP) -> None:
        self._smtp = smtp
        self.mails = 0
        self.idle_since = 0.0

    @classmethod
    async def open(cls, relay: SmtpRelay, local_hostname: str) -> Self:
        """Connect, greet, start TLS and log in. Raises SMTPException, OSError or TimeoutError."""
        smtp = SMTP(
            hostname=relay.host,
            port=relay.port,
            username=relay.username,
            password=relay.password,
            use_tls=relay.tls,
            start_tls=False if relay.tls else relay.start_tls,
            local_hostname=local_hostname,
            timeout=None,  # the caller limits the attempt as a whole
        )
        try:
            async with asyncio.timeout(relay.open_seconds):
                await smtp.connect()
                if smtp.is_ehlo_or_helo_needed:
                    await smtp.ehlo()
        except BaseException:
            smtp.close()
            raise
        # A cast, because uvloop's transports are no subclass. With 0, a drained buffer means that everything was sent.
        cast("asyncio.WriteTransport", smtp.transport).set_write_buffer_limits(0)
        return cls(smtp)

    @property
    def usable(self) -> bool:
        return self._smtp.is_connected

    async def send(self, envelope: SmtpEnvelope, progress: SendProgress) -> None:
        """Deliver one mail. Raises RefusedByRelay; the connection can then be used for the next mail."""
        self.mails += 1
        try:
            await self._address(envelope)
        except RefusedByRelay:
            await self._reset()
            raise
        await self._content(envelope.content, progress)

    async def _address(self, envelope: SmtpEnvelope) -> None:
        options: tuple[bytes, ...] = ()
        if not (envelope.sender + envelope.recipient).isascii():
            if not self._smtp.supports_extension("smtputf8"):
                raise RefusedByRelay(553, "the relay does not support addresses beyond ASCII (SMTPUTF8)")
            options = (b"SMTPUTF8", b"BODY=8BITMIME")
        _expect(
            await self._smtp.execute_command(b"MAIL", f"FROM:<{envelope.sender}>".encode(), *options), 2, of_sender=True
        )
        _expect(await self._smtp.execute_command(b"RCPT", f"TO:<{envelope.recipient}>".encode()), 2)
        _expect(await self._smtp.execute_command(b"DATA"), 3)

    async def _reset(self) -> None:
        """Reset the SMTP transaction. A relay that disconnects after a rejection has still rejected."""
        try:
            await self._smtp.execute_command(b"RSET")
        except (SMTPException, OSError):
            self.abandon()

    async def _content(self, content: bytes, progress: SendProgress) -> None:
        protocol = self._smtp.protocol
        if protocol is None:
            raise SMTPServerDisconnected("Connection lost")
        protocol.write(_DOTS.sub(b"..", content))
        if cast("asyncio.WriteTransport", protocol.transport).get_write_buffer_size():
            # Everything must be sent before the dot, or a loss half-way would look like one after it.
            await protocol._drain_helper()  # noqa: SLF001 — StreamWriter.drain does the same, and closes the stream
        if not protocol.is_connected:
            raise SMTPServerDisconnected("Connection lost")
        if progress.too_late:
            raise TimeoutError
        progress.dot_sent = True
        protocol.write(b".\r\n")
        _expect(await protocol.read_response(), 2)

    async def close(self) -> None:
        """Send QUIT, if the relay still answers, and close the connection."""
        with suppress(SMTPException, OSError, TimeoutError):
            async with asyncio.timeout(1):
                await self._smtp.quit()
        self.abandon()

    def abandon(self) -> None:
        """Close the connection without QUIT: its state is unknown."""
        self._smtp.close()


class SmtpPool:
    """At most `keep` connections; further mails wait for a free one."""

    def __init__(self, relay: SmtpRelay, local_hostname: str) -> None:
        self._relay = relay
        self._local_hostname = local_hostname
        self._free: list[SmtpConnection] = []
        self._slots = asyncio.Semaphore(relay.keep)
        self._opening: set[asyncio.Task[SmtpConnection]] = set()

    async def send(self, envelope: SmtpEnvelope, progress: SendProgress) -> None:
        """Send a mail over a kept connection or a new one. Raises RefusedByRelay, SMTPException, OSError or TimeoutError."""
        async with self._slots:
            kept = self._kept()
            if kept is not None:
                try:
                    await self._send(kept, envelope, progress)
                    return
                except (SMTPException, OSError, RefusedByRelay) as fault:
                    # The relay may have tired of an idle connection, which says nothing about the mail.
                    tired = not isinstance(fault, RefusedByRelay) or fault.code == _CLOSING
                    if progress.dot_sent or not tired:
                        raise
            await self._send(await self._opened(), envelope, progress)

    async def close(self) -> None:
        """Close what is kept. The pool can be used again."""
        opening = tuple(self._opening)
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
        while self._free:
            await self._free.pop().close()

    def _kept(self) -> SmtpConnection | None:
        now = asyncio.get_running_loop().time()
        while self._free:
            connection = self._free.pop()
            if connection.usable and now - connection.idle_since < self._relay.idle_seconds:
                return connection
            connection.abandon()
        return None

    async def _opened(self) -> SmtpConnection:
        """A new connection. One that opens after the attempt has ended is kept, or a slow relay would never be reached."""
        task = asyncio.create_task(SmtpConnection.open(self._relay, self._local_hostname))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(self._keep_late)
            raise

    def _keep_late(self, task: asyncio.Task[SmtpConnection]) -> None:
        if not task.cancelled() and task.exception() is None:
            self._keep(task.result())

    async def _send(self, connection: SmtpConnection, envelope: SmtpEnvelope, progress: SendProgress) -> None:
        """Send a mail; keep the connection if it was accepted or rejected, and close it after any other result."""
        try:
            await connection.send(envelope, progress)
        except RefusedByRelay as refusal:
            self._keep(connection, leaving=refusal.code == _CLOSING)
            raise
        except BaseException:
            connection.abandon()
            raise
        self._keep(connection)

    def _keep(self, connection: SmtpConnection, *, leaving: bool = False) -> None:
        full = len(self._free) >= self._relay.keep
        if full or leaving or connection.mails >= self._relay.mails_each or not connection.usable:
            connection.abandon()
            return
        connection.idle_since = asyncio.get_running_loop().time()
        self._free.append(connection)


_CLOSING = 421


def _expect(reply: SMTPResponse, family: int, *, of_sender: bool = False) -> None:
    if reply.code // 100 != family:
        raise RefusedByRelay(reply.code, reply.message, of_sender=of_sender)
