"""Embedded Temporal server on a durable store, restarted on the same ports."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import yaml

from worker.stack.free_ports import LOOPBACK, free_ports
from worker.stack.process import ChildCommand, ChildProcess, ProcessFailedError, wait_until_ready
from worker.stack.temporal.binary import TemporalBinary
from worker.stack.temporal.build import ProgressReport, print_progress
from worker.stack.temporal.store import SqliteStore, TemporalStore
from worker.temporal_namespace import namespace_ready

ATTEMPTS = 3
TAKEN = "address already in use"
SERVICES = ("frontend", "history", "matching", "worker")
ALWAYS: Mapping[str, Any] = {
    # Services learn of a namespace that a client registers within one second instead of ten.
    "system.namespaceCacheRefreshInterval": "1s",
    # One partition needs no forwarding between partitions; on one machine four bring nothing.
    "matching.numTaskqueueReadPartitions": 1,
    "matching.numTaskqueueWritePartitions": 1,
    "frontend.enableUpdateWorkflowExecution": True,
    # A run on a test clock may continue as new several times a second; else the server delays the second time.
    "history.workflowIdReuseMinimalInterval": "0s",
    # One deployment uses one namespace; the default limits protect tenants from each other.
    "frontend.namespaceRPS": 20_000,
    "frontend.namespaceCount": 20_000,
}
TIME_SKIPPING: Mapping[str, Any] = {
    "frontend.WorkflowTimeSkippingEnabled": True,
    "history.timerProcessorMaxTimeShift": "50ms",
}


class TemporalServer:
    """A server whose configuration is in `folder`, and its runs in `store`: without one, in SQLite files beside it.

    `time_skipping` gives each workflow its own clock. `ui_port` is for Temporal's UI, if the program has it; zero leaves it out.
    """

    def __init__(
        self,
        folder: Path,
        *,
        store: TemporalStore | None = None,
        port: int = 0,
        ui_port: int = 0,
        binary: Path | None = None,
        log: Path | None = None,
        time_skipping: bool = False,
        pid_file: Path | None = None,
        say: ProgressReport = print_progress,
        choose: Callable[[int], list[int]] = free_ports,
    ) -> None:
        self.folder = folder.expanduser().resolve()
        self._store = store or SqliteStore(self.folder)
        self._port = self._asked_port = port
        self._ui_port = ui_port
        self._named = binary
        self._log = log or self.folder / "temporal.log"
        self._dynamic = {**ALWAYS, **(TIME_SKIPPING if time_skipping else {})}
        self._say = say
        self._choose = choose
        self._binary: TemporalBinary | None = None
        self._other_ports: list[int] = []
        self._process = ChildProcess("temporal", self._command, pid_file=pid_file)

    @property
    def process(self) -> ChildProcess:
        return self._process

    @property
    def pid(self) -> int | None:
        return self._process.pid

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self._port}"

    @property
    def ui_url(self) -> str | None:
        """Address of Temporal's UI; the plain server has none."""
        has_ui = self._ui_port and self._binary is not None and self._binary.kind == "cli"
        return f"http://{LOOPBACK}:{self._ui_port}" if has_ui else None

    async def start(self) -> None:
        """Start, or restart on the same ports and store, and wait until the namespace can be used."""
        if self._binary is None:
            self._binary = await self._store.find_binary(self._named, self._say)
            await self._store.prepare(self._say)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._other_ports:
            await self._start_first()
        else:
            await self._start_here()

    async def _start_first(self) -> None:
        """Choose ports and start; if another process takes one of them first, choose again."""
        for left in reversed(range(ATTEMPTS)):
            first, *self._other_ports = self._choose(2 * len(SERVICES))
            self._port = self._asked_port or first
            try:
                await self._start_here()
            except ProcessFailedError as failed:
                if not left or TAKEN not in str(failed):
                    self._other_ports = []
                    raise
            else:
                return

    async def _start_here(self) -> None:
        # Each start has new members. A server waits up to 50 s for those of the last one to answer.
        await self._store.forget_members()
        self._process.start()
        await wait_until_ready(self._serves, self._process, timeout=90)

    async def stop(self) -> None:
        await self._process.stop(timeout=20)

    def kill(self) -> None:
        self._process.kill()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _command(self) -> ChildCommand:
        if self._binary is None:
            raise RuntimeError("the server has not been started")
        make = self._server_arguments if self._binary.kind == "server" else self._cli_arguments
        return ChildCommand([str(self._binary.path), *make()], self._log, cwd=self.folder)

    def _cli_arguments(self) -> list[str]:
        values = [f"{key}={json.dumps(value)}" for key, value in self._dynamic.items()]
        page = ("--ui-ip", LOOPBACK, "--ui-port", str(self._ui_port)) if self._ui_port else ("--headless",)
        return [
            *("server", "start-dev", *page, "--ip", LOOPBACK, "--port", str(self._port)),
            *("--db-filename", str(self.folder / "temporal.db"), "--log-level", "warn"),
            *("--sqlite-pragma", "journal_mode=wal", "--sqlite-pragma", "synchronous=normal"),
            *(part for value in values for part in ("--dynamic-config-value", value)),
        ]

    def _server_arguments(self) -> list[str]:
        dynamic, config = self.folder / "dynamic.yaml", self.folder / "server.yaml"
        config.touch(mode=0o600)  # it may hold the password of a database
        dynamic.write_text(yaml.safe_dump({key: [{"value": value}] for key, value in self._dynamic.items()}))
        config.write_text(yaml.safe_dump(self._server_config(dynamic), sort_keys=False))
        return ["--config-file", str(config), "--allow-no-auth", "start"]

    def _server_config(self, dynamic: Path) -> dict[str, Any]:
        membership = self._other_ports[: len(SERVICES)]
        grpc = [self._port, *self._other_ports[len(SERVICES) :]]
        ports = {
            name: {"rpc": {"grpcPort": mine, "membershipPort": gossip, "bindOnLocalHost": True}}
            for name, mine, gossip in zip(SERVICES, grpc, membership, strict=True)
        }
        active = {"enabled": True, "initialFailoverVersion": 1, "rpcName": "frontend", "rpcAddress": self.address}
        return {
            "log": {"stdout": True, "level": "warn"},
            "persistence": {
                "defaultStore": "main",
                "visibilityStore": "visibility",
                "numHistoryShards": self._store.shards,
                "datastores": self._store.datastores(),
            },
            "global": {"membership": {"maxJoinDuration": "30s", "broadcastAddress": LOOPBACK}},
            "services": ports,
            "clusterMetadata": {
                "enableGlobalNamespace": False,
                "failoverVersionIncrement": 10,
                "masterClusterName": "active",
                "currentClusterName": "active",
                "clusterInformation": {"active": active},
            },
            "dcRedirectionPolicy": {"policy": "noop"},
            "dynamicConfigClient": {"filepath": str(dynamic), "pollInterval": "60s"},
        }

    async def _serves(self) -> bool:
        return await namespace_ready(self.address)
