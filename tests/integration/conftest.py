"""Fixtures of several files of this tier."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.support.sending import Sending, sending_at


@pytest_asyncio.fixture
async def sending(database_url: str, tmp_path: Path) -> AsyncIterator[Sending]:
    async with sending_at(database_url, tmp_path) as prepared_sending:
        yield prepared_sending
