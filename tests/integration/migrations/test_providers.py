"""What providers told us can be taken back and made again: a release that is rolled back leaves nothing in its way."""

from __future__ import annotations

from alembic import command
from sqlalchemy import Connection, inspect
from sqlalchemy.ext.asyncio import create_async_engine

from store import migrate
from store.database import engine_url


async def test_the_tables_of_providers_go_and_come_back(empty_database_url):
    await migrate.migrate(empty_database_url)

    def there(connection: Connection) -> bool:
        return inspect(connection).has_table("audience_syncs")

    def back(connection: Connection) -> None:
        config = migrate._config()
        config.attributes["connection"] = connection
        command.downgrade(config, "0007")

    engine = create_async_engine(engine_url(empty_database_url))
    async with engine.begin() as connection:
        assert await connection.run_sync(there)
        await connection.run_sync(back)
        assert not await connection.run_sync(there)
    await engine.dispose()
    await migrate.migrate(empty_database_url)
