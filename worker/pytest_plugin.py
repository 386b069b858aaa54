"""Pytest fixtures for authors of journeys.

`tenure_journey` is a `Rehearsal` on servers started once a session; `docs/testing-journeys.md` shows its use.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from store.migrate import migrate
from store.servers import create_database
from worker.stack.postgres import PostgresServer
from worker.stack.temporal.server import TemporalServer
from worker.testing.rehearsal import Rehearsal
from worker.testing.stage import rehearsal


@dataclass(frozen=True, slots=True)
class TenureServers:
    """Servers of the session: URL of PostgreSQL's maintenance database, and Temporal's host:port."""

    postgres: str
    temporal: str


@contextlib.asynccontextmanager
async def session_servers(folder: Path, *, time_skipping: bool = False) -> AsyncIterator[TenureServers]:
    """A PostgreSQL and a Temporal server while the body runs."""
    postgres = PostgresServer(folder / "postgres", durable=False)
    temporal = TemporalServer(folder / "temporal", time_skipping=time_skipping)
    async with postgres, temporal:
        yield TenureServers(postgres.url("postgres"), temporal.address)


@contextlib.asynccontextmanager
async def fresh_database(postgres: str) -> AsyncIterator[str]:
    """URL of a new, migrated database."""
    name = f"rehearsal_{uuid.uuid4().hex[:12]}"
    await create_database(postgres, name)
    url = postgres.replace("/postgres?", f"/{name}?", 1)
    await migrate(url)
    yield url


@pytest.fixture(scope="session")
def tenure_servers() -> Iterator[TenureServers]:
    """Both servers, in a thread with its own event loop, so that tests may use any. Override this fixture to use yours."""
    with tempfile.TemporaryDirectory(prefix="tenure-rehearsal-", ignore_cleanup_errors=True) as folder:
        started: list[TenureServers | BaseException] = []
        ready, done = threading.Event(), threading.Event()

        async def serve() -> None:
            async with session_servers(Path(folder)) as servers:
                started.append(servers)
                ready.set()
                await asyncio.to_thread(done.wait)

        def work() -> None:
            try:
                asyncio.run(serve())
            except BaseException as error:  # noqa: BLE001 — raised again in the waiting thread
                started.append(error)
                ready.set()

        thread = threading.Thread(target=work, name="tenure-servers")
        thread.start()
        ready.wait()
        if isinstance(started[0], BaseException):
            raise started[0]
        yield started[0]
        done.set()
        thread.join()


@pytest_asyncio.fixture
async def tenure_journey(tenure_servers: TenureServers, tmp_path: Path) -> AsyncIterator[Rehearsal]:
    """A database, relay, worker and mail sink of this test alone, on a clock that only `forward` moves."""
    servers = tenure_servers
    async with fresh_database(servers.postgres) as url, rehearsal(url, servers.temporal, tmp_path) as journey:
        yield journey
