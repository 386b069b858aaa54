"""Limits of a run: timeouts, retries, history events before continue-as-new."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from temporalio.common import RetryPolicy

STEP_TIMEOUT: Final = timedelta(seconds=10)
"""One attempt of a local step: two short transactions and at most one quick delivery attempt (2 s)."""
QUEUED_TIMEOUT: Final = timedelta(seconds=60)
"""One attempt of a step on the queue of a slow channel: its concurrent delivery attempts may take half a minute."""
PATIENT: Final = RetryPolicy(
    initial_interval=timedelta(milliseconds=200), backoff_coefficient=2.0, maximum_interval=timedelta(seconds=30)
)
"""Unlimited attempts: a store that is down delays a run and never ends it."""
LOCAL_PATIENCE: Final = timedelta(seconds=20)
"""Longer pauses between retries are durable timers and do not hold the workflow task."""

QUIET_EVENTS: Final = 60
"""History events at which a quiet run continues as new: replay is the cost of a cold signal (record 0010)."""
BUSY_EVENTS: Final = 200
"""History events at which a run that is never quiet continues as new between two steps; its inbox is carried."""
MOST_LINES: Final = 100
"""Lines of explanation in one step: decisions that are in no step yet are made again after a crash."""
MOST_CARRIED: Final = 1024 * 1024
"""Bytes of an inbox that may be carried: half of the server's limit of a payload."""
MOST_SIGNALS: Final = 5_000
"""Signals after which a run continues as new: half of the server's limit for a run (10,000)."""
OLDEST: Final = timedelta(days=30)
"""Age at which a run continues as new when it is next quiet, so that it moves to new code."""
REMEMBERED_IDS: Final = 64
"""Ids of plain signals kept for deduplication; the relay's events are deduplicated by their `seq`."""


def is_grown(events: int, signals: int, age: timedelta) -> bool:
    """Whether a run continues as new when it is next quiet. In a replay `age` may differ by seconds, of a month."""
    return events >= QUIET_EVENTS or signals >= MOST_SIGNALS or age >= OLDEST


class HistoryMeter:
    """Counts the history events that a run has caused, by what the workflow itself has received.

    In a replay the server's count may be known at another time (record 0013), so no decision depends on it. The costs,
    in events:

    - a workflow task: 3 (scheduled, started, completed);
    - a signal: 1; an update: 2 (accepted, completed);
    - a timer: 1 when it is armed, 1 when it is cancelled, 1 when it fires;
    - a local activity: 1 (its marker);
    - an ordinary activity: 5 more (three of its own and the workflow task with its result, instead of the marker);
    - a local activity that keeps its workflow task waiting: 24 a minute (three every eight seconds, 80 % of a task's ten).
    """

    WORKFLOW_TASK = 3
    SIGNAL = 1
    UPDATE = 2
    TIMER = 1
    LOCAL_ACTIVITY = 1
    QUEUED = 5
    WAITED_MINUTE = 24

    def __init__(self, tasks: int = 0) -> None:
        self._tasks, self._arrivals, self._calls, self._timers = tasks, 0, 0, 0
        self._length = 0

    @property
    def length(self) -> int:
        """Events as of the start of the current workflow task; at least those of the calls, which may be newer."""
        return max(self._length, self._calls)

    def count_task(self, arrivals: int) -> None:
        """Count a workflow task that has begun; `arrivals` are the events of its batch."""
        self._tasks += 1
        self._arrivals += arrivals
        self._length = self.WORKFLOW_TASK * self._tasks + self._arrivals + self._calls + self._timers

    def count_call(self) -> None:
        """Count a call of a local activity."""
        self._calls += self.LOCAL_ACTIVITY

    def count_wait(self, seconds: int, *, queued: bool) -> None:
        """Count the rest of the last call: it ran on a queue, or the workflow task waited for it this long."""
        self._calls += self.QUEUED * queued + self.WAITED_MINUTE * seconds // 60

    def count_timer(self) -> None:
        """Count a timer that is armed or cancelled."""
        self._timers += self.TIMER

    def count_settling(self) -> None:
        """Count one settling of an `OutreachWorkflow`: a wake or timer, its workflow task, a call, the next timer."""
        self._calls += self.SIGNAL + self.WORKFLOW_TASK + self.LOCAL_ACTIVITY + 2 * self.TIMER
