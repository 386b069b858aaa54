"""The embedded stack under one supervisor: started in order, restarted when a part dies, stopped in reverse order."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import fasteners
import structlog

from worker.settings import Settings
from worker.stack.endpoints import FILE, Endpoints, read_endpoints
from worker.stack.parts import ModulePart, Part, http_ok, run_once
from worker.stack.ports import LOOPBACK, answers, free_ports, is_free
from worker.stack.postgres import PostgresServer
from worker.stack.process import POLL_SECONDS, ProcessFailedError, end_leftovers
from worker.stack.temporal_binary import Say, tell
from worker.stack.temporal_server import TemporalServer

log = structlog.get_logger()

T = TypeVar("T")

DATABASE = "tenure"
# What `python -m` runs for each of our own processes.
MODULES: Mapping[str, Sequence[str]] = {"migrate": ["store.migrate"], "worker": ["worker"], "api": ["api"]}
FIRST_BACKOFF = 0.2
LONGEST_BACKOFF = 5.0
STEADY_SECONDS = 30.0


class StackError(RuntimeError):
    """The stack cannot be started as it was asked for. The operator's turn: the message says what to change."""


class Stack:
    """`async with Stack(settings) as stack:` runs everything that the settings do not take from elsewhere.

    `mail_options` are the sink's faults (`--fail-rate 0.1`); `environ` is added to worker and API; `modules` replaces them.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        time_skipping: bool = False,
        mail_options: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
        modules: Mapping[str, Sequence[str]] = MODULES,
        say: Say = tell,
    ) -> None:
        self.settings = settings
        self.home = settings.home
        self._time_skipping = time_skipping
        self._mail_options = mail_options
        self._extra_environ = dict(environ or {})
        self._modules = modules
        self._say = say
        self._parts: dict[str, Part] = {}
        self._ready: dict[str, asyncio.Event] = {}
        self._down_until: dict[str, float] = {}
        self._killed: set[str] = set()
        self._watchers: list[asyncio.Task[None]] = []
        self._endpoints: Endpoints | None = None
        self.restarts: dict[str, int] = {}
        self.environ: dict[str, str] = {}
        self._lock = fasteners.InterProcessLock(self.home / ".lock")

    @property
    def endpoints(self) -> Endpoints:
        if self._endpoints is None:
            raise StackError("the stack has not been started")
        return self._endpoints

    async def start(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        if not self._lock.acquire(blocking=False):
            raise StackError(_already_running(self.home))
        try:
            # A supervisor that was killed left its children running: they hold the ports and the data folder.
            await asyncio.to_thread(end_leftovers, list((self.home / "run").glob("*.pid")))
            await self._start_parts()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop all in reverse order of starting: who uses a part ends before it."""
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        self._watchers.clear()
        for name, part in reversed(self._parts.items()):
            if part.process.alive:
                self._say(f"{name}: stopping")
                await part.stop()
        (self.home / FILE).unlink(missing_ok=True)
        if self._lock.acquired:
            self._lock.release()

    def kill_all(self) -> None:
        """For somebody who presses Ctrl-C twice: nobody is asked, and nothing that was committed is lost."""
        for part in self._parts.values():
            part.process.kill()

    async def kill(self, name: str, *, sig: signal.Signals = signal.SIGKILL, down_for: float = 0.0) -> int:
        """Kill a part and wait until it is dead; it is restarted, not before `down_for` seconds. Returns its pid."""
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
        waits = [self._ready[name].wait() for name in names or tuple(self._parts)]
        await asyncio.wait_for(asyncio.gather(*waits), timeout)

    def pid(self, name: str) -> int | None:
        return self._parts[name].process.pid

    @property
    def part_names(self) -> tuple[str, ...]:
        return tuple(self._parts)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _start_parts(self) -> None:
        api_port = self._chosen_api_port()
        mail_port, worker_port = free_ports(2)
        mail_port, worker_port = self.settings.mail_port or mail_port, self.settings.worker_port or worker_port
        database_url, temporal_address = await _together(self._database(), self._temporal())
        maildir = self.home / "mail"
        smtp_url, smtp_lookup = self.settings.smtp_url, self.settings.smtp_lookup
        if smtp_url is not None:
            _must_answer("TENURE_SMTP_URL", smtp_url)
        else:
            smtp_url, smtp_lookup = f"smtp://{LOOPBACK}:{mail_port}", maildir
            await self._start("mail", self._mail(maildir, mail_port))
        resolved = self.settings.environ(
            database_url=database_url,
            temporal_address=temporal_address,
            smtp_url=smtp_url,
            smtp_lookup=smtp_lookup,
            api_port=api_port,
            worker_port=worker_port,
            worker_host=LOOPBACK,
        )
        self.environ = {**resolved, **self._extra_environ}
        api_url = f"http://{_reachable(self.settings.api_host)}:{api_port}"
        worker_url = f"http://{LOOPBACK}:{worker_port}"
        self._say("database: migrating")
        await run_once("migrate", self._modules["migrate"], home=self.home, env=self.environ)
        await _together(
            self._start("worker", self._module("worker", f"{worker_url}/readyz")),
            self._start("api", self._module("api", f"{api_url}/livez")),
        )
        self._endpoints = Endpoints(
            home=self.home,
            supervisor=os.getpid(),
            database_url=database_url,
            temporal_address=temporal_address,
            temporal_namespace=self.settings.temporal_namespace,
            smtp_url=smtp_url,
            maildir=smtp_lookup,
            api_url=api_url,
            worker_url=worker_url,
            pids={},
        )
        self._write_endpoints()

    async def _database(self) -> str:
        if self.settings.database_url is not None:
            return self.settings.database_url
        server = PostgresServer(
            self.home / "postgres", log=self.home / "logs" / "postgres.log", pid_file=self.home / "run" / "postgres.pid"
        )
        await self._start("postgres", server)
        return await server.create_database(DATABASE)

    async def _temporal(self) -> str:
        if (address := self.settings.temporal_address) is not None:
            _must_answer("TENURE_TEMPORAL_ADDRESS", address)
            return address
        server = TemporalServer(
            self.home / "temporal",
            port=self.settings.temporal_port,
            binary=self.settings.temporal_bin,
            log=self.home / "logs" / "temporal.log",
            time_skipping=self._time_skipping,
            pid_file=self.home / "run" / "temporal.pid",
            say=self._say,
        )
        await self._start("temporal", server)
        return server.address

    def _mail(self, maildir: Path, port: int) -> ModulePart:
        async def ready() -> bool:
            return answers(port)

        module = ["worker.stack.mail_sink", "--port", str(port), "--maildir", str(maildir), *self._mail_options]
        return ModulePart("mail", module, home=self.home, env={}, ready=ready, stop_timeout=5)

    def _module(self, name: str, health: str) -> ModulePart:
        async def ready() -> bool:
            return await http_ok(health)

        patience = self.settings.graceful_shutdown_seconds + 10
        return ModulePart(
            name, self._modules[name], home=self.home, env=self.environ, ready=ready, stop_timeout=patience
        )

    async def _start(self, name: str, part: Part) -> None:
        self._parts[name] = part
        self._ready[name] = asyncio.Event()
        self._say(f"{name}: starting")
        await part.start()
        self._ready[name].set()
        self._watchers.append(asyncio.create_task(self._watch(name, part)))

    async def _watch(self, name: str, part: Part) -> None:
        """Restart a part whenever it ends, at once when it had run well, later and later when it cannot stay up."""
        backoff = FIRST_BACKOFF
        while True:
            began = time.monotonic()
            code = await part.process.wait()
            self._ready[name].clear()
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
            self._write_endpoints()

    def _write_endpoints(self) -> None:
        if self._endpoints is not None:
            pids = {name: pid for name, part in self._parts.items() if (pid := part.process.pid)}
            self._endpoints = self._endpoints.model_copy(update={"pids": pids})
            self._endpoints.write()

    def _chosen_api_port(self) -> int:
        port, host = self.settings.api_port, self.settings.api_host
        if port == 0:
            return free_ports(1)[0]
        if not is_free(port, host):
            raise StackError(f"{host}:{port} is taken. Give --api-port another port, or 0 for any free one.")
        return port


async def _together(*parts: Coroutine[Any, Any, T]) -> list[T]:
    """Start side by side; when one fails the others are given up before the failure goes on, so that none is orphaned."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(part) for part in parts]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


def _must_answer(variable: str, address: str) -> None:
    """Somebody else's part is not waited for: a wrong address should be told before anything is started."""
    parsed = urlsplit(address if "://" in address else f"//{address}")
    if not answers(parsed.port or (465 if parsed.scheme == "smtps" else 25), parsed.hostname or ""):
        raise StackError(
            f"{variable}={parsed.hostname}:{parsed.port} does not answer. Start it, or correct the address."
        )


def _reachable(host: str) -> str:
    return LOOPBACK if host in {"0.0.0.0", "::", "localhost"} else host  # noqa: S104 — compared, not bound


def _already_running(home: Path) -> str:
    known = read_endpoints(home)
    where = f" (supervisor {known.supervisor}, API {known.api_url})" if known else " and is starting"
    return f"A stack already runs on {home}{where}. Stop it with Ctrl-C there, or give another folder: --home FOLDER."
