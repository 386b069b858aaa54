"""Child process: start, stop, kill, wait until ready."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import psutil
import structlog

log = structlog.get_logger()

POLL_SECONDS = 0.02
PRIVATE = 0o077
"""The umask of every child: mails, histories, logs and databases are for their owner only."""


class ProcessFailedError(RuntimeError):
    """A child process ended, or did not become ready. The operator's turn: the end of its log is in the message."""


@dataclass(frozen=True)
class ChildCommand:
    """Command line of a child, with its folder, user and log. `env` is added to this process's environment."""

    argv: Sequence[str]
    log: Path
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    user: str | None = None
    stop_signal: signal.Signals = signal.SIGTERM


class ChildProcess:
    """A child that can be restarted. It has its own session: Ctrl-C reaches only the supervisor, which stops all in order."""

    def __init__(self, name: str, command: Callable[[], ChildCommand], *, pid_file: Path | None = None) -> None:
        self.name = name
        self._command = command
        self._pid_file = pid_file
        self._popen: subprocess.Popen[bytes] | None = None
        self._running: ChildCommand | None = None

    @property
    def pid(self) -> int | None:
        return self._popen.pid if self.alive and self._popen else None

    @property
    def alive(self) -> bool:
        return self._popen is not None and self._popen.poll() is None

    @property
    def returncode(self) -> int | None:
        return self._popen.poll() if self._popen else None

    def start(self) -> None:
        """Start the process, after ending one that a killed supervisor left behind under the same pid file."""
        if self.alive:
            return
        if self._pid_file is not None:
            end_leftovers([self._pid_file])
        command = self._running = self._command()
        with _open_log(command.log) as output:
            self._popen = spawn(command, output)
        if self._pid_file is not None:
            write_pid(self._pid_file, self._popen.pid)
        log.debug("process.started", process=self.name, pid=self._popen.pid)

    async def stop(self, timeout: float = 30.0) -> int | None:
        """Send the stop signal, and SIGKILL after `timeout` seconds; returns the exit code."""
        if self._popen is None or self._running is None:
            return None
        if self.alive:
            self._popen.send_signal(self._running.stop_signal)
            try:
                await asyncio.wait_for(self.wait(), timeout)
            except TimeoutError:
                log.warning("process.stop_timed_out", process=self.name, seconds=timeout)
                self.kill()
        code = await self.wait()
        self._forget()
        return code

    def kill(self) -> None:
        """SIGKILL it and its descendants: PostgreSQL's backends have their own sessions and would block a restart."""
        if self._popen is None or not self.alive:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(self._popen.pid)
            for member in (process, *process.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.kill()

    async def wait(self) -> int:
        """Wait until it ends; returns the exit code. Polling every 20 ms is cheaper than SIGCHLD handlers or threads."""
        if self._popen is None:
            return 0
        while (code := self._popen.poll()) is None:
            await asyncio.sleep(POLL_SECONDS)
        return code

    def log_tail(self, lines: int = 15) -> str:
        if self._running is None or not self._running.log.exists():
            return "(no log)"
        with self._running.log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - 8_192))
            text = file.read().decode(errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def failure(self, what: str) -> ProcessFailedError:
        path = self._running.log if self._running else "?"
        return ProcessFailedError(
            f"{self.name} {what} (exit code {self.returncode}). End of {path}:\n{self.log_tail()}"
        )

    def _forget(self) -> None:
        if self._pid_file is not None:
            self._pid_file.unlink(missing_ok=True)


def spawn(command: ChildCommand, output: BinaryIO) -> subprocess.Popen[bytes]:
    """Start the process of a command in a session of its own, with its output in this file."""
    return subprocess.Popen(
        list(command.argv),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env={**os.environ, **command.env},
        cwd=command.cwd,
        user=command.user,
        group=_group_of(command.user),
        start_new_session=True,
        umask=PRIVATE,
    )


def _open_log(path: Path) -> BinaryIO:
    """A log file for its owner only, opened at its end."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    path.chmod(0o600)  # it may be older than this rule
    return os.fdopen(descriptor, "ab")


def _group_of(user: str | None) -> int | None:
    if user is None:
        return None
    import pwd  # noqa: PLC0415 — platform: POSIX only

    return pwd.getpwnam(user).pw_gid


def write_pid(path: Path, pid: int) -> None:
    """Write pid and start time, because pids are reused."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(f"{pid} {psutil.Process(pid).create_time():.2f}")


def end_leftovers(pid_files: Iterable[Path], timeout: float = 5.0) -> None:
    """End the processes that these pid files name, unless their pids belong to others now, and remove the files."""
    family: list[psutil.Process] = []
    for pid_file in pid_files:
        process = _still_running(pid_file)
        pid_file.unlink(missing_ok=True)
        if process is None:
            continue
        log.warning("process.leftover_ended", pid=process.pid, pid_file=pid_file.name)
        with contextlib.suppress(psutil.NoSuchProcess):
            family += [process, *process.children(recursive=True)]
            # PostgreSQL waits for its clients on SIGTERM and stops fast on SIGINT; the others stop on either.
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGINT)
    # Every component survives SIGKILL by design, so none is given more time.
    _, alive = psutil.wait_procs(family, timeout)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout)


def _still_running(pid_file: Path) -> psutil.Process | None:
    try:
        pid_text, started_text = pid_file.read_text().split()
        process = psutil.Process(int(pid_text))
        return process if abs(process.create_time() - float(started_text)) < 1.0 else None
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
        return None


async def wait_until_ready(
    condition: Callable[[], Awaitable[bool]],
    child: ChildProcess,
    *,
    timeout: float,
    what: str = "did not become ready",
) -> None:
    """Wait until a condition holds. Raises ProcessFailedError when the child dies or `timeout` seconds pass."""
    deadline = time.monotonic() + timeout
    while True:
        alive = child.alive  # before the condition: a child may end as it fulfils it
        if await condition():
            return
        if not alive:
            raise child.failure("ended before it was ready")
        if time.monotonic() > deadline:
            raise child.failure(f"{what} within {timeout:.0f} s")
        await asyncio.sleep(POLL_SECONDS * 2)
