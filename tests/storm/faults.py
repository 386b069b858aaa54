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
        pause = self.storm.seconds / self.storm.faults
        while self.done.total() < self.storm.faults:
            await asyncio.sleep(pause * self.chance.uniform(0.4, 1.6))
            if able := self._able():
                await self._strike(self.chance.choices(list(able), list(able.values()))[0])
        await asyncio.gather(*self.stopped)

    def _able(self) -> dict[str, int]:
        """What can be hit now, by weight: to kill what is down already is no fault."""
        workers = any(self.stack.is_ready(worker) for worker in WORKERS)
        return {
            name: weight
            for name, weight in self.storm.kills.items()
            if (workers and not self.stopped if name == "stop" else self.stack.is_ready(name))
        }

    async def _strike(self, name: str) -> None:
        seconds = self.chance.uniform(*self.storm.stopped_for)
        down_for = self.chance.uniform(0.0, DOWN.get(name, 0.5))
        if name == "stop":
            self._stop(self.chance.choice([each for each in WORKERS if self.stack.is_ready(each)]), seconds)
        else:
            await self.stack.kill(name, down_for=down_for)
            self.done[name] += 1

    def _stop(self, worker: str, seconds: float) -> None:
        pid = self.stack.pid(worker)
        if pid:
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
