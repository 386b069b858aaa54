"""Answers that nobody gave in time are escalated: a due column that any number of processes look at, one giving each on."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Final

from journeys.gate.policy import ReplyPolicy
from journeys.tasks.assignment import Roster
from store.database import Database
from store.tasks.escalation import MOST, escalate_late
from worker.loops.loop import run_periodically

EVERY: Final = 15.0


async def escalate_answers(
    database: Database, rule: ReplyPolicy, roster: Roster, stop: asyncio.Event, every: float = EVERY
) -> None:
    """Look every few seconds until told to stop; with nobody to escalate to there is nothing to do."""
    if not rule.escalate:
        return

    async def look() -> bool:
        return await escalate_late(database, rule.escalate, roster, datetime.now(UTC)) == MOST

    await run_periodically("escalations", look, stop, every)
