"""The clock of a process is PostgreSQL's, whatever its machine shows (A6)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from store.database import Database
from store.process_clock import CLOCK, ProcessClock, keep_measured, measure_on_connect
from tests.support.api import application


@pytest.mark.parametrize("seconds", [-10, 0, 10, 3600])
async def test_A6_a_machine_whose_clock_is_wrong_knows_postgresqls_instant(database: Database, seconds: int) -> None:
    clock = ProcessClock()
    clock.offset = timedelta(seconds=seconds)
    async with database.reading() as connection:
        await clock.measure(connection)
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=0.2)
    assert abs(clock.skew - timedelta(seconds=seconds)) < timedelta(seconds=0.2)


async def test_A6_a_difference_within_the_time_of_the_measurement_is_none(database: Database) -> None:
    clock = ProcessClock()
    async with database.reading() as connection:
        await clock.measure(connection)
    assert clock.skew == timedelta(0)


async def test_A6_the_first_connection_after_an_outage_measures_before_it_is_used(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CLOCK, "offset", timedelta(seconds=10))
    monkeypatch.setattr(CLOCK, "skew", timedelta())
    monkeypatch.setattr(CLOCK, "is_measured", False)
    measure_on_connect(database)
    async with database.reading():
        assert abs(CLOCK.now() - datetime.now(UTC)) < timedelta(seconds=0.2)


async def test_A6_a_clock_that_cannot_be_measured_is_measured_by_the_next_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(CLOCK, "is_measured", True)
    unreachable, stop = Database("postgresql://nobody@/none?host=/nowhere"), asyncio.Event()
    measuring = asyncio.create_task(keep_measured(unreachable, stop))
    async with asyncio.timeout(10):
        while CLOCK.is_measured:
            await asyncio.sleep(0.01)
    stop.set()
    await measuring


async def test_A6_the_api_has_measured_its_clock_before_it_accepts_events(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CLOCK, "skew", timedelta(hours=1))
    app = application(database_url)
    async with app.app.router.lifespan_context(app.app):
        assert not CLOCK.is_skewed
