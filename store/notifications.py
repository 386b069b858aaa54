"""Subscription to PostgreSQL's NOTIFY, reopened when lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, NoReturn

import asyncpg

from store.database import plain_url

REOPEN_SECONDS: Final = 1.0
"""Pause before a lost or refused connection is opened again."""


async def subscribe(
    url: str, channel: str, *, on_notify: Callable[[str], None], on_connect: Callable[[], None]
) -> NoReturn:
    """Call `on_notify` with each payload until cancelled, and `on_connect` after every connect.

    Notifications sent while there is no connection are lost, so `on_connect` should check for the changes they
    announced.
    """
    while True:
        try:
            connection = await asyncpg.connect(plain_url(url))
        except (OSError, asyncpg.PostgresError):
            await asyncio.sleep(REOPEN_SECONDS)
            continue
        await _relay(connection, channel, on_notify, on_connect)


async def _relay(
    connection: asyncpg.Connection, channel: str, on_notify: Callable[[str], None], on_connect: Callable[[], None]
) -> None:
    """Forward notifications until the connection is lost."""
    lost = asyncio.Event()
    try:
        connection.add_termination_listener(lambda _: lost.set())
        await connection.add_listener(channel, lambda _connection, _pid, _channel, payload: on_notify(str(payload)))
        on_connect()
        await lost.wait()
    finally:
        await connection.close(timeout=1)
