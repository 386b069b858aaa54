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
    """Faults in an order drawn from the seed, at random moments; one whose target is down waits until it can be hit."""

    def __init__(self, storm: Storm, stack: Stack) -> None:
        self.storm, self.stack = storm, stack
        self.chance = random.Random(storm.seed + 1)
        self.done: Counter[str] = Counter()
        self.stopped: set[asyncio.Task[None]] = set()

    def schedule(self) -> list[str]:
        """Every kind by its weight, shuffled."""
        total = sum(self.storm.kills.values())
        each = [name for name, weight in self.storm.kills.items() for _ in range(self.storm.faults * weight // total)]
        each += self.chance.choices(list(self.storm.kills), k=self.storm.faults - len(each))
        self.chance.shuffle(each)
        return each

    async def rage(self) -> None:
        """Do all the faults, then see that nobody is left stopped."""
        pause, coming = self.storm.seconds / self.storm.faults, self.schedule()
        while coming:
            await asyncio.sleep(pause * self.chance.uniform(0.4, 1.6))
            if able := next(filter(self._is_able, coming), None):
                coming.remove(able)
                await self._strike(able)
        await asyncio.gather(*self.stopped)

    def _is_able(self, name: str) -> bool:
        """One zombie at a time: somebody has to take over from it."""
        if name == "stop":
            return not self.stopped and all(map(self.stack.is_ready, WORKERS))
        return self.stack.is_ready(name)

    async def _strike(self, name: str) -> None:
        part = self.chance.choice(WORKERS) if name == "stop" else name
        seconds, down_for = self.chance.uniform(*self.storm.stopped_for), self.chance.uniform(0.0, DOWN.get(name, 0.5))
        if name == "stop":
            self._stop(part, seconds)
        else:
            await self.stack.kill(part, down_for=down_for)
        self.done[name] += 1

    def _stop(self, worker: str, seconds: float) -> None:
        pid = self.stack.pid(worker)
        if pid:
            os.kill(pid, signal.SIGSTOP)
            task = asyncio.create_task(self._let_go(pid, seconds))
            self.stopped.add(task)
            task.add_done_callback(self.stopped.discard)

    async def _let_go(self, pid: int, seconds: float) -> None:
        """The worker wakes up in the middle of what it did, and does not know how long it was away."""
        await asyncio.sleep(seconds)
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            return  # it was killed while it stood still
