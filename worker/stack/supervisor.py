"""Embedded stack under one supervisor: started in order, restarted, stopped in reverse order."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import fasteners

from worker.payload_keys import with_embedded_key
from worker.provider_settings import is_configured, load_providers
from worker.settings import Settings
from worker.stack.address_checks import StackError, already_running, must_answer, must_keep_its_store
from worker.stack.components import ModuleComponent, http_ok, run_once
from worker.stack.endpoints import FILE, Endpoints
from worker.stack.free_ports import LOOPBACK, reachable_host
from worker.stack.local_components import mail_component, provider_component
from worker.stack.ports import HomePorts, PortSettings, load_ports
from worker.stack.postgres import PostgresServer
from worker.stack.process import end_leftovers
from worker.stack.providers.environment import local_environ
from worker.stack.restart import Supervision, concurrently
from worker.stack.temporal.build import ProgressReport, print_progress
from worker.stack.temporal.server import TemporalServer
from worker.stack.temporal.store import PostgresStore, TemporalStore, find_programs, temporal_postgres

DATABASE = "tenure"
LOCK = ".lock"
MODULES: Mapping[str, Sequence[str]] = {"migrate": ["store.migrate"], "worker": ["worker"], "api": ["api"]}
"""Arguments of `python -m` for each of our own processes."""


class Stack(Supervision):
    """`async with Stack(settings) as stack:` runs every component that the settings give no address for.

    - `ports`: those of the other embedded components; by default those of the environment
    - `provider`: also run the local provider, unless a provider is configured
    - `mail_options`: options of the mail sink, such as `--fail-rate 0.1`
    - `environ`: added to the environment of worker and API
    - `modules`: what `python -m` runs for migrations, worker and API
    """

    def __init__(
        self,
        settings: Settings,
        *,
        ports: PortSettings | None = None,
        time_skipping: bool = False,
        provider: bool = False,
        mail_options: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
        modules: Mapping[str, Sequence[str]] = MODULES,
        say: ProgressReport = print_progress,
    ) -> None:
        super().__init__(say)
        self.settings = settings
        self.home = settings.home
        self._ports = HomePorts(settings.home, settings, ports or load_ports(), say)
        self._time_skipping = time_skipping
        self._with_provider = provider
        self._mail_options = mail_options
        self._extra_environ = dict(environ or {})
        self._modules = modules
        self._endpoints: Endpoints | None = None
        self._temporal_ui: str | None = None
        self._mail_page: str | None = None
        self._provider_token = secrets.token_urlsafe(24)
        self.environ: dict[str, str] = {}
        self._lock = fasteners.InterProcessLock(self.home / LOCK)

    @property
    def endpoints(self) -> Endpoints:
        if self._endpoints is None:
            raise StackError("the stack has not been started")
        return self._endpoints

    async def start(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self.home.chmod(0o700)  # mails, logs, histories and keys; PostgreSQL lets its own user pass where it has one
        (self.home / LOCK).touch()
        (self.home / LOCK).chmod(0o600)  # nobody else may hold it
        if not self._lock.acquire(blocking=False):
            raise StackError(already_running(self.home))
        try:
            # A killed supervisor leaves its children running, and they hold the ports and the data folder.
            await asyncio.to_thread(end_leftovers, list((self.home / "run").glob("*.pid")))
            await self._start_components()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop all components in reverse order, and remove endpoints.json."""
        await self.stop_components()
        (self.home / FILE).unlink(missing_ok=True)
        if self._lock.acquired:
            self._lock.release()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _start_components(self) -> None:
        api_port, worker_port = self._ports.port("api_port", self.settings.api_host), self._ports.port("worker_port")
        database_url, temporal_address = await concurrently(self._database(), self._temporal())
        smtp_url, smtp_lookup = await self._mail()
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
            payload_keys=self._payload_keys(),
            start_page_links=self._start_page_links(),
        )
        self.environ = {**resolved, **provider_environ, **self._extra_environ}
        api_url = f"http://{reachable_host(self.settings.api_host)}:{api_port}"
        worker_url = f"http://{LOOPBACK}:{worker_port}"
        self._say("database: migrating")
        await run_once("migrate", self._modules["migrate"], home=self.home, env=self.environ)
        await concurrently(
            self.start_component("worker", self._module("worker", f"{worker_url}/readyz")),
            self.start_component("api", self._module("api", f"{api_url}/livez")),
        )
        self._endpoints = Endpoints(
            home=self.home,
            supervisor=os.getpid(),
            database_url=database_url,
            temporal_address=temporal_address,
            temporal_namespace=self.settings.temporal_namespace,
            temporal_ui=self._temporal_ui,
            mail_page=self._mail_page,
            smtp_url=smtp_url,
            maildir=smtp_lookup,
            api_url=api_url,
            worker_url=worker_url,
            provider_url=provider_url,
            provider_token=self._provider_token if provider_url else None,
            pids={},
        )
        self.changed()

    async def _database(self) -> str:
        if self.settings.database_url is not None:
            return self.settings.database_url
        server = PostgresServer(
            self.home / "postgres", log=self.home / "logs" / "postgres.log", pid_file=self.home / "run" / "postgres.pid"
        )
        await self.start_component("postgres", server)
        return await server.create_database(DATABASE)

    async def _temporal(self) -> str:
        if (address := self.settings.temporal_address) is not None:
            must_answer("TENURE_TEMPORAL_ADDRESS", address)
            return address
        must_keep_its_store(self.home, self.settings.temporal_store)
        server = TemporalServer(
            self.home / "temporal",
            store=await self._temporal_store(),
            port=self._ports.port("temporal_port"),
            ui_port=self._ports.port("temporal_ui_port"),
            choose=self._ports.temporal_services,
            binary=self.settings.temporal_bin,
            log=self.home / "logs" / "temporal.log",
            time_skipping=self._time_skipping,
            pid_file=self.home / "run" / "temporal.pid",
            say=self._say,
        )
        await self.start_component("temporal", server)
        self._temporal_ui = server.ui_url
        return server.address

    def _payload_keys(self) -> str:
        keys = self.settings.payload_keys.get_secret_value()
        is_open = self.settings.temporal_address is None and "payload_keys" in self.settings.dev_keys
        return with_embedded_key(self.home, keys) if is_open else keys

    async def _temporal_store(self) -> TemporalStore | None:
        """The store of the setting; a PostgreSQL of Temporal's own is a component of its own."""
        if self.settings.temporal_store == "sqlite":
            return None
        await find_programs(self.settings.temporal_bin, self._say)
        database = temporal_postgres(
            self.home / "temporal-postgres",
            log=self.home / "logs" / "temporal-postgres.log",
            pid_file=self.home / "run" / "temporal-postgres.pid",
        )
        await self.start_component("temporal-postgres", database)
        return PostgresStore(database)

    async def _mail(self) -> tuple[str, Path | None]:
        """URL of the relay, and the Maildir where it can be searched: the sink's own, unless a relay is configured."""
        if (relay := self.settings.smtp_url) is not None:
            must_answer("TENURE_SMTP_URL", relay)
            return relay, self.settings.smtp_lookup
        port, page_port = self._ports.port("mail_port"), self._ports.port("mail_page_port")
        await self.start_component("mail", mail_component(self.home, port, page_port, self._mail_options))
        self._mail_page = f"http://{LOOPBACK}:{page_port}"
        return f"smtp://{LOOPBACK}:{port}", self.home / "mail"

    async def _provider(self) -> tuple[str | None, dict[str, str]]:
        """URL and environment of the local provider; none of both if a provider is configured."""
        if not self._with_provider or is_configured(load_providers()):
            return None, {}
        port = self._ports.port("provider_port")
        await self.start_component("provider", provider_component(self.home, port, self._provider_token))
        url = f"http://{LOOPBACK}:{port}"
        return url, local_environ(url)

    def _start_page_links(self) -> str:
        links = {"Temporal": self._temporal_ui, "Mails": self._mail_page}
        own = ",".join(f"{name}={url}" for name, url in links.items() if url is not None)
        return self.settings.start_page_links or own

    def _module(self, name: str, health: str) -> ModuleComponent:
        async def ready() -> bool:
            return await http_ok(health)

        timeout = self.settings.graceful_shutdown_seconds + 10
        return ModuleComponent(
            name, self._modules[name], home=self.home, env=self.environ, ready=ready, stop_timeout=timeout
        )

    def changed(self) -> None:
        if self._endpoints is not None:
            pids = {name: pid for name in self.component_names if (pid := self.pid(name))}
            self._endpoints = self._endpoints.model_copy(update={"pids": pids})
            self._endpoints.write()
