"""Temporal's programs, built with Go in the user's cache.

All have one version: a server refuses a schema that is older than itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import fasteners

SERVER_VERSION: Final = "1.32.2"
BUILD_SECONDS: Final = 1_800.0

ProgressReport = Callable[[str], None]


class NoTemporalError(RuntimeError):
    """No Temporal server was found, downloaded or built. The operator's turn: install one, or set its address."""


class BuildError(RuntimeError):
    """A program could not be built. The message is one reason for an operator."""


@dataclass(frozen=True, slots=True)
class GoProgram:
    """A program of Temporal's repository. `go install` names it by the last part of its package."""

    name: str
    folder: str

    @property
    def package(self) -> str:
        """The package with its version, as `go install` takes it."""
        return f"go.temporal.io/server/{self.folder}@v{SERVER_VERSION}"

    @property
    def path(self) -> Path:
        """Where the program is once it has been built."""
        return cache_folder() / self.folder.rpartition("/")[2]


SERVER: Final = GoProgram("server", "cmd/server")


def print_progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def cache_folder() -> Path:
    """The user's cache: a program built once serves every clone of the project."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "tenure" / f"temporal-server-{SERVER_VERSION}"


async def build(program: GoProgram, say: ProgressReport) -> Path:
    """Build a program into the cache; its path. Raises BuildError with the end of Go's output."""
    go = go_command()
    say(f"temporal: building {program.name} {SERVER_VERSION} with Go (once, 4 to 7 minutes on 2 cores)")
    target = cache_folder() / "build"
    env = {"GOBIN": str(target), "GOTOOLCHAIN": "auto", "GOFLAGS": "-mod=mod"}
    code, output = await watched([go, "install", program.package], "temporal: building", BUILD_SECONDS, say, env)
    if code != 0:
        raise BuildError(f"build: `go install {program.package}` failed ({code}): {output[-300:].strip()}")
    # Renamed when complete: an interrupted build is never mistaken for a program.
    finished = (target / program.path.name).replace(program.path)
    shutil.rmtree(target, ignore_errors=True)
    return finished


def go_command() -> str:
    """Path of the command `go`. Raises BuildError if there is none."""
    if (go := shutil.which("go")) is None:
        raise BuildError("build: no command `go` on PATH (1.21 or newer is needed)")
    return go


async def watched(
    command: list[str], title: str, limit: float, say: ProgressReport, env: dict[str, str] | None = None
) -> tuple[int | str, str]:
    """Run a long command with a line of progress every ten seconds; returns its exit code and its output."""
    started = time.monotonic()
    log = cache_folder() / "install.log"
    root = Path(__file__).parents[3]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **(env or {})}, cwd=root)  # noqa: ASYNC220
        try:
            while process.poll() is None and time.monotonic() - started < limit:
                await asyncio.sleep(0.2)
                elapsed = time.monotonic() - started
                if int(elapsed * 5) % 50 == 49:
                    say(f"{title} … {elapsed:.0f} s")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    code: int | str = process.returncode if time.monotonic() - started < limit else f"stopped after {limit:.0f} s"
    return code, log.read_text(errors="replace")


@contextlib.asynccontextmanager
async def one_at_a_time(say: ProgressReport) -> AsyncIterator[None]:
    """Keep other processes of this user from installing Temporal meanwhile."""
    lock = fasteners.InterProcessLock(cache_folder() / ".lock")
    if not lock.acquire(blocking=False):
        say("temporal: waiting for another process that installs the server")
        while not lock.acquire(blocking=False):  # polled, because a waiting thread could not be cancelled
            await asyncio.sleep(0.5)
    try:
        yield
    finally:
        lock.release()
