"""Random groups on a test clock are decided as in memory: every decision and verdict, their order and reasons.

More seeds are tried with `RANDOM_GROUPS=worlds=2:40,groups=12,days=20`: each world has journeys, policy and team of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Final

import pytest

from journeys.simulation.responder import Responder
from tests.support.equality.comparison import assert_same, catalog_with, player_of, publish_all, scenario_of
from tests.support.equality.journeys import TEAM, journeys, policy
from tests.support.equality.player import LivePlayer
from tests.support.equality.streams import Stream
from tests.support.forked import ForkedProcess
from tests.support.worker_parts import worker_process
from worker.composition.clients import connect_temporal, open_database
from worker.composition.dependencies import dependencies
from worker.stack.mail_sink import MailFaults
from worker.testing.rehearsal import Rehearsal
from worker.testing.stage import close_staged, handle_of, rehearsal, staged

ORIGIN: Final = datetime(2027, 1, 4, 9, 0, tzinfo=UTC)
OPTIONS: Final = dict(option.split("=") for option in os.environ.get("RANDOM_GROUPS", "").split(",") if option)
GROUPS, DAYS = int(OPTIONS.get("groups", 2)), int(OPTIONS.get("days", 2))
FROM_GROUP: Final = int(OPTIONS.get("from", 0))
FIRST, _, LAST = OPTIONS.get("worlds", "2:3").partition(":")
WORLDS: Final = range(int(FIRST), int(LAST))
FAULTY: Final = 2
"""The world in which workers are killed and paused."""


async def _assert_same(stage: Rehearsal, world: int, faults: Faults | None = None) -> None:
    streams = {
        str(seed): Stream(seed, ORIGIN, DAYS).events()
        for seed in range(world * 1000 + FROM_GROUP, world * 1000 + FROM_GROUP + GROUPS)
    }
    until = ORIGIN + timedelta(days=DAYS + 2)
    responder = Responder(str(world), clicked=0.3, replied=0.2, opted_out=0.05)
    charts = await publish_all(stage, journeys(world))
    player: LivePlayer = player_of(stage, stage.catalogue.roster, streams, responder)
    if faults is not None:
        player.at_stop = faults.at_stop
    live = await player.play(until)
    lines = assert_same(live, scenario_of(stage, charts), streams, until, responder)
    assert lines > 25 * GROUPS, f"world {world} decides too little"


@pytest.mark.parametrize("world", WORLDS)
async def test_random_groups_are_decided_live_as_in_memory(
    database_url: str, temporal_address: str, tmp_path: Path, world: int
) -> None:
    catalog = catalog_with(tmp_path, policy(world), TEAM)
    async with rehearsal(database_url, temporal_address, tmp_path, begins=ORIGIN, catalog=catalog) as stage:
        await _assert_same(stage, world)


# -- faults ------------------------------------------------------------------------------------------------------------


@dataclass
class Faults:
    """Kills one worker, and pauses the other again and again, at any points of what is decided at a stop of the clock."""

    killed: ForkedProcess
    paused: ForkedProcess
    draw: Random = field(default_factory=lambda: Random(FAULTY))
    pauses: int = 0
    stops: int = 0

    def at_stop(self) -> None:
        """Called before each stop."""
        self.stops += 1
        delay = self.draw.random() * 0.1
        later = asyncio.get_running_loop().call_later
        if self.stops == 10:
            later(delay, self.killed.send_signal, signal.SIGKILL)
        elif self.stops in {15, 20, 25}:
            self.pauses += 1
            later(delay, self.paused.send_signal, signal.SIGSTOP)
            later(delay + 1, self.paused.send_signal, signal.SIGCONT)


@contextlib.asynccontextmanager
async def _without_a_worker(
    database_url: str, temporal_address: str, folder: Path, catalog: Path
) -> AsyncIterator[Rehearsal]:
    """A stage whose workers are processes; no run is cached, so none waits for a dead worker's cache."""
    faults = MailFaults()
    async with staged(database_url, temporal_address, folder, catalog=catalog, cached=0, faults=faults) as settings:
        database, client = open_database(settings), await connect_temporal(settings)
        deps = dependencies(settings, database)
        yield await handle_of(settings, deps, database, client, ORIGIN)
        await close_staged(deps, database)


@pytest.mark.slow
async def test_random_groups_are_decided_as_in_memory_while_workers_are_killed_and_paused(
    database_url: str, temporal_address: str, tmp_path: Path
) -> None:
    catalog = catalog_with(tmp_path, policy(FAULTY), TEAM)
    async with (
        _without_a_worker(database_url, temporal_address, tmp_path, catalog) as stage,
        worker_process(stage) as first,
        worker_process(stage) as second,
    ):
        faults = Faults(first, second)
        await _assert_same(stage, FAULTY, faults)
        assert first.returncode == -signal.SIGKILL
        assert faults.pauses == 3
