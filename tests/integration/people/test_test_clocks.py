"""The instant of a test clock is the same in SQL and in Python; without a clock it is the real instant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Text, bindparam, select

from store.database import Database, execute, fetch_one, sql
from store.people.test_clocks import now_by_clock, now_for, read_clock
from store.schema import clocks
from store.schema.base import Timestamp

ORIGIN = datetime(2026, 1, 1, tzinfo=UTC)
STARTED = datetime(2026, 6, 1, 12, tzinfo=UTC)
_CLOCK = sql(
    clocks.insert().values(
        id="demo",
        origin=bindparam("origin"),
        started_at=bindparam("started"),
        speed=bindparam("speed"),
        limit_at=bindparam("limit"),
    )
)
_row = select(bindparam("clock", type_=Text).label("clock")).subquery("row")
_NOW = sql(
    select(now_by_clock(bindparam("real", type_=Timestamp)).label("now")).select_from(
        _row.outerjoin(clocks, clocks.c.id == _row.c.clock)
    )
)


@pytest.mark.parametrize("speed", [1.0, 60.0, 86400.0])
@pytest.mark.parametrize("passed", [timedelta(), timedelta(hours=1), timedelta(days=30)])
async def test_sql_and_python_compute_the_same_instant_of_a_test_clock(
    database: Database, speed: float, passed: timedelta
) -> None:
    real, limit = STARTED + passed, ORIGIN + timedelta(days=90)
    async with database.transaction() as connection:
        await execute(connection, _CLOCK, origin=ORIGIN, started=STARTED, speed=speed, limit=limit)
        clock = await read_clock(connection, "demo")
        row = await fetch_one(connection, _NOW, clock="demo", real=real)
    assert clock is not None
    assert row is not None
    assert row["now"] == clock.virtual(real) == min(ORIGIN + passed * speed, limit)


@pytest.mark.parametrize("name", [None, "nobody-made-it"])
async def test_the_real_instant_is_used_without_a_test_clock(database: Database, name: str | None) -> None:
    async with database.transaction() as connection:
        row = await fetch_one(connection, _NOW, clock=name, real=STARTED)
        now = await now_for(connection, name)
    assert row is not None
    assert row["now"] == STARTED
    assert datetime.now(UTC) - now < timedelta(minutes=1)
