"""HTTP transport that resolves a host once and connects to a checked address.

Resolving again after the check could give another answer (DNS rebinding). TLS still verifies the name, because httpcore takes the
server's name from the URL and only the socket from here.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable
from ipaddress import ip_address
from typing import Any

import anyio
import httpcore

from activities.outgoing.public_addresses import ip_literal, why_not_public
from activities.outgoing.url_policy import UrlNotAllowed

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Resolves a host and port to addresses. Raises OSError."""


async def resolve(host: str, port: int) -> list[str]:
    """Addresses from the system's resolver, in its order."""
    infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in infos))


class CheckedBackend(httpcore.AsyncNetworkBackend):
    """Opens sockets for httpcore's pool, to checked addresses only."""

    def __init__(
        self,
        allowed: frozenset[str],
        resolver: Resolve = resolve,
        sockets: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        self._allowed, self._resolve = allowed, resolver
        self._sockets = sockets or httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address that answers. Raises UrlNotAllowed or httpcore.ConnectError."""
        last: Exception = httpcore.ConnectError("the host has no address")
        for address in await self._checked(host, port):
            try:
                stream = await self._sockets.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                last = error
            else:
                return _Closing(stream)
        raise last

    async def _checked(self, host: str, port: int) -> list[str]:
        try:
            literal = ip_literal(host)
            addresses = [str(literal)] if literal is not None else await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"the host cannot be resolved ({type(error).__name__})") from None
        if f"{host}:{port}" not in self._allowed:
            # One private address among public ones is an attack or a mistake, so none is used.
            for address in addresses:
                if reason := why_not_public(ip_address(address)):
                    raise UrlNotAllowed(f"the host resolves to an address that is not public ({reason})")
        return addresses

    async def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        """Raises UrlNotAllowed."""
        raise UrlNotAllowed("only TCP connections are allowed")

    async def sleep(self, seconds: float) -> None:
        """Required by httpcore."""
        await asyncio.sleep(seconds)


class _Closing(httpcore.AsyncNetworkStream):
    """A stream that is also closed when its TLS handshake is cancelled; httpcore closes it only after an error."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._stream.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        try:
            return await self._stream.start_tls(ssl_context, server_hostname, timeout)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._stream.aclose()
            raise

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
