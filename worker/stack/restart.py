"""Supervision of components: restart what dies, with backoff when it does not stay up."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

from worker.stack.components import Component
from worker.stack.process import POLL_SECONDS, ProcessFailedError
from worker.stack.temporal.build import ProgressReport, print_progress

log = structlog.get_logger()

T = TypeVar("T")

FIRST_BACKOFF = 0.2
MAX_BACKOFF = 5.0
STEADY_SECONDS = 30.0
"""A component that ran this long is restarted without backoff."""


class Supervision:
    """Starts components, restarts those that die, kills them on request, and stops them in reverse order."""

    def __init__(self, say: ProgressReport = print_progress) -> None:
        self._say = say
        self._components: dict[str, Component] = {}
        self._ready: dict[str, asyncio.Event] = {}
        self._down_until: dict[str, float] = {}
        self._killed: set[str] = set()
        self._watchers: list[asyncio.Task[None]] = []
        self.restarts: dict[str, int] = {}

    @property
    def component_names(self) -> tuple[str, ...]:
        return tuple(self._components)

    def pid(self, name: str) -> int | None:
        return self._components[name].process.pid

    def is_ready(self, name: str) -> bool:
        """Whether a component is up now."""
        return self._ready[name].is_set()

    def changed(self) -> None:
        """Called when a component is up again with another process id."""

    async def start_component(self, name: str, component: Component) -> None:
        """Start a component, and restart it when it dies. Raises ProcessFailedError if this first start fails."""
        self._components[name] = component
        self._ready[name] = asyncio.Event()
        self._say(f"{name}: starting")
        await component.start()
        self._ready[name].set()
        self._watchers.append(asyncio.create_task(self._keep_up(name, component)))

    async def stop_components(self) -> None:
        """Stop all in reverse order of starting, so that users of a component end before it."""
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        self._watchers.clear()
        for name, component in reversed(self._components.items()):
            if component.process.alive:
                self._say(f"{name}: stopping")
                await component.stop()

    def kill_all(self) -> None:
        """SIGKILL every component, for a second Ctrl-C. Nothing that was committed is lost."""
        for component in self._components.values():
            component.process.kill()

    async def kill(self, name: str, *, sig: signal.Signals = signal.SIGKILL, down_for: float = 0.0) -> int:
        """Kill a component and wait for its death; it is restarted after `down_for` seconds at the earliest.

        Returns the pid that died.
        """
        process = self._components[name].process
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
        """Wait until these components, or all if none is named, are up. Raises ProcessFailedError after `timeout`."""
        for name in names or self.component_names:
            try:
                await asyncio.wait_for(self._ready[name].wait(), timeout)
            except TimeoutError:
                raise self._components[name].process.failure(f"was not up again within {timeout:.0f} s") from None

    async def _keep_up(self, name: str, component: Component) -> None:
        backoff = FIRST_BACKOFF
        while True:
            began = time.monotonic()
            code = await component.process.wait()
            self._ready[name].clear()
            # A requested death is no sign of a fault.
            if name in self._killed or time.monotonic() - began > STEADY_SECONDS:
                backoff = FIRST_BACKOFF
                self._killed.discard(name)
            delay = max(backoff, self._down_until.get(name, 0.0) - time.monotonic())
            log.warning("stack.part_died", part=name, exit_code=code, restart_in=round(delay, 1))
            await asyncio.sleep(delay)
            backoff = min(backoff * 2, MAX_BACKOFF)
            self.restarts[name] = self.restarts.get(name, 0) + 1
            try:
                await component.start()
            except ProcessFailedError as error:
                log.error("stack.part_did_not_start", part=name, error=str(error))
                component.process.kill()  # it may be alive without answering
                continue
            log.info("stack.part_restarted", part=name, pid=component.process.pid)
            self._ready[name].set()
            self.changed()


async def concurrently(*starts: Coroutine[Any, Any, T]) -> list[T]:
    """Results of concurrent starts. If one fails, the others are cancelled before its error is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(start) for start in starts]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]
