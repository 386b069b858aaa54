"""The embedded stack under one supervisor: started in order, restarted when a part dies, stopped in reverse order."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import fasteners

from worker.provider_settings import is_configured, load_providers
from worker.settings import Settings
from worker.stack.components import ModuleComponent, http_ok, run_once
from worker.stack.endpoints import FILE, Endpoints, read_endpoints
from worker.stack.free_ports import LOOPBACK, free_ports, is_free, is_listening
from worker.stack.postgres import PostgresServer
from worker.stack.process import end_leftovers
from worker.stack.providers.environment import local_environ
from worker.stack.restart import Supervision
from worker.stack.temporal_binary import Progress, print_progress
from worker.stack.temporal_server import TemporalServer

T = TypeVar("T")

DATABASE = "tenure"
# What `python -m` runs for each of our own processes.
MODULES: Mapping[str, Sequence[str]] = {"migrate": ["store.migrate"], "worker": ["worker"], "api": ["api"]}


class StackError(RuntimeError):
    """The stack cannot be started as it was asked for. The operator's turn: the message says what to change."""


class Stack(Supervision):
    """`async with Stack(settings) as stack:` runs everything that the settings do not take from elsewhere.

    `provider` adds the local one. `mail_options` are the sink's faults (`--fail-rate 0.1`); `environ` is added to worker and API; `modules` replaces them.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        time_skipping: bool = False,
        provider: bool = False,
        mail_options: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
        modules: Mapping[str, Sequence[str]] = MODULES,
        say: Progress = print_progress,
    ) -> None:
        super().__init__(say)
        self.settings = settings
        self.home = settings.home
        self._time_skipping = time_skipping
        self._with_provider = provider
        self._mail_options = mail_options
        self._extra_environ = dict(environ or {})
        self._modules = modules
        self._endpoints: Endpoints | None = None
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
        await self.stop_parts()
        (self.home / FILE).unlink(missing_ok=True)
        if self._lock.acquired:
            self._lock.release()

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
            await self.start_part("mail", self._mail(maildir, mail_port))
        provider_url, provider_environ = await self._provider()
        resolved = self.settings.environ(
            database_url=database_url,
            temporal_address=temporal_address,
            smtp_url=smtp_url,
            smtp_lookup=smtp_lookup,
            api_port=api_port,
            worker_port=worker_port,
            worker_host=LOOPBACK,
            public_url=self.settings.public_url or f"http://{LOOPBACK}:{api_port}",
        )
        self.environ = {**resolved, **provider_environ, **self._extra_environ}
        api_url = f"http://{_reachable(self.settings.api_host)}:{api_port}"
        worker_url = f"http://{LOOPBACK}:{worker_port}"
        self._say("database: migrating")
        await run_once("migrate", self._modules["migrate"], home=self.home, env=self.environ)
        await _together(
            self.start_part("worker", self._module("worker", f"{worker_url}/readyz")),
            self.start_part("api", self._module("api", f"{api_url}/livez")),
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
            provider_url=provider_url,
            pids={},
        )
        self.changed()

    async def _database(self) -> str:
        if self.settings.database_url is not None:
            return self.settings.database_url
        server = PostgresServer(
            self.home / "postgres", log=self.home / "logs" / "postgres.log", pid_file=self.home / "run" / "postgres.pid"
        )
        await self.start_part("postgres", server)
        return await server.create_database(DATABASE)

    async def _temporal(self) -> str:
        if (address := self.settings.temporal_address) is not None:
            _must_answer("TENURE_TEMPORAL_ADDRESS", address)
            return address
        _must_be_free("TENURE_TEMPORAL_PORT", self.settings.temporal_port)
        server = TemporalServer(
            self.home / "temporal",
            port=self.settings.temporal_port,
            binary=self.settings.temporal_bin,
            log=self.home / "logs" / "temporal.log",
            time_skipping=self._time_skipping,
            pid_file=self.home / "run" / "temporal.pid",
            say=self._say,
        )
        await self.start_part("temporal", server)
        return server.address

    def _mail(self, maildir: Path, port: int) -> ModuleComponent:
        async def ready() -> bool:
            return is_listening(port)

        module = ["worker.stack.mail_sink", "--port", str(port), "--maildir", str(maildir), *self._mail_options]
        return ModuleComponent("mail", module, home=self.home, env={}, ready=ready, stop_timeout=5)

    async def _provider(self) -> tuple[str | None, dict[str, str]]:
        """The local provider, unless the operator has one of their own: nothing is mixed."""
        if not self._with_provider or is_configured(load_providers()):
            return None, {}
        port = self.settings.provider_port or free_ports(1)[0]
        url = f"http://{LOOPBACK}:{port}"

        async def ready() -> bool:
            return await http_ok(f"{url}/_health")

        module = ["worker.stack.providers", "--port", str(port), "--folder", str(self.home / "provider")]
        await self.start_part(
            "provider", ModuleComponent("provider", module, home=self.home, env={}, ready=ready, stop_timeout=5)
        )
        return url, local_environ(url)

    def _module(self, name: str, health: str) -> ModuleComponent:
        async def ready() -> bool:
            return await http_ok(health)

        patience = self.settings.graceful_shutdown_seconds + 10
        return ModuleComponent(
            name, self._modules[name], home=self.home, env=self.environ, ready=ready, stop_timeout=patience
        )

    def changed(self) -> None:
        if self._endpoints is not None:
            pids = {name: pid for name in self.part_names if (pid := self.pid(name))}
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


def _must_be_free(variable: str, port: int) -> None:
    """A port that was asked for and is taken should be told at once, not after a server's patience. Zero is any."""
    if port and not is_free(port):
        raise StackError(f"{variable}={port} is taken. Give it another port, or 0 for any free one.")


def _must_answer(variable: str, address: str) -> None:
    """Somebody else's part is not waited for: a wrong address should be told before anything is started."""
    parsed = urlsplit(address if "://" in address else f"//{address}")
    if not is_listening(parsed.port or (465 if parsed.scheme == "smtps" else 25), parsed.hostname or ""):
        raise StackError(
            f"{variable}={parsed.hostname}:{parsed.port} does not answer. Start it, or correct the address."
        )


def _reachable(host: str) -> str:
    return LOOPBACK if host in {"0.0.0.0", "::", "localhost"} else host  # noqa: S104 — compared, not bound


def _already_running(home: Path) -> str:
    known = read_endpoints(home)
    where = f" (supervisor {known.supervisor}, API {known.api_url})" if known else " and is starting"
    return f"A stack already runs on {home}{where}. Stop it with Ctrl-C there, or give another folder: --home FOLDER."
