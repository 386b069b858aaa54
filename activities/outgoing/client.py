"""HTTP client that reports whether a failed request may have been received.

It follows no redirects, keeps no cookies, uses no proxy of the environment, and reads replies up to a limit. A failure is harmless
if the last part of the request was not handed to the socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any
from weakref import WeakValueDictionary

import httpcore

from activities.outgoing.pinned_transport import CheckedBackend, Resolve, resolve
from activities.outgoing.url_policy import CheckedUrl, UrlNotAllowed, check_url
from store.process_clock import current_instant

MAX_REPLY = 64 * 1024
"""Bytes that are read of a reply about one message."""
MAX_PAGE = 4 * 1024 * 1024
"""Bytes that are read of a page of search results: twenty comments of 64 KB, each in three forms."""
CONNECTIONS = 64
"""Connections of one client."""
CONNECT_SECONDS = 5.0
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_LAST_PART = "http11.send_request_body.started"
_FIRST_PART = "http11.send_request_headers.started"


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request. It is not sent after `until`; `largest` bytes of its reply are read."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    seconds: float = 10.0
    until: datetime | None = None
    largest: int = MAX_REPLY


@dataclass(frozen=True, slots=True)
class HttpReply:
    """A reply; header names are lower case. `whole` is False if the body was cut."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool = True


class Unanswered(Exception):
    """No reply came. `left`: the request may have been received."""

    def __init__(self, words: str, *, left: bool) -> None:
        super().__init__(words)
        self.left = left


class HttpClient:
    """A pool of connections to public addresses, and to those on the allow-list (`host:port`).

    Each provider has its own client, because calls that hang keep their connections. Where people choose the hosts, at most `each`
    calls go to one host at a time; the others wait without being sent.
    """

    def __init__(
        self,
        allowed: frozenset[str] = frozenset(),
        *,
        most: int = CONNECTIONS,
        each: int | None = None,
        resolver: Resolve = resolve,
        sockets: httpcore.AsyncNetworkBackend | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._allowed, self._each = allowed, each
        self._host_slots: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls or _tls(),
            max_connections=most,
            max_keepalive_connections=16,
            keepalive_expiry=20.0,
            network_backend=CheckedBackend(allowed, resolver, sockets),
        )

    async def send(self, call: HttpRequest) -> HttpReply:
        """Send one request; its reply within `seconds`. Raises UrlNotAllowed or Unanswered, nothing else."""
        url = check_url(call.url, self._allowed)
        headers = _headers(call, url)
        progress = _Progress(call.until, _LAST_PART if call.body else _FIRST_PART)
        try:
            async with asyncio.timeout(call.seconds), self._host_slot(url.host):
                return await self._exchange(call, url, headers, progress)
        except UrlNotAllowed:
            raise
        except _TooLate:
            raise Unanswered("the attempt came too late to be sent", left=False) from None
        except TimeoutError:
            raise Unanswered("no answer in time", left=progress.left) from None
        except Exception as error:  # noqa: BLE001 — whatever the socket does, only `left` counts
            raise Unanswered(f"the connection failed ({type(error).__name__})", left=progress.left) from None

    def _host_slot(self, host: str) -> contextlib.AbstractAsyncContextManager[None]:
        if self._each is None:
            return contextlib.nullcontext()
        # Unused hosts take no memory: a semaphore is kept only while a call holds it or waits for it.
        return self._host_slots.setdefault(host, asyncio.Semaphore(self._each))

    async def _exchange(
        self, call: HttpRequest, checked: CheckedUrl, headers: list[tuple[bytes, bytes]], progress: _Progress
    ) -> HttpReply:
        url = httpcore.URL(
            scheme=b"https" if checked.secure else b"http",
            host=checked.host.encode(),
            port=checked.port,
            target=checked.target.encode(),
        )
        limits = {"connect": min(CONNECT_SECONDS, call.seconds), "read": call.seconds, "write": call.seconds}
        extensions: dict[str, Any] = {"timeout": {**limits, "pool": call.seconds}, "trace": progress.note}
        async with self._pool.stream(
            call.method.encode(), url, headers=headers, content=call.body, extensions=extensions
        ) as response:
            body, whole = await _bounded(response, call.largest)
        names = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
        return HttpReply(response.status, names, body, whole)

    async def close(self) -> None:
        """Close kept connections."""
        await self._pool.aclose()


class _TooLate(Exception):
    """`until` has passed."""


class _Progress:
    """Trace hook of httpcore. It stops a late request at the last point at which nothing has been sent."""

    def __init__(self, until: datetime | None, last_part: str) -> None:
        self.left = False
        self._until, self._last_part = until, last_part

    async def note(self, part: str, _: Mapping[str, Any]) -> None:
        if part in {_FIRST_PART, _LAST_PART} and self._until is not None and current_instant() > self._until:
            raise _TooLate
        self.left = self.left or part == self._last_part


async def _bounded(response: httpcore.Response, largest: int) -> tuple[bytes, bool]:
    """The body up to the limit, and whether it is complete. Compressed bodies are not requested and not decompressed."""
    parts: list[bytes] = []
    size = 0
    async for part in response.aiter_stream():
        size += len(part)
        if size > largest:
            return b"".join(parts), False
        parts.append(part)
    return b"".join(parts), True


def _headers(call: HttpRequest, url: CheckedUrl) -> list[tuple[bytes, bytes]]:
    """Headers as sent. Raises UrlNotAllowed for a name or value that could end a header and start another."""
    if _TOKEN.fullmatch(call.method) is None:
        raise UrlNotAllowed("the method is not valid")
    headers = {"host": url.authority, "user-agent": "tenure", "accept": "application/json"}
    headers |= {name.lower(): value for name, value in call.headers.items()}
    if call.body or call.method in {"POST", "PUT", "PATCH"}:
        headers["content-length"] = str(len(call.body))
    for name, value in headers.items():
        if _TOKEN.fullmatch(name) is None or not (value.isascii() and value.isprintable()):
            raise UrlNotAllowed(f"the header {name[:40]!r} contains a line break or another forbidden character")
    return [(name.encode(), value.encode()) for name, value in headers.items()]


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
