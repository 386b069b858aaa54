"""A date that many share does not ring for all of them at once: a run's anchors ring a little late, always the same little.

Only the ringing is late. The decision is taken at the due instant itself, so jitter changes no decision.
"""

from __future__ import annotations

import zlib
from datetime import datetime, timedelta

from journeys.state import RunState

WIDEST = timedelta(minutes=30)


def jitter(run: str, state: RunState, due: datetime) -> timedelta:
    """How late a deadline rings: up to half an hour for an anchor, from the run's id; nothing for other timers."""
    if not any(":at." in name for name, at in state.timers.items() if at == due):
        return timedelta(0)
    return WIDEST * (zlib.crc32(run.encode()) / 2**32)
