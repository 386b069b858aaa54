"""Components of the stack: a process that starts until ready, and stops."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from worker.stack.process import ChildCommand, ChildProcess, wait_until_ready

ROOT = Path(__file__).resolve().parents[2]


class Component(Protocol):
    """A supervised part of the stack: PostgresServer, TemporalServer or ModuleComponent."""

    @property
    def process(self) -> ChildProcess: ...
    async def start(self) -> None: ...
    async def stop(self) -> None: ...


class ModuleComponent:
    """One of our own processes, `python -m <module>`; it is up once `ready` returns True."""

    def __init__(
        self,
        name: str,
        module: Sequence[str],
        *,
        home: Path,
        env: Mapping[str, str],
        ready: Callable[[], Awaitable[bool]],
        stop_timeout: float = 40.0,
    ) -> None:
        self._module = module
        self._env = env
        self._log = home / "logs" / f"{name}.log"
        self._ready = ready
        self._stop_timeout = stop_timeout
        self.process = ChildProcess(name, self._command, pid_file=home / "run" / f"{name}.pid")

    async def start(self) -> None:
        self.process.start()
        await wait_until_ready(self._ready, self.process, timeout=120)

    async def stop(self) -> None:
        await self.process.stop(timeout=self._stop_timeout)

    def _command(self) -> ChildCommand:
        return python_module(self._module, self._log, self._env)


def python_module(module: Sequence[str], log: Path, env: Mapping[str, str]) -> ChildCommand:
    """A command with this interpreter in the project's folder, unbuffered: a killed process has logged its last line."""
    return ChildCommand([sys.executable, "-m", *module], log, env={**env, "PYTHONUNBUFFERED": "1"}, cwd=ROOT)


async def run_once(
    name: str, module: Sequence[str], *, home: Path, env: Mapping[str, str], timeout: float = 120
) -> None:
    """Run a module to its end. Raises ProcessFailedError with the end of its log."""
    child = ChildProcess(name, lambda: python_module(module, home / "logs" / f"{name}.log", env))
    child.start()

    async def ended() -> bool:
        return not child.alive

    await wait_until_ready(ended, child, timeout=timeout, what="did not end")
    if child.returncode != 0:
        raise child.failure("failed")


async def http_ok(url: str) -> bool:
    """Whether a health URL answers 200.

    Written without a client library: it runs many times a second while a child starts on the same cores.
    """
    parsed = urlsplit(url)
    try:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection(parsed.hostname, parsed.port)
            with contextlib.closing(writer):
                writer.write(
                    f"GET {parsed.path} HTTP/1.1\r\nHost: {parsed.netloc}\r\nConnection: close\r\n\r\n".encode()
                )
                status = await reader.readline()
            await writer.wait_closed()
    except (OSError, TimeoutError):
        return False
    return status.split(b" ")[1:2] == [b"200"]
