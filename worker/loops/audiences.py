"""Loop that sends audience membership to advertising platforms, round after round."""

from __future__ import annotations

import asyncio
from functools import partial

from activities.exports.audiences.sync import AudienceSync
from worker.loops.loop import run_periodically

PAUSE_SECONDS = 15.0
"""Between two rounds, unless a batch of the first was full: an opt-out may stand behind it."""


class AudienceLoop:
    """Rounds until told to stop; with no tool configured it has nothing to do and ends at once."""

    def __init__(self, sync: AudienceSync | None) -> None:
        self._sync = sync

    async def run(self, stop: asyncio.Event) -> None:
        """Raises nothing: an outage of the database is waited for."""
        if self._sync is not None:
            await run_periodically("audiences", partial(self._look, self._sync), stop, PAUSE_SECONDS)

    async def _look(self, sync: AudienceSync) -> bool:
        return (await sync.round()).more
