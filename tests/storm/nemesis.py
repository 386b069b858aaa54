"""The nemesis (Jepsen's word): kills and stops parts of a running stack at random, from one seed."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

from tests.storm.outages import stopped
from tests.storm.plan import STOP, Storm
from worker.stack.supervisor import Stack

WORKERS = ("worker", "worker-b")
DOWN = {"temporal": 2.0, "postgres": 2.0, "api": 1.0}
"""The most seconds that a part stays down beyond its restart."""


class Nemesis:
    """Injects faults in an order drawn from the seed, at random moments; a fault waits while its target is down."""

    def __init__(self, storm: Storm, stack: Stack) -> None:
        self.storm, self.stack = storm, stack
        self.rng = random.Random(storm.seed + 1)
        self.done: Counter[str] = Counter()
        self.stopped: dict[str, asyncio.Task[None]] = {}

    def schedule(self) -> list[str]:
        """The names of all faults, by weight and in random order."""
        weights = self.storm.weights
        total = sum(weights.values())
        names = [name for name, weight in weights.items() for _ in range(self.storm.faults * weight // total)]
        names += self.rng.choices(list(weights), k=self.storm.faults - len(names))
        self.rng.shuffle(names)
        return names

    async def inject_all(self) -> None:
        """Inject all faults, then wait until every stopped part is resumed."""
        pause, remaining = self.storm.seconds / self.storm.faults, self.schedule()
        while remaining:
            await asyncio.sleep(pause * self.rng.uniform(0.4, 1.6))
            if fault := next(filter(self._is_possible, remaining), None):
                remaining.remove(fault)
                await self._inject(fault)
        await asyncio.gather(*self.stopped.values())

    def _is_possible(self, name: str) -> bool:
        """Whether the target is up. A part is stopped once at a time, and a worker only while another may take over."""
        part = name.removeprefix(STOP)
        if part == name:
            return self.stack.is_ready(part)
        needed = WORKERS if part in WORKERS else (part,)
        return self.stopped.keys().isdisjoint(needed) and all(map(self.stack.is_ready, needed))

    async def _inject(self, name: str) -> None:
        seconds, down_for = self.rng.uniform(*self.storm.stopped_for), self.rng.uniform(0.0, DOWN.get(name, 0.5))
        if name.startswith(STOP):
            self._stop(name.removeprefix(STOP), seconds)
        else:
            await self.stack.kill(name, down_for=down_for)
        self.done[name] += 1

    def _stop(self, part: str, seconds: float) -> None:
        if pid := self.stack.pid(part):
            task = asyncio.create_task(self._stop_for(pid, seconds))
            self.stopped[part] = task
            task.add_done_callback(lambda _: self.stopped.pop(part))

    async def _stop_for(self, pid: int, seconds: float) -> None:
        """Stop a process in the middle of its work, and let it continue after its leases may have expired."""
        async with stopped(pid):
            await asyncio.sleep(seconds)
