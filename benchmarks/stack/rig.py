"""Rig of a benchmark: Temporal server, mail sink, workers and API as child processes."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

import psutil
from temporalio.client import Client

from benchmarks.stack.http_client import HttpLoad
from benchmarks.stack.receipts import Receipts
from journeys.decision.compiler import artifact_of, load_chart
from journeys.language.parsing import read_journey
from store.database import Database
from store.definitions import publishing
from worker.composition.clients import connect_temporal, open_database
from worker.settings import DEV_OPERATOR_KEY, ROOT, Settings
from worker.stack.components import ModuleComponent, http_ok, run_once
from worker.stack.free_ports import free_ports, is_listening
from worker.stack.postgres import PostgresServer
from worker.stack.temporal.server import TemporalServer
from worker.stack.temporal.store import PostgresStore, StoreName, temporal_postgres

CATALOG = ROOT / "benchmarks" / "catalog"


def benchmark_catalog(folder: Path) -> Path:
    """Make the folder: the benchmark's journeys, plan and policy with the shipped templates."""
    shutil.copytree(CATALOG, folder)
    shutil.copytree(ROOT / "catalog" / "templates", folder / "templates")
    shutil.copy(ROOT / "catalog" / "content.yaml", folder)  # it declares the variants that templates may have
    return folder


class Rig:
    """`async with Rig() as rig:` starts all; leaving it stops all. Each part is ended by its own process id."""

    database: Database
    client: Client
    bare_client: Client
    web: HttpLoad

    def __init__(self, api: Sequence[str] = ("api",), store: StoreName = "sqlite") -> None:
        self.home = Path(tempfile.mkdtemp(prefix="tenure-bench-"))
        self.postgres = PostgresServer(self.home / "postgres", log=self.home / "logs" / "postgres.log")
        self.store: StoreName = store
        self.temporal_postgres = (
            temporal_postgres(self.home / "temporal-postgres", log=self.home / "logs" / "temporal-postgres.log")
            if store == "postgres"
            else None
        )
        self.temporal = TemporalServer(
            self.home / "temporal",
            store=PostgresStore(self.temporal_postgres) if self.temporal_postgres else None,
            log=self.home / "logs" / "temporal.log",
        )
        self.receipts = Receipts(self.home / "receipts.sock")
        self.api_module = api
        self.environ: dict[str, str] = {}
        self.running = AsyncExitStack()
        self.parts: dict[str, ModuleComponent] = {}

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for part in reversed(self.parts.values()):
            await part.stop()
        await self.running.aclose()
        shutil.rmtree(self.home, ignore_errors=True)

    async def _start(self) -> None:
        enter = self.running.enter_async_context
        await enter(self.postgres)
        if self.temporal_postgres is not None:
            await enter(self.temporal_postgres)
        await enter(self.temporal)
        await enter(self.receipts)
        self.mail_port, self.api_port, self.worker_port = free_ports(3)
        settings = Settings(
            database_url=await self.postgres.create_database("tenure"),
            temporal_address=self.temporal.address,
            smtp_url=f"smtp://127.0.0.1:{self.mail_port}",
            smtp_lookup=self.home / "mail",
            api_port=self.api_port,
            worker_port=self.worker_port,
            catalog=benchmark_catalog(self.home / "catalog"),
            graceful_shutdown_seconds=5,
        )
        self.settings = settings
        # Bytecode is cached, as on an ordinary machine, whatever this environment sets: sandboxes import workflows often.
        compiled = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(self.home / "pycache")}
        self.environ = {**settings.environ(), **compiled}
        await run_once("migrate", ["store.migrate"], home=self.home, env=self.environ)
        self.database = open_database(settings)
        self.running.push_async_callback(self.database.close)
        self.client = await connect_temporal(settings)
        self.bare_client = await Client.connect(self.temporal.address)
        self.web = HttpLoad(f"http://127.0.0.1:{self.api_port}", DEV_OPERATOR_KEY)
        self.running.push_async_callback(self.web.close)
        await self._publish()
        sink = [
            "benchmarks.stack.mail_sink_process",
            str(self.mail_port),
            str(self.home / "mail"),
            str(self.receipts.path),
        ]
        await self._run("mail", sink, lambda: _is_listening(self.mail_port))
        api = f"http://127.0.0.1:{self.api_port}/livez"
        await self._run("api", self.api_module, lambda: http_ok(api))
        await self.start_ours()
        await self.start_bare()

    async def _publish(self) -> None:
        for path in sorted((CATALOG / "journeys").glob("*.yaml")):
            text = path.read_text("utf-8")
            journey, source = read_journey(text)
            assert journey is not None, source.problems
            chart = load_chart(artifact_of(journey, {}))
            await publishing.publish_definition(self.database, chart, artifact_of(journey, {}), text, "benchmarks")

    async def start_ours(self, cached: int = 1_000) -> None:
        """Start, or restart, our worker with its relay and a cache of this many runs."""
        await self._end("worker")
        self.environ["TENURE_MAX_CACHED_WORKFLOWS"] = str(cached)
        health = f"http://127.0.0.1:{self.worker_port}/readyz"
        await self._run("worker", ["worker"], lambda: http_ok(health))

    async def start_bare(self, cached: int = 1_000) -> None:
        """Start, or restart, the bare worker."""
        await self._end("bare")
        log = self.home / "logs" / "bare.log"
        log.unlink(missing_ok=True)
        module = ["benchmarks.contenders.handwritten_worker", self.temporal.address, str(self.mail_port), str(cached)]
        await self._run("bare", module, lambda: _is_ready(log))

    async def _run(self, name: str, module: Sequence[str], ready: Callable[[], Awaitable[bool]]) -> None:
        part = ModuleComponent(name, module, home=self.home, env=self.environ, ready=ready, stop_timeout=20)
        self.parts[name] = part
        await part.start()

    async def _end(self, name: str) -> None:
        if name in self.parts:
            await self.parts.pop(name).stop()

    def process(self, name: str) -> psutil.Process:
        """A part's process, to read its CPU time and memory."""
        return psutil.Process(self.parts[name].process.pid)

    def cpu_seconds(self, name: str) -> float:
        """User and system time so far."""
        return _used(self.process(name))

    def all_cpu_seconds(self) -> float:
        """The same of every process of the rig, servers and Temporal's database included: the whole cost of a journey."""
        pids = (self.postgres.pid, self.temporal.pid, self.temporal_postgres and self.temporal_postgres.pid)
        servers = [psutil.Process(pid) for pid in pids if pid]
        backends = [child for server in servers for child in server.children(recursive=True)]
        return sum(map(_used, [*servers, *backends])) + sum(map(self.cpu_seconds, self.parts))

    async def quiet(self, name: str, settle: float = 0.05) -> None:
        """Wait until a part is idle: it used less than a tenth of a core over half a second."""
        while True:
            before = self.cpu_seconds(name)
            await asyncio.sleep(0.5)
            if self.cpu_seconds(name) - before < settle:
                return


def _used(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


async def _is_listening(port: int) -> bool:
    return is_listening(port)


async def _is_ready(log: Path) -> bool:
    return log.exists() and b"ready" in log.read_bytes()
