"""`docker-compose.yml` without containers: its commands, from an empty database to a sent message.

Only addresses, ports and paths of containers are replaced. The variables are those of `.env.example`, with its secrets filled in.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.contract.deploy.test_compose import ENV, ROOT, compose
from worker.settings import PREFIX
from worker.stack.free_ports import free_ports, is_listening
from worker.stack.maildir import Maildir
from worker.stack.postgres import PostgresServer
from worker.stack.postgres_data import SUPERUSER
from worker.stack.temporal.build import SERVER, print_progress
from worker.stack.temporal.schema import TOOL, schema_tool
from worker.stack.temporal.server import SERVICES

pytestmark = [
    pytest.mark.usefixtures("clean_environment"),
    pytest.mark.skipif(
        not (TOOL.path.exists() and SERVER.path.exists()) and shutil.which("go") is None,
        reason="Temporal's programs are built with Go",
    ),
]
TIMEOUT_SECONDS = 150.0


@dataclass
class Deployment:
    """The services of the file, and what stands here for addresses and paths inside of containers."""

    services: Mapping[str, Any]
    replaced: dict[str, str]
    programs: Path
    logs: Path

    def environment(self, name: str, **more: str) -> dict[str, str]:
        """The service's environment: `.env`, then its own, with this machine's addresses."""
        service = self.services[name]
        clean = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX)}
        given = {**(ENV if "env_file" in service else {}), **service.get("environment", {})}
        path = f"{self.programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {**clean, **{key: self.here(str(value)) for key, value in given.items()}, **more, "PATH": path}

    def command(self, name: str) -> list[str]:
        return [self.here(part) for part in self.services[name]["command"]]

    def here(self, text: str) -> str:
        """A text with addresses and paths of containers replaced by those of this machine."""
        if text == "temporal":
            return SUPERUSER  # the user of Temporal's PostgreSQL, who is the embedded one's only user
        for inside, outside in self.replaced.items():
            text = text.replace(inside, outside)
        return text

    def run(self, name: str) -> str:
        """Run a service that ends; its output."""
        ended = subprocess.run(
            self.command(name),
            cwd=ROOT,
            env=self.environment(name),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    @contextmanager
    def running(self, name: str, command: list[str] | None = None, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
        """A service that runs; it is drained by SIGTERM and must end with 0 if it is ours."""
        with (self.logs / f"{name}.log").open("wb") as output:
            process = subprocess.Popen(
                command or self.command(name),
                cwd=ROOT,
                env=self.environment(name, **environ),
                stdout=output,
                stderr=output,
            )
        try:
            yield process
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0 or command is not None, self.log(name)
        finally:
            process.kill()
            process.wait()

    def wait_until_healthy(self, name: str, process: subprocess.Popen[bytes]) -> None:
        """Wait for the service's own health check."""
        check = [self.here(part) for part in self.services[name]["healthcheck"]["test"][1:]]
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while subprocess.run([sys.executable, *check[1:]], capture_output=True, check=False).returncode != 0:
            assert process.poll() is None, self.log(name)
            assert time.monotonic() < deadline, self.log(name)
            time.sleep(0.3)

    def log(self, name: str) -> str:
        return (self.logs / f"{name}.log").read_text()


@pytest_asyncio.fixture
async def deployment(tmp_path: Path, home: Path, empty_database_url: str) -> Any:
    """The file's services with this machine's programs: PostgreSQL, Temporal's server and schema tool."""
    tool = await schema_tool(print_progress)
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "temporal-sql-tool").symlink_to(tool.program)
    ports = dict(
        zip(("temporal", "api", "operations", "worker", "smtp", "postgres"), map(str, free_ports(6)), strict=True)
    )
    home.mkdir(mode=0o700)
    postgres = PostgresServer(home / "temporal-postgres", durable=False, port=int(ports["postgres"]))
    async with postgres:
        services = compose(ENV)["services"]
        replaced = {
            services["api"]["environment"]["TENURE_DATABASE_URL"]: empty_database_url,
            ENV["TEMPORAL_POSTGRES_PASSWORD"]: postgres.password,
            # The embedded PostgreSQL lacks an extension (`worker/stack/temporal/schema.py`).
            "--schema-name postgresql/v12/visibility": f"--schema-dir {tool.visibility}",
            "/etc/tenure/dynamic.yaml": str(ROOT / "deploy" / "temporal-dynamic.yaml"),
            "temporal-postgres": "127.0.0.1",
            "5432": ports["postgres"],
            "temporal:7233": f"127.0.0.1:{ports['temporal']}",
            "smtp://mail:1025": f"smtp://127.0.0.1:{ports['smtp']}",
            "http://api:8400": f"http://127.0.0.1:{ports['api']}",
            "0.0.0.0": "127.0.0.1",
            "8400": ports["api"],
            "8401": ports["worker"],
            "8402": ports["operations"],
            "/catalog": str(ROOT / "catalog"),
        }
        yield Deployment(services, replaced, programs, tmp_path), ports


def temporal_ports(frontend: str) -> dict[str, str]:
    """Ports of Temporal's services, which have their own addresses in a container."""
    names = [f"{service.upper()}_{kind}_PORT" for service in SERVICES for kind in ("GRPC", "MEMBERSHIP")]
    chosen = dict(zip(names, map(str, free_ports(len(names))), strict=True))
    http = dict(zip(("FRONTEND_HTTP_PORT",), map(str, free_ports(1)), strict=True))
    return {**chosen, **http, "FRONTEND_GRPC_PORT": frontend}


@pytest.mark.slow  # Temporal's schema, its server, worker and API are started as deployed: 25 s of CPU
async def test_the_services_bring_a_message_from_an_empty_database_to_the_mail_sink(deployment, tmp_path):
    deployed, ports = deployment
    sink = [
        sys.executable,
        "-m",
        "worker.stack.mail_sink",
        "--maildir",
        str(tmp_path / "mail"),
        "--port",
        ports["smtp"],
    ]
    server = [str(SERVER.path), "--allow-no-auth", "start"]
    with ExitStack() as running:
        running.enter_context(deployed.running("mail", sink))
        deployed.run("temporal-schema")
        deployed.run("temporal-schema")  # a second `up` repeats it
        running.enter_context(deployed.running("temporal", server, **temporal_ports(ports["temporal"])))
        deployed.run("migrate")
        deployed.run("temporal-namespace")
        for name in ("worker", "api"):
            process = running.enter_context(deployed.running(name))
            deployed.wait_until_healthy(name, process)
        assert "published version 1 of the catalogue" in deployed.run("publish")
        assert "published already" in deployed.run("publish")
        send_and_wait(f"http://127.0.0.1:{ports['api']}", Maildir(tmp_path / "mail"))
        assert all("tenure_" in metrics_at(ports[name]) for name in ("worker", "operations"))
    assert not is_listening(int(ports["api"]))


def metrics_at(port: str) -> str:
    return httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text


def send_and_wait(url: str, mails: Maildir) -> None:
    """A user completes the set-up, and gets the mail of that step."""
    with httpx.Client(base_url=url, auth=(ENV["TENURE_WRITE_KEY"], ""), trust_env=False) as sender:
        for path, body in (
            ("identify", {"traits": {"email": "ada@example.com"}}),
            ("track", {"event": "Signed Up"}),
            ("track", {"event": "Setup Completed"}),
        ):
            sender.post(f"/v1/{path}", json={"userId": "ada", **body}).raise_for_status()
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while mails.count() == 0:
        assert time.monotonic() < deadline, "no mail has arrived"
        time.sleep(0.1)
