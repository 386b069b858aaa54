"""Temporal server binary: configured, found, cached, downloaded or built with Go.

`python -m worker.stack.temporal.binary` resolves one in this order and prints its path.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from worker.stack.temporal.build import (
    SERVER,
    SERVER_VERSION,
    BuildError,
    NoTemporalError,
    ProgressReport,
    build,
    cache_folder,
    one_at_a_time,
    print_progress,
)
from worker.stack.temporal.download import CLI_VERSION, DownloadError, download

MINIMUM = (1, 32)
DOWNLOAD_SECONDS = 300.0


@dataclass(frozen=True)
class TemporalBinary:
    """`cli` is the `temporal` command with its development server; `server` is the plain server."""

    path: Path
    kind: Literal["cli", "server"]
    version: str


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
    async with one_at_a_time(say):
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


async def find_server(named: Path | None = None, *, say: ProgressReport = print_progress) -> TemporalBinary:
    """The plain server of exactly SERVER_VERSION: named by a setting, cached or built with Go.

    The CLI keeps its runs in SQLite only. Raises NoTemporalError with the reason of each attempt.
    """
    if named is not None:
        return _same_version(_named(named))
    reasons: list[str] = []
    if (cached := _cached_server(reasons)) is not None:
        return cached
    cache_folder().mkdir(parents=True, exist_ok=True)
    async with one_at_a_time(say):
        server = _cached_server([]) or await _built(reasons, say)
    if server is None:
        raise NoTemporalError("Temporal on PostgreSQL needs the plain server. Tried:\n" + "\n".join(reasons))
    return server


def _same_version(binary: TemporalBinary) -> TemporalBinary:
    """The binary, if its schema is the one that the schema tool installs. Raises NoTemporalError."""
    if (binary.kind, binary.version) != ("server", SERVER_VERSION):
        raise NoTemporalError(
            f"TENURE_TEMPORAL_BIN={binary.path} is the {binary.kind} with server {binary.version}. Temporal on PostgreSQL "
            f"needs the plain server {SERVER_VERSION}; without the setting it is built."
        )
    return binary


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
    if binary := _cached_server(reasons):
        return binary
    path = cache_folder() / "temporal"
    return _usable(path, "cache", reasons) if path.exists() else None


def _cached_server(reasons: list[str]) -> TemporalBinary | None:
    return _usable(SERVER.path, "cache", reasons) if SERVER.path.exists() else None


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
    try:
        path = await build(SERVER, say)
    except BuildError as error:
        reasons.append(str(error))
        return None
    return _usable(path, "build", reasons)


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
