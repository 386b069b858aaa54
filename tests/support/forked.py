"""Processes of the product as forks of one process that has imported them.

The imports of a worker take two seconds of CPU, which storms and crash tests would pay at each restart. A fork runs the same
module as `python -m`, with its own environment, folder, session and log; it is killed and stopped by its own process id.
`tests/integration/stack/test_up.py` and `tests/durability/test_workers.py` start `python -m` itself.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import runpy
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import pytest

from worker.stack import process
from worker.stack.process import POLL_SECONDS, PRIVATE, ChildCommand

IMPORTED: Final = ("api.__main__", "store.migrate", "worker.__main__")
FORKED: Final = frozenset(
    {"api", "store.migrate", "worker", "tests.storm.crash_points", "tests.storm.naive_worker"}
    | {"tests.storm.uncorrected_worker"}
)
"""Modules that `python -m` would run, and that import little else than `IMPORTED`."""
_start_unforked = process.spawn


class ForkedProcess:
    """A running fork. `poll` and `send_signal` are those of `subprocess.Popen`, the rest is asyncio's."""

    def __init__(self, command: ChildCommand) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([*IMPORTED])
        _, _, module, *arguments = command.argv
        given = (module, arguments, {**os.environ, **command.env}, command.cwd or Path.cwd(), command.log)
        self._process = context.Process(target=_run, args=given, daemon=True)
        self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    async def wait(self) -> int:
        while (code := self.returncode) is None:
            await asyncio.sleep(POLL_SECONDS)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None and self.pid is not None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _run(module: str, arguments: Sequence[str], environ: Mapping[str, str], folder: Path, log: Path) -> None:
    """Become the process that `python -m module` would be."""
    os.setsid()
    os.umask(PRIVATE)
    os.chdir(folder)
    output = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    os.environ.clear()
    os.environ.update(environ)
    time.tzset()
    sys.argv = [module, *arguments]
    sys.modules.pop(f"{module}.__main__", None)  # it runs again, as `__main__`
    runpy.run_module(module, run_name="__main__", alter_sys=True)


@contextmanager
def processes_forked() -> Iterator[None]:
    """Fork the processes of stacks, for as long as the body runs."""

    def spawn(command: ChildCommand, output: BinaryIO) -> object:
        executable, option, module, *_ = (*command.argv, "", "", "")
        is_ours = (executable, option) == (sys.executable, "-m") and module in FORKED
        return ForkedProcess(command) if is_ours else _start_unforked(command, output)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "spawn", spawn)
        yield
