"""Parts under watch: what dies is started again, at once when it had run well, later and later when it cannot stay up."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import structlog

from worker.stack.components import Component
from worker.stack.process import POLL_SECONDS, ProcessFailedError
from worker.stack.temporal_binary import Progress, print_progress

log = structlog.get_logger()

FIRST_BACKOFF = 0.2
LONGEST_BACKOFF = 5.0
STEADY_SECONDS = 30.0


class Supervision:
    """Starts parts, restarts those that die, kills them on request, and stops them in reverse order."""

    def __init__(self, say: Progress = print_progress) -> None:
        self._say = say
        self._parts: dict[str, Component] = {}
        self._ready: dict[str, asyncio.Event] = {}
        self._down_until: dict[str, float] = {}
        self._killed: set[str] = set()
        self._watchers: list[asyncio.Task[None]] = []
        self.restarts: dict[str, int] = {}

    @property
    def part_names(self) -> tuple[str, ...]:
        return tuple(self._parts)

    def pid(self, name: str) -> int | None:
        return self._parts[name].process.pid

    def is_ready(self, name: str) -> bool:
        """Whether a part is up now."""
        return self._ready[name].is_set()

    def changed(self) -> None:
        """Called when a part came back with another process id."""

    async def start_part(self, name: str, part: Component) -> None:
        """Start a part and watch it from now on. Raises ProcessFailedError when it does not come up this first time."""
        self._parts[name] = part
        self._ready[name] = asyncio.Event()
        self._say(f"{name}: starting")
        await part.start()
        self._ready[name].set()
        self._watchers.append(asyncio.create_task(self._keep_up(name, part)))

    async def stop_parts(self) -> None:
        """Stop all in reverse order of starting: who uses a part ends before it."""
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        self._watchers.clear()
        for name, part in reversed(self._parts.items()):
            if part.process.alive:
                self._say(f"{name}: stopping")
                await part.stop()

    def kill_all(self) -> None:
        """For somebody who presses Ctrl-C twice: nobody is asked, and nothing that was committed is lost."""
        for part in self._parts.values():
            part.process.kill()

    async def kill(self, name: str, *, sig: signal.Signals = signal.SIGKILL, down_for: float = 0.0) -> int:
        """Kill a part and wait until it is dead; it comes back, not before `down_for` seconds. Returns the dead pid."""
        process = self._parts[name].process
        pid = process.pid or 0
        self._ready[name].clear()
        self._killed.add(name)
        self._down_until[name] = time.monotonic() + down_for
        log.info("stack.part_killed", part=name, pid=pid, signal=sig.name, down_for=down_for)
        if sig is signal.SIGKILL:
            process.kill()
        elif pid:
            os.kill(pid, sig)
        while process.pid == pid:
            await asyncio.sleep(POLL_SECONDS)
        return pid

    async def wait_ready(self, *names: str, timeout: float = 60.0) -> None:
        """Wait until these parts (all, if none is named) are up."""
        for name in names or self.part_names:
            try:
                await asyncio.wait_for(self._ready[name].wait(), timeout)
            except TimeoutError:
                raise self._parts[name].process.failure(f"was not up again within {timeout:.0f} s") from None

    async def _keep_up(self, name: str, part: Component) -> None:
        backoff = FIRST_BACKOFF
        while True:
            began = time.monotonic()
            code = await part.process.wait()
            self._ready[name].clear()
            # A death on request says nothing about the part's health.
            if name in self._killed or time.monotonic() - began > STEADY_SECONDS:
                backoff = FIRST_BACKOFF
                self._killed.discard(name)
            delay = max(backoff, self._down_until.get(name, 0.0) - time.monotonic())
            log.warning("stack.part_died", part=name, exit_code=code, restart_in=round(delay, 1))
            await asyncio.sleep(delay)
            backoff = min(backoff * 2, LONGEST_BACKOFF)
            self.restarts[name] = self.restarts.get(name, 0) + 1
            try:
                await part.start()
            except ProcessFailedError as error:
                log.error("stack.part_did_not_start", part=name, error=str(error))
                part.process.kill()  # it may be alive and deaf
                continue
            log.info("stack.part_restarted", part=name, pid=part.process.pid)
            self._ready[name].set()
            self.changed()
