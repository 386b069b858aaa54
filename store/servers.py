"""PostgreSQL servers: probe one, create databases, execute a statement, mask the password."""

from __future__ import annotations

from urllib.parse import unquote

import asyncpg
from sqlalchemy import make_url

from store.database import plain_url

MAINTENANCE = "postgres"
"""The database that every server has."""


async def accepts_connections(
    host: str, user: str, password: str, *, port: int | None = None, seconds: float = 5
) -> bool:
    """Whether a server answers on `host` (a name, an address or a socket folder) within `seconds`."""
    try:
        connection = await asyncpg.connect(
            user=user, password=password, database=MAINTENANCE, host=host, port=port, timeout=seconds
        )
    except (OSError, asyncpg.PostgresError, TimeoutError):
        return False
    await connection.close()
    return True


async def create_database(server_url: str, name: str, template: str | None = None) -> None:
    """Create a database on the server of `server_url`, a clone of `template` if given. Does nothing if it exists."""
    url = make_url(server_url)
    connection = await asyncpg.connect(
        user=url.username,
        password=url.password,
        host=url.query.get("host") or url.host,
        port=url.port,
        database=MAINTENANCE,
    )
    try:
        clone = f' TEMPLATE "{template}"' if template else ""
        await connection.execute(f'CREATE DATABASE "{name}"{clone}')
    except asyncpg.DuplicateDatabaseError:
        pass
    finally:
        await connection.close()


async def execute_once(url: str, statement: str, *, seconds: float = 5) -> bool:
    """Execute a statement on a connection of its own; whether the server answered."""
    try:
        connection = await asyncpg.connect(plain_url(url), timeout=seconds)
    except (OSError, asyncpg.PostgresError, TimeoutError):
        return False
    try:
        await connection.execute(statement, timeout=seconds)
    finally:
        await connection.close()
    return True


def shown_url(url: str) -> str:
    """The URL as psql takes it, with the password masked."""
    return unquote(make_url(url).set(drivername="postgresql").render_as_string(hide_password=True))
