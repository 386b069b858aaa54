"""The nemesis (Jepsen's word): kills and stops parts of a running stack at random, from one seed."""

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
"""The most seconds that a part stays down beyond its restart."""


class Nemesis:
    """Injects faults in an order drawn from the seed, at random moments; a fault waits while its target is down."""

    def __init__(self, storm: Storm, stack: Stack) -> None:
        self.storm, self.stack = storm, stack
        self.rng = random.Random(storm.seed + 1)
        self.done: Counter[str] = Counter()
        self.stopped: set[asyncio.Task[None]] = set()

    def schedule(self) -> list[str]:
        """The kinds of all faults, by weight and in random order."""
        total = sum(self.storm.kills.values())
        names = [name for name, weight in self.storm.kills.items() for _ in range(self.storm.faults * weight // total)]
        names += self.rng.choices(list(self.storm.kills), k=self.storm.faults - len(names))
        self.rng.shuffle(names)
        return names

    async def inject_all(self) -> None:
        """Inject all faults, then wait until every stopped worker is resumed."""
        pause, remaining = self.storm.seconds / self.storm.faults, self.schedule()
        while remaining:
            await asyncio.sleep(pause * self.rng.uniform(0.4, 1.6))
            if fault := next(filter(self._is_possible, remaining), None):
                remaining.remove(fault)
                await self._inject(fault)
        await asyncio.gather(*self.stopped)

    def _is_possible(self, name: str) -> bool:
        """Whether the target is up. Only one worker is stopped at a time, since another one must take over."""
        if name == "stop":
            return not self.stopped and all(map(self.stack.is_ready, WORKERS))
        return self.stack.is_ready(name)

    async def _inject(self, name: str) -> None:
        part = self.rng.choice(WORKERS) if name == "stop" else name
        seconds, down_for = self.rng.uniform(*self.storm.stopped_for), self.rng.uniform(0.0, DOWN.get(name, 0.5))
        if name == "stop":
            self._stop(part, seconds)
        else:
            await self.stack.kill(part, down_for=down_for)
        self.done[name] += 1

    def _stop(self, worker: str, seconds: float) -> None:
        pid = self.stack.pid(worker)
        if pid:
            os.kill(pid, signal.SIGSTOP)
            task = asyncio.create_task(self._resume(pid, seconds))
            self.stopped.add(task)
            task.add_done_callback(self.stopped.discard)

    async def _resume(self, pid: int, seconds: float) -> None:
        """Let a stopped worker continue in the middle of its work, after its leases may have expired."""
        await asyncio.sleep(seconds)
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            return  # it was killed while it was stopped
