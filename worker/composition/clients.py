"""Clients of PostgreSQL and Temporal, opened by the settings."""

from __future__ import annotations

from typing import Final

from temporalio.client import Client

from store.database import Database
from worker.settings import Settings, SettingsError
from worker.temporal import CONVERTER

NO_DATABASE: Final = "TENURE_DATABASE_URL is not set: give the database, or run `make up`"
NO_TEMPORAL: Final = "TENURE_TEMPORAL_ADDRESS is not set: give host:port of a Temporal frontend, or run `make up`"
SMALL_POOL: Final = 10
"""Connections of a process that is neither the API nor the worker."""


def open_database(settings: Settings, *, pool: int = SMALL_POOL) -> Database:
    """The database of the settings; `pool` is its size in connections. Raises SettingsError where no URL is set."""
    if settings.database_url is None:
        raise SettingsError(NO_DATABASE)
    return Database(settings.database_url, pool=pool)


async def connect_temporal(settings: Settings) -> Client:
    """A client that uses our data converter. Raises RuntimeError without an address, or when Temporal does not answer."""
    if settings.temporal_address is None:
        raise RuntimeError(NO_TEMPORAL)
    key = settings.temporal_api_key
    return await Client.connect(
        settings.temporal_address,
        namespace=settings.temporal_namespace,
        tls=settings.temporal_tls,
        api_key=key.get_secret_value() if key else None,
        data_converter=CONVERTER,
    )
