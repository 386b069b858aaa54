"""Temporal server binary: configured, found, cached, downloaded or built with Go.

`python -m worker.stack.temporal_binary` resolves one in this order and prints its path.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import fasteners

from worker.stack.temporal_download import CLI_VERSION, DownloadError, download

SERVER_VERSION = "1.32.2"
MINIMUM = (1, 32)
GO_PACKAGE = f"go.temporal.io/server/cmd/server@v{SERVER_VERSION}"
DOWNLOAD_SECONDS = 300.0
BUILD_SECONDS = 1_800.0

ProgressReport = Callable[[str], None]


@dataclass(frozen=True)
class TemporalBinary:
    """`cli` is the `temporal` command with its development server; `server` is the plain server."""

    path: Path
    kind: Literal["cli", "server"]
    version: str


class NoTemporalError(RuntimeError):
    """No Temporal server was found, downloaded or built. The operator's turn: install one, or set its address."""


def print_progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def cache_folder() -> Path:
    """The user's cache: a server built once serves every clone of the project."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "tenure" / f"temporal-server-{SERVER_VERSION}"


async def find_temporal(named: Path | None = None, *, say: ProgressReport = print_progress) -> TemporalBinary:
    """The first that works of: named by a setting, on PATH, cached, downloaded, built with Go.

    Raises NoTemporalError with the reason of each attempt.
    """
    if named is not None:
        return _named(named)
    reasons: list[str] = []
    for step in (_on_path, _cached):
        if binary := step(reasons):
            return binary
    cache_folder().mkdir(parents=True, exist_ok=True)
    async with _one_at_a_time(say):
        if binary := _cached([]):  # another process has just installed it
            return binary
        steps: tuple[Callable[[list[str], ProgressReport], Awaitable[TemporalBinary | None]], ...] = (
            _downloaded,
            _built,
        )
        for slow_step in steps:
            if binary := await slow_step(reasons, say):
                return binary
    raise NoTemporalError(_what_to_do(reasons))


def inspect(path: Path) -> TemporalBinary:
    """Kind and version of a binary. Raises ValueError with the reason why it cannot be used."""
    try:
        result = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ValueError(f"{path} cannot be run: {error}") from error
    text = result.stdout + result.stderr
    if cli := re.search(r"Server (\d+)\.(\d+)\.(\d+)", text):
        kind: Literal["cli", "server"] = "cli"
    elif cli := re.search(r"version (\d+)\.(\d+)\.(\d+)", text):
        kind = "server"
    else:
        raise ValueError(f"{path} is not a Temporal binary: --version printed {text.strip()[:80]!r}")
    version = ".".join(cli.groups())
    if (int(cli[1]), int(cli[2])) < MINIMUM:
        raise ValueError(f"{path} is server {version}; {MINIMUM[0]}.{MINIMUM[1]} or newer is needed")
    return TemporalBinary(path.resolve(), kind, version)


def _named(path: Path) -> TemporalBinary:
    try:
        return inspect(path.expanduser())
    except ValueError as error:
        raise NoTemporalError(f"TENURE_TEMPORAL_BIN cannot be used: {error}") from error


def _on_path(reasons: list[str]) -> TemporalBinary | None:
    if (command := shutil.which("temporal")) is None:
        reasons.append("PATH: no command `temporal`")
        return None
    return _usable(Path(command), "PATH", reasons)


def _cached(reasons: list[str]) -> TemporalBinary | None:
    for path in (cache_folder() / "server", cache_folder() / "temporal"):
        if path.exists() and (binary := _usable(path, "cache", reasons)):
            return binary
    return None


def _usable(path: Path, step: str, reasons: list[str]) -> TemporalBinary | None:
    try:
        return inspect(path)
    except ValueError as error:
        reasons.append(f"{step}: {error}")
        return None


async def _downloaded(reasons: list[str], say: ProgressReport) -> TemporalBinary | None:
    say(f"temporal: downloading the Temporal CLI {CLI_VERSION} (45 MB, once)")
    try:
        path = await asyncio.wait_for(download(cache_folder()), DOWNLOAD_SECONDS)
    except (DownloadError, OSError, TimeoutError) as error:
        reasons.append(f"download: {str(error) or type(error).__name__}")
        return None
    return _usable(path, "download", reasons)


async def _built(reasons: list[str], say: ProgressReport) -> TemporalBinary | None:
    if (go := shutil.which("go")) is None:
        reasons.append("build: no command `go` on PATH (1.21 or newer is needed)")
        return None
    say(f"temporal: building server {SERVER_VERSION} with Go (once, 4 to 7 minutes on 2 cores)")
    target = cache_folder() / "build"
    env = {"GOBIN": str(target), "GOTOOLCHAIN": "auto", "GOFLAGS": "-mod=mod"}
    code, output = await _watched([go, "install", GO_PACKAGE], "temporal: building", BUILD_SECONDS, say, env)
    if code != 0:
        reasons.append(f"build: `go install {GO_PACKAGE}` failed ({code}): {output[-300:].strip()}")
        return None
    # Renamed when complete: an interrupted build is never mistaken for a server.
    finished = (target / "server").replace(cache_folder() / "server")
    shutil.rmtree(target, ignore_errors=True)
    return _usable(finished, "build", reasons)


async def _watched(
    command: list[str], title: str, limit: float, say: ProgressReport, env: dict[str, str] | None = None
) -> tuple[int | str, str]:
    """Run a long command with a line of progress every ten seconds; returns its exit code and its output."""
    started = time.monotonic()
    log = cache_folder() / "install.log"
    root = Path(__file__).parents[2]
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
async def _one_at_a_time(say: ProgressReport) -> AsyncIterator[None]:
    lock = fasteners.InterProcessLock(cache_folder() / ".lock")
    if not lock.acquire(blocking=False):
        say("temporal: waiting for another process that installs the server")
        while not lock.acquire(blocking=False):  # polled, because a waiting thread could not be cancelled
            await asyncio.sleep(0.5)
    try:
        yield
    finally:
        lock.release()


def _what_to_do(reasons: list[str]) -> str:
    tried = "\n".join(f"  - {reason}" for reason in reasons)
    return (
        f"No Temporal server {MINIMUM[0]}.{MINIMUM[1]} or newer was found. Tried:\n{tried}\n"
        "Do one of these:\n"
        "  - install the Temporal CLI (https://docs.temporal.io/cli) so that `temporal` is on PATH,\n"
        "    or name it: TENURE_TEMPORAL_BIN=/path/to/temporal\n"
        "  - install Go (https://go.dev/dl); the server is then built from source once\n"
        "  - use a running server: TENURE_TEMPORAL_ADDRESS=host:7233"
    )


def main() -> int:
    named = os.environ.get("TENURE_TEMPORAL_BIN")
    try:
        binary = asyncio.run(find_temporal(Path(named) if named else None))
    except NoTemporalError as error:
        print_progress(str(error))
        return 1
    print(binary.path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
