"""Group commit: single events that arrive during a commit share the next transaction.

No event waits for others, and under load one commit serves many. Each caller is answered after its own commit.
Events of a rejected group are committed one by one, so that no event fails because of another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from journeys.events.inbound import ReceivedEvent
from store.errors import is_outage
from store.events.ingest import IngestResult

MergeKey = tuple[str, str | None]
"""Source and test clock: events may share a transaction when both are the same."""
Commit = Callable[[list[ReceivedEvent], MergeKey], Awaitable[IngestResult]]


@dataclass(frozen=True, slots=True)
class _Waiting:
    event: ReceivedEvent
    done: asyncio.Future[IngestResult]


class GroupCommit:
    """Commits single events in groups of at most `merged`, each group when one of the `slots` is free."""

    def __init__(self, commit: Commit, slots: asyncio.Semaphore, merged: int) -> None:
        self._commit, self._slots, self._merged = commit, slots, merged
        self._queues: dict[MergeKey, list[_Waiting]] = {}
        self._drains: set[asyncio.Task[None]] = set()

    async def one(self, event: ReceivedEvent, key: MergeKey) -> IngestResult:
        """Commit this event, perhaps with others; returns its group's result. Raises what its own commit raises."""
        waiting = _Waiting(event, asyncio.get_running_loop().create_future())
        queue = self._queues.setdefault(key, [])
        queue.append(waiting)
        if len(queue) == 1:
            drain = asyncio.create_task(self._drain(key))
            self._drains.add(drain)
            drain.add_done_callback(self._drains.discard)
        return await waiting.done

    async def _drain(self, key: MergeKey) -> None:
        """Commit the waiting events, with those that arrive before a slot is free."""
        async with self._slots:
            queue = self._queues.pop(key)
        for start in range(0, len(queue), self._merged):
            await self._commit_group(queue[start : start + self._merged], key)

    async def _commit_group(self, group: list[_Waiting], key: MergeKey) -> None:
        try:
            result = await self._commit([waiting.event for waiting in group], key)
        except Exception as error:  # noqa: BLE001 -- passed to the waiting callers
            if len(group) == 1 or is_outage(error):
                _settle(group, error)
                return
            for waiting in group:
                await self._commit_group([waiting], key)
        else:
            _settle(group, result)


def _settle(group: list[_Waiting], result: IngestResult | Exception) -> None:
    """Answer the callers that still wait. A caller that has gone can send its event again without effect."""
    for waiting in group:
        if waiting.done.done():
            continue
        if isinstance(result, Exception):
            waiting.done.set_exception(result)
        else:
            waiting.done.set_result(result)
