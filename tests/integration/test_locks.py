"""Advisory locks: each purpose has its own number, and all numbers stand in one place."""

from __future__ import annotations

import re
from pathlib import Path

from store.database import Database
from store.definitions import one_at_a_time
from store.locks import Lock, release, take

ROOT = Path(__file__).resolve().parents[2]


def test_every_lock_has_its_own_number_and_no_number_stands_elsewhere() -> None:
    assert len({int(lock) for lock in Lock.__members__.values()}) == len(Lock.__members__)
    rooms = [path for room in ("store", "activities", "worker", "api", "cli") for path in (ROOT / room).rglob("*.py")]
    named = [path.name for path in rooms if re.search(r"advisory\w*lock\w*\(\s*\d|7_?239_?00\d", path.read_text())]
    assert named == ["locks.py"]


async def test_a_publisher_waits_for_no_sweep(database_url: str) -> None:
    database = Database(database_url)
    async with database.reading() as sweeping, database.reading() as other:
        assert await take(sweeping, Lock.SWEEP)
        assert not await take(other, Lock.SWEEP)
        async with database.transaction() as connection:
            await connection.execute("SET LOCAL lock_timeout = '1s'")
            await one_at_a_time(connection)
        assert await release(sweeping, Lock.SWEEP)
        assert await take(other, Lock.SWEEP)
        assert await release(other, Lock.SWEEP)
    await database.close()
