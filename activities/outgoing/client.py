"""One call, and how it ended: answered, never left, or left and nobody knows.

No redirect is followed, no cookie kept, no proxy of the environment asked; a reply is read up to a limit and no further.
What decides whether a failure is harmless is one fact: whether the last part of the request has been handed to the socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any
from weakref import WeakValueDictionary

import httpcore

from activities.outgoing.pinned_transport import CheckedBackend, Resolve, resolve
from activities.outgoing.url_policy import CheckedUrl, UrlNotAllowed, check_url

LARGEST_REPLY = 64 * 1024
"""Bytes of a reply that are read. No provider has more to say about one message."""
LARGEST_PAGE = 4 * 1024 * 1024
"""The same of a page of what a provider has, where it is searched: twenty comments of 64 KB, each said three times over."""
MOST = 64
"""Connections of one way out."""
CONNECT_SECONDS = 5.0
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_LAST_PART = "http11.send_request_body.started"
_FIRST_PART = "http11.send_request_headers.started"


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request. After `until` it does not leave any more, however long this process stood still.

    Of its reply `largest` bytes are read.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    seconds: float = 10.0
    until: datetime | None = None
    largest: int = LARGEST_REPLY


@dataclass(frozen=True, slots=True)
class HttpReply:
    """An answer; header names in small letters. `whole` is False when there was more than is read."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool = True


class Unanswered(Exception):
    """No answer came. `left`: the request may have arrived."""

    def __init__(self, words: str, *, left: bool) -> None:
        super().__init__(words)
        self.left = left


class HttpClient:
    """A pool of connections to whoever is public, or on the allow-list (`host:port`).

    Calls that hang keep their connections, so nobody else's calls share a pool with a provider's. Where strangers choose
    the hosts, only `each` calls at once go to any one of them; the others wait for their turn, and have not left.
    """

    def __init__(
        self,
        allowed: frozenset[str] = frozenset(),
        *,
        most: int = MOST,
        each: int | None = None,
        resolver: Resolve = resolve,
        sockets: httpcore.AsyncNetworkBackend | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._allowed, self._each = allowed, each
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls or _tls(),
            max_connections=most,
            max_keepalive_connections=16,
            keepalive_expiry=20.0,
            network_backend=CheckedBackend(allowed, resolver, sockets),
        )

    async def send(self, call: HttpRequest) -> HttpReply:
        """One request, one answer, within `seconds`. Raises NotAllowed and Unanswered, and nothing else."""
        where = check_url(call.url, self._allowed)
        headers = _headers(call, where)
        progress = _Progress(call.until, _LAST_PART if call.body else _FIRST_PART)
        try:
            async with asyncio.timeout(call.seconds), self._turn(where.host):
                return await self._exchange(call, where, headers, progress)
        except UrlNotAllowed:
            raise
        except _TooLate:
            raise Unanswered("the attempt came too late to leave", left=False) from None
        except TimeoutError:
            raise Unanswered("no answer in time", left=progress.left) from None
        except Exception as fault:  # noqa: BLE001 -- whatever a stranger's socket does, only `left` counts
            raise Unanswered(f"the connection failed ({type(fault).__name__})", left=progress.left) from None

    def _turn(self, host: str) -> contextlib.AbstractAsyncContextManager[None]:
        if self._each is None:
            return contextlib.nullcontext()
        # A host that nobody calls any more is forgotten: its turns live as long as somebody has or awaits one.
        return self._turns.setdefault(host, asyncio.Semaphore(self._each))

    async def _exchange(
        self, call: HttpRequest, where: CheckedUrl, headers: list[tuple[bytes, bytes]], progress: _Progress
    ) -> HttpReply:
        url = httpcore.URL(
            scheme=b"https" if where.secure else b"http",
            host=where.host.encode(),
            port=where.port,
            target=where.target.encode(),
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
        """Let go of kept connections."""
        await self._pool.aclose()


class _TooLate(Exception):
    """The moment has passed at which this attempt was ours."""


class _Progress:
    """Told by httpcore of every part; it stops the request at the last moment at which nothing has left."""

    def __init__(self, until: datetime | None, last_part: str) -> None:
        self.left = False
        self._until, self._last_part = until, last_part

    async def note(self, part: str, _: Mapping[str, Any]) -> None:
        if part in {_FIRST_PART, _LAST_PART} and self._until is not None and datetime.now(UTC) > self._until:
            raise _TooLate
        self.left = self.left or part == self._last_part


async def _bounded(response: httpcore.Response, largest: int) -> tuple[bytes, bool]:
    """The body as far as it is read. Compressed bodies are not asked for and not unpacked: a bomb stays folded."""
    parts: list[bytes] = []
    size = 0
    async for part in response.aiter_stream():
        size += len(part)
        if size > largest:
            return b"".join(parts), False
        parts.append(part)
    return b"".join(parts), True


def _headers(call: HttpRequest, where: CheckedUrl) -> list[tuple[bytes, bytes]]:
    """What is sent, each a token and a printable value: nothing that could end a header and begin another."""
    if _TOKEN.fullmatch(call.method) is None:
        raise UrlNotAllowed("the method is none")
    given = {"host": where.authority, "user-agent": "tenure", "accept": "application/json"}
    given |= {name.lower(): value for name, value in call.headers.items()}
    if call.body or call.method in {"POST", "PUT", "PATCH"}:
        given["content-length"] = str(len(call.body))
    for name, value in given.items():
        if _TOKEN.fullmatch(name) is None or not (value.isascii() and value.isprintable()):
            raise UrlNotAllowed(f"the header {name[:40]!r} holds a line break or another character that none may hold")
    return [(name.encode(), value.encode()) for name, value in given.items()]


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()
