"""Stores of the embedded Temporal server: SQLite files, or PostgreSQL as in production."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from store.servers import execute_once
from worker.stack.free_ports import LOOPBACK, free_ports
from worker.stack.postgres import PostgresServer
from worker.stack.postgres_data import SUPERUSER
from worker.stack.process import ProcessFailedError
from worker.stack.temporal.binary import TemporalBinary, find_server, find_temporal
from worker.stack.temporal.build import ProgressReport
from worker.stack.temporal.schema import MAIN, VISIBILITY, install_schema, schema_tool

StoreName = Literal["sqlite", "postgres"]
PLUGIN: Final = "postgres12"
MAX_CONNECTIONS: Final = 20
"""Of one service to one database; four services and two databases stay below PostgreSQL's limit."""


MAIN_FILE: Final = "temporal.db"
FORGET: Final = "DELETE FROM cluster_membership"


class TemporalStore(Protocol):
    """Where a server keeps runs and visibility, and the program that can."""

    @property
    def shards(self) -> int: ...
    async def find_binary(self, named: Path | None, say: ProgressReport) -> TemporalBinary: ...
    async def prepare(self, say: ProgressReport) -> None: ...
    async def forget_members(self) -> None: ...
    def datastores(self) -> dict[str, Any]: ...


class SqliteStore:
    """Two files in `folder`. They survive a killed process; a power cut may cost the last commits."""

    shards = 1

    def __init__(self, folder: Path) -> None:
        self._folder = folder.expanduser().resolve()

    async def find_binary(self, named: Path | None, say: ProgressReport) -> TemporalBinary:
        """Any program that has a server."""
        return await find_temporal(named, say=say)

    async def prepare(self, _say: ProgressReport) -> None:
        """Do nothing: the server creates its files with their schema."""

    async def forget_members(self) -> None:
        """Delete the members of earlier starts. No server may be running."""
        await asyncio.to_thread(_forget_members, self._folder / MAIN_FILE)

    def datastores(self) -> dict[str, Any]:
        """The server's data stores, as its configuration names them."""
        return {"main": self._sql(MAIN_FILE), "visibility": self._sql("visibility.db")}

    def _sql(self, name: str) -> dict[str, Any]:
        # `synchronous: 1` in WAL mode survives a killed process; a power cut may cost the last commits.
        attributes = {"mode": "rwc", "cache": "private", "setup": True, "journal_mode": "wal", "synchronous": 1}
        return {
            "sql": {
                "pluginName": "sqlite",
                "databaseName": str(self._folder / name),
                "connectAddr": "localhost",
                "connectProtocol": "tcp",
                "connectAttributes": attributes,
                "maxConns": 1,
                "maxIdleConns": 1,
                "maxConnLifetime": "1h",
            }
        }


class PostgresStore:
    """Two databases of a running PostgreSQL, with the schema that Temporal's own tool installs."""

    shards = 4

    def __init__(self, server: PostgresServer) -> None:
        self._server = server

    async def find_binary(self, named: Path | None, say: ProgressReport) -> TemporalBinary:
        """The plain server of the schema tool's version."""
        return await find_server(named, say=say)

    async def prepare(self, say: ProgressReport) -> None:
        """Create the databases and bring their schemas to the tool's version. Each step may be repeated.

        Raises NoTemporalError if there is no tool, or with the end of its output if a step fails.
        """
        tool = await schema_tool(say)
        environ = {
            "SQL_PLUGIN": PLUGIN,
            "SQL_HOST": LOOPBACK,
            "SQL_PORT": str(self._server.port),
            "SQL_USER": SUPERUSER,
            "SQL_PASSWORD": self._server.password,
        }
        await asyncio.gather(*(install_schema(tool, database, environ) for database in (MAIN, VISIBILITY)))

    async def forget_members(self) -> None:
        """Delete the members of earlier starts. No server may be running. Raises ProcessFailedError."""
        if not await execute_once(self._server.url(MAIN), FORGET):
            raise ProcessFailedError("Temporal's PostgreSQL does not answer")

    def datastores(self) -> dict[str, Any]:
        """The server's data stores, as its configuration names them."""
        return {"main": self._sql(MAIN), "visibility": self._sql(VISIBILITY)}

    def _sql(self, database: str) -> dict[str, Any]:
        return {
            "sql": {
                "pluginName": PLUGIN,
                "databaseName": database,
                "connectAddr": f"{LOOPBACK}:{self._server.port}",
                "connectProtocol": "tcp",
                "user": SUPERUSER,
                "password": self._server.password,
                "maxConns": MAX_CONNECTIONS,
                "maxIdleConns": MAX_CONNECTIONS,
                "maxConnLifetime": "1h",
            }
        }


def _forget_members(file: Path) -> None:
    """Empty the table of members in a SQLite file, if there is one."""
    if not file.exists():
        return
    with contextlib.closing(sqlite3.connect(file, timeout=10)) as connection, connection:
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'cluster_membership'").fetchone():
            connection.execute(FORGET)


async def find_programs(named: Path | None, say: ProgressReport) -> None:
    """Find or build what Temporal on PostgreSQL needs, before a data folder is made. Raises NoTemporalError."""
    await find_server(named, say=say)
    await schema_tool(say)


def temporal_postgres(folder: Path, *, log: Path | None = None, pid_file: Path | None = None) -> PostgresServer:
    """A PostgreSQL for Temporal alone, as in production, on a free port of the loopback."""
    return PostgresServer(folder, log=log, pid_file=pid_file, port=free_ports(1)[0])
