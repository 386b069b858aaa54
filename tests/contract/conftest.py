"""The API over a database of the module: with the operator's key, and with the write key."""

from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest_asyncio
from sqlalchemy import make_url

from api.http.asgi import AsgiApp
from tests.support.api import WRITE, FakeRunCommands, application, client


@pytest_asyncio.fixture(scope="module")
async def engine() -> FakeRunCommands:
    return FakeRunCommands()


@pytest_asyncio.fixture(scope="module")
async def app(module_database_url: str, engine: FakeRunCommands) -> AsgiApp:
    return application(module_database_url, engine=engine)


@pytest_asyncio.fixture(scope="module")
async def api(app: AsgiApp) -> AsyncIterator[httpx.AsyncClient]:
    """With the operator's key, which may do everything."""
    async with client(app) as http_client:
        yield http_client


@pytest_asyncio.fixture(scope="module")
async def sender(api: httpx.AsyncClient, app: AsgiApp) -> AsyncIterator[httpx.AsyncClient]:
    """With the write key, as an application has it."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://api", auth=(WRITE, "")) as http_client:
        yield http_client


@pytest_asyncio.fixture(scope="module")
async def db(module_database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A direct connection: to read results and to insert what another process would insert."""
    url = make_url(module_database_url)
    connection = await asyncpg.connect(
        user=url.username, password=url.password, host=url.query["host"], database=url.database
    )
    yield connection
    await connection.close()
