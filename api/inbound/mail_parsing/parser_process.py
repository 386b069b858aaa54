"""Parsing of inbound mails in a process that is killed at its deadline.

A mail comes from a stranger, and the standard library's parser may take any time for it. Meanwhile the API answers others.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import orjson
import structlog
from pydantic import TypeAdapter

from api.http.problems import ProblemError
from api.inbound.mail_parsing.mail_parser import ParsedMail
from api.inbound.mail_parsing.mail_process import LENGTH_BYTES

log = structlog.get_logger()

DEADLINE: Final = 5.0
"""Seconds for one mail, whatever the process waits for; its CPU time is limited to less (`mail_process.py`)."""
MAX_WAITING: Final = 32
_MAIL: Final = TypeAdapter(ParsedMail)
ROOT: Final = Path(__file__).resolve().parents[3]


class MailParserProcess:
    """Parses one mail at a time. The process is started with the first mail, and again after one that ended it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def parse(self, raw: bytes) -> ParsedMail | None:
        """The mail; None if it cannot be read in time or at all. Raises ProblemError if too many mails wait."""
        if self._waiting >= MAX_WAITING:
            raise ProblemError("quota-exceeded", f"{self._waiting} mails are waiting. Send this one again in a moment.")
        self._waiting += 1
        try:
            async with self._turn:
                return await self._parse(raw)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            _end(process)

    async def _parse(self, raw: bytes) -> ParsedMail | None:
        process = self._process = self._process or _started()
        exchange = asyncio.create_task(asyncio.to_thread(_exchange, process, raw))
        result = None
        try:
            async with asyncio.timeout(DEADLINE):
                result = await asyncio.shield(exchange)
        except TimeoutError:
            log.warning("mail.parser_killed", bytes=len(raw))
        finally:
            if result is None:  # also when the request is given up: the next mail must not get this one's result
                self._process = None
                process.kill()  # this ends the thread's wait, too
                if exchange.done():
                    _end(process)
                else:
                    exchange.add_done_callback(lambda _: _end(process))
        return _mail(orjson.loads(result)) if result else None


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):  # what could not be written before
                pipe.close()


def _started() -> subprocess.Popen[bytes]:
    """The process, without our environment: it needs none of its secrets."""
    environment = {name: os.environ[name] for name in ("PATH", "LANG", "VIRTUAL_ENV") if name in os.environ}
    command = [sys.executable, "-m", "api.inbound.mail_parsing.mail_process"]
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        env=environment,
        start_new_session=True,
    )


def _exchange(process: subprocess.Popen[bytes], raw: bytes) -> bytes | None:
    """The result for a mail. None if the process has ended; it is reaped here, for the event loop may be gone by now."""
    result = _result(process, raw)
    if result is None:
        _end(process)
    return result


def _result(process: subprocess.Popen[bytes], raw: bytes) -> bytes | None:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(len(raw).to_bytes(LENGTH_BYTES) + raw)
        process.stdin.flush()
        length = process.stdout.read(LENGTH_BYTES)
        result = process.stdout.read(int.from_bytes(length))
    except (OSError, ValueError):
        return None
    return result if len(length) == LENGTH_BYTES and len(result) == int.from_bytes(length) else None


def _mail(fields: dict[str, Any]) -> ParsedMail:
    return _MAIL.validate_python(fields)
