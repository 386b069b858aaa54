"""The nemesis: kills and stops parts of a running stack at random, from one seed, and keeps count."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter

from tests.storm.plan import Storm
from worker.stack.supervisor import Stack

WORKERS = ("worker", "worker-b")
DOWN = {"temporal": 2.0, "postgres": 2.0, "api": 1.0}
"""At most so many seconds a part stays down beyond its restart."""


class Nemesis:
    """Faults at random moments, a given number of them, over a given time."""

    def __init__(self, storm: Storm, stack: Stack) -> None:
        self.storm, self.stack = storm, stack
        self.chance = random.Random(storm.seed + 1)
        self.done: Counter[str] = Counter()
        self.stopped: set[asyncio.Task[None]] = set()

    async def rage(self) -> None:
        """Do all the faults, then see that nobody is left stopped."""
        names, weights = list(self.storm.kills), list(self.storm.kills.values())
        pause = self.storm.seconds / self.storm.faults
        while self.done.total() < self.storm.faults:
            await asyncio.sleep(pause * self.chance.uniform(0.4, 1.6))
            await self._strike(self.chance.choices(names, weights)[0])
        await asyncio.gather(*self.stopped)

    async def _strike(self, name: str) -> None:
        seconds, worker = self.chance.uniform(*self.storm.stopped_for), self.chance.choice(WORKERS)
        down_for = self.chance.uniform(0.0, DOWN.get(name, 0.5))
        if name == "stop":
            self._stop(worker, seconds)
        elif self.stack.pid(name):
            await self.stack.kill(name, down_for=down_for)
            self.done[name] += 1

    def _stop(self, worker: str, seconds: float) -> None:
        pid = self.stack.pid(worker)
        if pid and not self.stopped:
            os.kill(pid, signal.SIGSTOP)
            task = asyncio.create_task(self._let_go(pid, seconds))
            self.stopped.add(task)
            task.add_done_callback(self.stopped.discard)
            self.done["stop"] += 1

    async def _let_go(self, pid: int, seconds: float) -> None:
        """The worker wakes up in the middle of what it did, and does not know how long it was away."""
        await asyncio.sleep(seconds)
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            return  # it was killed while it stood still
