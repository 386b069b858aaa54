"""What a worker does again and again goes on whatever happens, and says whose turn it is."""

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from worker.loops.loop import run_periodically

NEVER = 3600.0


async def looks(*answers: bool | Exception, every: float = 0.0) -> list[tuple[str, str]]:
    """Give these answers one by one, then stop; what was logged."""
    stop, left = asyncio.Event(), list(answers)

    async def look() -> bool:
        answer = left.pop(0)
        if not left:
            stop.set()
        if isinstance(answer, Exception):
            raise answer
        return answer

    with capture_logs() as logged:
        async with asyncio.timeout(5):
            await run_periodically("sweep", look, stop, every)
    assert not left
    return [(str(each["event"]), str(each["what"])) for each in logged]


async def test_it_looks_at_once_again_while_there_is_more() -> None:
    assert await looks(True, True, False, every=NEVER) == []


async def test_an_outage_is_a_line_and_a_fault_of_ours_has_its_trace_and_neither_ends_it() -> None:
    told = await looks(ConnectionRefusedError(), KeyError("ours"), False)
    assert told == [("rounds.store_unreachable", "sweep"), ("rounds.failed", "sweep")]


async def test_told_to_stop_it_does_not_wait_out_its_pause() -> None:
    stop = asyncio.Event()

    async def look() -> bool:
        asyncio.get_running_loop().call_soon(stop.set)
        return False

    async with asyncio.timeout(5):
        await run_periodically("sweep", look, stop, NEVER)
