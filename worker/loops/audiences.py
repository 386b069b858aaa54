"""Loop that sends audience membership to advertising platforms, round after round."""

from __future__ import annotations

import asyncio
from functools import partial

from activities.exports.audiences.sync import AudienceSync
from worker.loops.loop import run_periodically

PAUSE_SECONDS = 15.0
"""Pause between two rounds. A full batch is followed at once: an opt-out may wait behind it."""


class AudienceLoop:
    """Syncs audiences until stopped; ends at once where no advertising platform is configured."""

    def __init__(self, sync: AudienceSync | None) -> None:
        self._sync = sync

    async def run(self, stop: asyncio.Event) -> None:
        """Sync until `stop` is set. Raises nothing; an outage of the database is waited for."""
        if self._sync is not None:
            await run_periodically("audiences", partial(self._poll, self._sync), stop, PAUSE_SECONDS)

    async def _poll(self, sync: AudienceSync) -> bool:
        return (await sync.round()).more
