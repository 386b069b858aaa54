"""Everything that was accepted during an outage of Temporal is out within 15 seconds of its end."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest

from store.database import Database, fetch_one, sql
from tests.storm.clients import Senders
from tests.storm.plan import Storm, write_catalog
from tests.storm.run import publish, say_nothing
from worker.settings import load_settings
from worker.stack.supervisor import Stack

EVENTS, DOWN_SECONDS, MOST_SECONDS = 200, 20.0, 15.0
STORM = Storm(7, events=EVENTS, users=50, faults=1, seconds=DOWN_SECONDS, fail_rate=0.0, drop_rate=0.0)
_LEFT = sql(
    """
    SELECT (SELECT count(*) FROM outbox WHERE delivered_at IS NULL) AS waiting,
           CAST(:events AS int) - (SELECT count(*) FROM messages) AS undecided,
           (SELECT count(*) FROM messages WHERE status <> 'sent') AS unsent
    """
)

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.usefixtures("clean_environment")]


async def test_everything_is_out_soon_after_temporal_was_killed_and_stayed_away(home: Path) -> None:
    """The relay must not wait for rests of lanes, and a worker not for its pollers."""
    settings = load_settings(
        home=home, api_port=0, catalog=write_catalog(home / "catalog"), graceful_shutdown_seconds=5, log_format="json"
    )
    async with Stack(settings, mail_options=STORM.mail_options, say=say_nothing) as stack:
        database = Database(stack.endpoints.database_url, pool=2)
        await publish(database)
        senders = Senders(STORM, stack.endpoints.api_url)
        await senders.enter()
        await stack.kill("temporal", down_for=DOWN_SECONDS)
        await senders.ping()
        await stack.wait_ready()
        reached = await _times(database)
        await database.close()
    sys.stderr.write(f"\nseconds after Temporal was ready: {reached}\n")
    if os.getloadavg()[0] > 2 * (os.cpu_count() or 1):
        pytest.skip("the machine is too crowded to measure")
    assert reached["unsent"] < MOST_SECONDS


async def _times(database: Database) -> dict[str, float]:
    """For each count, the seconds from now until it was zero for good."""
    began, reached = time.monotonic(), dict[str, float]()
    while time.monotonic() - began < 90:
        async with database.reading() as connection:
            left = await fetch_one(connection, _LEFT, events=EVENTS)
        assert left is not None
        seconds = round(time.monotonic() - began, 1)
        reached = {name: reached.get(name, seconds) for name, count in left.items() if count == 0}
        if len(reached) == 3:
            return reached
        await asyncio.sleep(0.2)
    raise AssertionError(f"not everything is out: {left}")
