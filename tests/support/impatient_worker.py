"""A worker whose clock locks end after a third of the time: a test of a stopped driver waits less.

Heartbeats are shortened as much, so that a lock still outlives three lost ones.
"""

from __future__ import annotations

from datetime import timedelta

from worker.__main__ import main
from worker.clock_driver import drive

if __name__ == "__main__":
    setattr(drive, "SILENCE", timedelta(seconds=6))  # noqa: B010 -- only this process works so
    setattr(drive, "HEARTBEAT_SECONDS", 1.5)  # noqa: B010 -- as above
    raise SystemExit(main())
