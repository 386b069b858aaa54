"""Loop that escalates late reply tasks.

Any number of processes may run it; each task is escalated by one of them.
"""

from __future__ import annotations

import asyncio
from typing import Final

from journeys.gate.policy import ReplyPolicy
from journeys.tasks.assignment import Roster
from store.database import Database
from store.process_clock import current_instant
from store.tasks.escalation import MOST, escalate_late
from worker.loops.loop import run_periodically

POLL_SECONDS: Final = 15.0


async def escalate_answers(
    database: Database, rule: ReplyPolicy, roster: Roster, stop: asyncio.Event, every: float = POLL_SECONDS
) -> None:
    """Escalate every few seconds until `stop` is set; returns at once when the policy names nobody."""
    if not rule.escalate:
        return

    async def poll() -> bool:
        return await escalate_late(database, rule.escalate, roster, current_instant()) == MOST

    await run_periodically("escalations", poll, stop, every)
