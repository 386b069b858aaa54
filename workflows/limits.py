"""How the workflows call the world: one policy for steps, set once."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from temporalio.common import RetryPolicy

STEP_TIMEOUT: Final = timedelta(seconds=10)
"""One attempt of a local step. Its work is two short transactions and at most one quick delivery attempt (2 s)."""
QUEUED_TIMEOUT: Final = timedelta(seconds=60)
"""The same on the queue of a slow channel, whose attempts may take half a minute, side by side."""
PATIENT: Final = RetryPolicy(
    initial_interval=timedelta(milliseconds=200), backoff_coefficient=2.0, maximum_interval=timedelta(seconds=30)
)
"""Unlimited attempts: a store that is down delays a run and never ends it."""
LOCAL_PATIENCE: Final = timedelta(seconds=20)
"""Retries further apart than this wait on a durable timer instead of holding the workflow task."""

QUIET_EVENTS: Final = 60
"""History events at which a run that waits for nothing continues as new: replay is what a cold signal costs (record 0010)."""
BUSY_EVENTS: Final = 200
"""The same between two steps of a run that never gets quiet; its inbox is carried."""
MOST_LINES: Final = 100
"""Lines of explanation that may share a step: what was decided and not written yet is decided again after a crash."""
MOST_CARRIED: Final = 1024 * 1024
"""Bytes of an inbox that may be carried: half of what the server takes as one payload."""
MOST_SIGNALS: Final = 5_000
"""Half of what the server allows a run (10,000)."""
OLDEST: Final = timedelta(days=30)
"""A run this old continues as new at its next quiet moment, so that it meets new code."""
REMEMBERED_IDS: Final = 64
"""Ids of plain signals remembered for dedupe; those of the front door need none, their `seq` does it."""
