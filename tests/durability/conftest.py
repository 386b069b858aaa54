"""Fixtures of the durability tests: a rehearsal on a test clock, or skipped time with production's timers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.support.skipped_time import SkippedTime, skipped_time
from worker.testing.rehearsal import Rehearsal
from worker.testing.stage import rehearsal


@pytest_asyncio.fixture
async def stage(database_url: str, temporal_address: str, tmp_path: Path) -> AsyncIterator[Rehearsal]:
    """A worker with its driver and mail sink, on a database of this test alone."""
    async with rehearsal(database_url, temporal_address, tmp_path) as stage:
        yield stage


@pytest_asyncio.fixture
async def skipped(database_url: str, temporal_address: str, tmp_path: Path) -> AsyncIterator[SkippedTime]:
    """The same for people on no clock, whose runs keep their own timers in skipped time."""
    async with skipped_time(database_url, temporal_address, tmp_path) as found:
        yield found
