"""Periodic loops: they continue after failures, log them, and stop promptly."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from store import availability
from worker.loops.loop import run_periodically

NEVER = 3600.0


@pytest.fixture(autouse=True)
def _database_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests of this process may have left an outage, of which nothing more is logged."""
    monkeypatch.setattr(availability, "AVAILABILITY", availability.Availability())


async def log_of(*answers: bool | Exception, every: float = 0.0) -> list[tuple[str, str]]:
    """Run a loop whose checks give these answers, then stop; returns the log."""
    stop, remaining = asyncio.Event(), list(answers)

    async def check() -> bool:
        answer = remaining.pop(0)
        if not remaining:
            stop.set()
        if isinstance(answer, Exception):
            raise answer
        return answer

    with capture_logs() as logged:
        async with asyncio.timeout(5):
            await run_periodically("sweep", check, stop, every)
    assert not remaining
    return [(str(line["event"]), str(line["what"])) for line in logged]


async def test_a_loop_continues_without_a_pause_while_there_is_work() -> None:
    assert await log_of(True, True, False, every=NEVER) == []


async def test_an_outage_and_an_unexpected_error_are_logged_and_the_loop_continues() -> None:
    logged = await log_of(ConnectionRefusedError(), KeyError("ours"), False)
    assert logged == [("rounds.store_unreachable", "sweep"), ("rounds.failed", "sweep")]


async def test_a_loop_that_is_stopped_ends_without_waiting_for_its_pause() -> None:
    stop = asyncio.Event()

    async def check() -> bool:
        asyncio.get_running_loop().call_soon(stop.set)
        return False

    async with asyncio.timeout(5):
        await run_periodically("sweep", check, stop, NEVER)
