"""What several files of this tier begin with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.support.sending import Sending, sending_at


@pytest_asyncio.fixture
async def sending(database_url: str, tmp_path: Path) -> AsyncIterator[Sending]:
    async with sending_at(database_url, tmp_path) as made:
        yield made
