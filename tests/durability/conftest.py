"""Fixtures of the durability tests: a rehearsal on the run's servers, which skip time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from worker.testing.rehearsal import Rehearsal
from worker.testing.stage import rehearsal


@pytest_asyncio.fixture
async def stage(database_url: str, temporal_address: str, tmp_path: Path) -> AsyncIterator[Rehearsal]:
    """A worker with its relay and mail sink, on a database of this test alone."""
    async with rehearsal(database_url, temporal_address, tmp_path) as stage:
        yield stage
