"""Clients of PostgreSQL and Temporal, opened by the settings."""

from __future__ import annotations

from typing import Final

from temporalio.client import Client

from store.database import Database
from worker.payload_keys import embedded_keys, read_payload_keys
from worker.setting_values import split_keys
from worker.settings import Settings, SettingsError
from worker.stack.endpoints import read_endpoints
from worker.temporal import EncryptedCompression, data_converter

NO_DATABASE: Final = "TENURE_DATABASE_URL is not set: give the database, or run `make up`"
NO_TEMPORAL: Final = "TENURE_TEMPORAL_ADDRESS is not set: give host:port of a Temporal frontend, or run `make up`"
SMALL_POOL: Final = 10
"""Connections of a process that is neither the API nor the worker."""


def open_database(settings: Settings, *, pool: int = SMALL_POOL) -> Database:
    """The database of the settings; `pool` is its size in connections. Raises SettingsError where no URL is set."""
    if settings.database_url is None:
        raise SettingsError(NO_DATABASE)
    return Database(settings.database_url, pool=pool)


def payload_codec(settings: Settings) -> EncryptedCompression:
    """The codec of payloads. For the embedded server of the settings' folder, its own key encrypts."""
    keys = read_payload_keys(split_keys(settings.payload_keys))
    stack = read_endpoints(settings.home) if "payload_keys" in settings.dev_keys else None
    if stack is not None and stack.temporal_address == settings.temporal_address:
        keys = (*embedded_keys(settings.home), *keys)
    return EncryptedCompression(keys)


async def connect_temporal(settings: Settings) -> Client:
    """A client whose payloads are encrypted with the keys of the settings. Raises RuntimeError without an address, or when Temporal does not answer."""
    if settings.temporal_address is None:
        raise RuntimeError(NO_TEMPORAL)
    key = settings.temporal_api_key
    return await Client.connect(
        settings.temporal_address,
        namespace=settings.temporal_namespace,
        tls=settings.temporal_tls,
        api_key=key.get_secret_value() if key else None,
        data_converter=data_converter(payload_codec(settings)),
    )
