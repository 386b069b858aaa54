"""Limits of connections: heads without an end or without haste, and bodies that nobody reads."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest
import uvicorn

from api.http import head_limit
from api.http.arrivals import LEAST, Arrivals
from api.http.head_limit import MAX_HEAD, HeadLimitProtocol


async def app(scope, receive, send) -> None:
    body = b""
    while scope["path"] != "/refused" and (message := await receive())["type"] == "http.request":
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(str(len(body))))]}
    )
    await send({"type": "http.response.body", "body": str(len(body)).encode()})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, http=HeadLimitProtocol, lifespan="off", log_config=None))
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await task


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    yield reader, writer
    writer.close()


async def test_a_large_body_in_one_piece_with_its_head_is_no_large_head(port):
    async with connected(port) as (reader, writer):
        for size in (MAX_HEAD * 3, 10):
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert int(await reader.readexactly(len(str(size)))) == size


@pytest.mark.parametrize("start", [b"GET /", b"GET / HTTP/1.1\r\nX: ", b"GET / HTTP/1.1\r\n"])
async def test_a_head_without_an_end_is_refused_in_linear_time(port, start):
    async with connected(port) as (reader, writer):
        writer.write(start)
        cpu = time.thread_time()
        with contextlib.suppress(ConnectionError):
            for _ in range(2_000):
                writer.write(b"x" * 10_000)
                await writer.drain()
        with contextlib.suppress(ConnectionError):
            answer = await reader.read()
            assert answer.startswith((b"HTTP/1.1 431", b"HTTP/1.1 400")) or answer == b""
        assert time.thread_time() - cpu < 1.0


async def test_a_connection_that_never_completes_its_head_is_closed(port, monkeypatch):
    monkeypatch.setattr(head_limit, "HEAD_SECONDS", 0.2)
    async with connected(port) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
        async with asyncio.timeout(30):
            assert (await reader.read()).startswith(b"HTTP/1.1 408")


async def test_a_second_head_that_is_never_complete_ends_the_connection_too(port, monkeypatch):
    monkeypatch.setattr(head_limit, "HEAD_SECONDS", 0.3)
    async with connected(port) as (reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\n")
        async with asyncio.timeout(30):
            answers = await reader.read()
        assert answers.startswith(b"HTTP/1.1 200")
        assert b"HTTP/1.1 408" in answers


async def test_a_slow_answer_is_no_slow_head(port, monkeypatch):
    monkeypatch.setattr(head_limit, "HEAD_SECONDS", 0.2)
    async with connected(port) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nx")
        await asyncio.sleep(0.4)
        writer.write(b"y")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")


async def test_heads_beyond_the_limit_of_the_process_take_room_from_the_slowest(port, monkeypatch):
    monkeypatch.setattr(HeadLimitProtocol, "heads", Arrivals(2 * LEAST))
    async with connected(port) as (slow, slow_writer), connected(port) as (second, second_writer):
        slow_writer.write(b"GET / HTTP/1.1\r\n")
        second_writer.write(b"GET / HTTP/1.1\r\n")
        await asyncio.sleep(0.1)
        slow_writer.write(b"Host: x\r\n")
        await asyncio.sleep(0.1)
        async with connected(port) as (reader, writer), asyncio.timeout(5):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            assert (await second.read()).startswith(b"HTTP/1.1 408"), "it has waited longest for its next piece"
        slow_writer.write(b"\r\n")
        assert (await slow.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")


async def test_a_refused_request_whose_body_does_not_end_loses_its_connection(port, monkeypatch):
    """Each byte would put off the end of a connection that is kept alive."""
    monkeypatch.setattr(head_limit, "UNREAD_SECONDS", 0.5)
    async with connected(port) as (reader, writer):
        writer.write(b"POST /refused HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        end = asyncio.create_task(reader.read())
        async with asyncio.timeout(5):
            while not end.done():
                writer.write(b"x")
                await asyncio.sleep(0.1)
        with contextlib.suppress(ConnectionError):
            await end


async def test_a_refused_request_whose_body_ends_keeps_its_connection(port, monkeypatch):
    monkeypatch.setattr(head_limit, "UNREAD_SECONDS", 0.3)
    async with connected(port) as (reader, writer):
        writer.write(b"POST /refused HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nx")
        assert (await reader.readuntil(b"\r\n\r\n0")).startswith(b"HTTP/1.1 200")
        writer.write(b"y")
        await asyncio.sleep(0.5)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(5):
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
