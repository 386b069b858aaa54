"""Fixtures of all tiers: one PostgreSQL and one Temporal server per run, a fresh database per test."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import fasteners
import psutil
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings
from temporalio.client import Client

from activities.outgoing.client import HttpClient
from store.database import Database
from tests.support.canaries import RUN_FOLDER, faults_of_run, log_as_in_production
from tests.support.databases import Databases, databases_on
from tests.support.databases import databases_of_own_server as own_databases
from worker.stack.ports import PortSettings
from worker.stack.providers.serving import LocalProvider, local_provider

ROOT = Path(__file__).resolve().parents[1]
ALONE = "pytest.mark.alone"
PORTS = [f"TENURE_{name.upper()}" for name in PortSettings.model_fields]
MAX_WORKERS = 8
"""All workers together share the 250 connections of PostgreSQL."""


@dataclass(frozen=True)
class Servers:
    """Where the run's servers are. `postgres` is the URL of its maintenance database."""

    postgres: str
    temporal: str


# No property fails because its examples are slow to make or to run: the machine may be busy.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # the controller; xdist's workers inherit its environment
        os.environ[RUN_FOLDER] = tempfile.mkdtemp(prefix="tenure-test-")
        os.environ["TENURE_TEST_OWNER"] = str(os.getpid())
        # The allow-list has everybody: the settings do not recognise the relay of a test as a sink.
        os.environ["TENURE_ALLOWED_RECIPIENTS"] = "*"
        # Stacks of tests run side by side, and beside one that a person uses.
        os.environ.update(dict.fromkeys(PORTS, "0"))
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    log_as_in_production(Path(os.environ[RUN_FOLDER]) / f"tests-{worker}.log")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Search the run's logs and metrics for canaries, and its stacks for open files; a finding fails the run."""
    if hasattr(session.config, "workerinput"):
        return
    faults = faults_of_run(Path(os.environ[RUN_FOLDER]))
    if faults:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        text = "\n".join(["", "The run has told what no log may tell, or left files open to others:", *faults, ""])
        session.config.get_terminal_writer().write(text, red=True)


def pytest_xdist_auto_num_workers() -> int:
    """One worker more than processors, for `-n auto`: tests wait for servers and processes more than they compute."""
    return min((os.cpu_count() or 1) + 1, MAX_WORKERS)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """For `-m alone` and `-m 'alone and …'`, ignore files without such a test: importing all files takes longer than some tests."""
    if config.option.markexpr.startswith("alone") and collection_path.suffix == ".py":
        return ALONE not in collection_path.read_text("utf-8") or None
    return None


def pytest_unconfigure(config: pytest.Config) -> None:
    if "temporalio.bridge.temporal_sdk_bridge" in sys.modules:
        # A client freed while the interpreter ends may abort it (temporalio/sdk-python#300).
        gc.collect()
        time.sleep(0.3)
    if not hasattr(config, "workerinput"):
        folder = Path(os.environ.pop(RUN_FOLDER))
        _end_servers(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _end_servers(folder: Path) -> None:
    pid_file = folder / "servers.pid"
    if not pid_file.exists():
        return
    try:
        process = psutil.Process(int(pid_file.read_text()))
        process.send_signal(signal.SIGTERM)
        process.wait(20)
    except psutil.NoSuchProcess:
        return


@pytest.fixture(scope="session")
def run_folder() -> Path:
    """A folder of this test run, shared by all its xdist workers."""
    return Path(os.environ[RUN_FOLDER])


@pytest.fixture
def home(run_folder: Path) -> Path:
    """A TENURE_HOME for one test. Not in `tmp_path`: under root PostgreSQL is another user, who has no access there."""
    return run_folder / f"home-{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="session")
def servers(run_folder: Path) -> Servers:
    """The run's servers, started by the first worker that needs them."""
    with fasteners.InterProcessLock(run_folder / "servers.lock"):
        if not (run_folder / "servers.json").exists():
            _start_servers(run_folder)
    return Servers(**json.loads((run_folder / "servers.json").read_text()))


def _start_servers(folder: Path) -> None:
    log = folder / "servers.log"
    command = [sys.executable, "-m", "tests.support.servers", str(folder), os.environ["TENURE_TEST_OWNER"]]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output, start_new_session=True)
    (folder / "servers.pid").write_text(str(process.pid))
    while not (folder / "servers.json").exists():
        if process.poll() is not None:
            pytest.exit(f"the test servers did not start:\n{log.read_text()}", returncode=3)
        time.sleep(0.05)
    # The process ends with the run. Without a return code the object would warn when it is garbage-collected before.
    process.returncode = 0


@pytest.fixture(scope="session")
def templates_parsed_once() -> Iterator[None]:
    """Template files are parsed once in a process, and again only when one has changed."""
    from tests.support.parsed_templates import templates_parsed_once  # noqa: PLC0415 — start-up time

    with templates_parsed_once():
        yield


@pytest.fixture(scope="session", autouse=True)
def processes_forked() -> Iterator[None]:
    """Worker and API of a stack are forked from a process that has imported them."""
    from tests.support.forked import processes_forked  # noqa: PLC0415 — start-up time

    with processes_forked():
        yield


@pytest_asyncio.fixture(scope="session")
async def databases(servers: Servers, run_folder: Path, templates_parsed_once: None) -> AsyncIterator[Databases]:
    async with databases_on(servers.postgres, run_folder) as opened:
        yield opened


@pytest_asyncio.fixture(scope="session")
async def databases_of_own_server(run_folder: Path, templates_parsed_once: None) -> AsyncIterator[Databases]:
    """Databases of a server of their own, for modules that wait for the oldest transaction of all of PostgreSQL."""
    async with own_databases(run_folder / f"postgres-{uuid.uuid4().hex[:8]}") as opened:
        yield opened


@pytest_asyncio.fixture
async def database_url(databases: Databases) -> AsyncIterator[str]:
    """A migrated database of this test alone."""
    async with databases.migrated() as url:
        yield url


@pytest_asyncio.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """The test's own database, as `store.database.Database`."""
    opened = Database(database_url)
    yield opened
    await opened.close()


@pytest_asyncio.fixture(scope="module")
async def module_database_url(databases: Databases) -> AsyncIterator[str]:
    """A migrated database that the tests of one module share."""
    async with databases.migrated() as url:
        yield url


@pytest_asyncio.fixture
async def empty_database_url(databases: Databases) -> AsyncIterator[str]:
    async with databases.empty() as url:
        yield url


@pytest_asyncio.fixture
async def local() -> AsyncIterator[LocalProvider]:
    """The local provider, which simulates all vendors."""
    async with local_provider() as provider:
        yield provider


@pytest_asyncio.fixture
async def http_client(local: LocalProvider) -> AsyncIterator[HttpClient]:
    """An HTTP client that may call the local provider."""
    client = HttpClient(frozenset({local.origin}))
    yield client
    await client.close()


@pytest.fixture(scope="session")
def temporal_address(servers: Servers) -> str:
    return servers.temporal


@pytest_asyncio.fixture(scope="session")
async def temporal_client(temporal_address: str) -> Client:
    return await Client.connect(temporal_address)


@pytest.fixture
def task_queue() -> str:
    """A task queue of this test alone, because all tests share one Temporal server."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the TENURE_ variables of the person who runs the tests."""
    remove_settings(monkeypatch)


def remove_settings(patch: pytest.MonkeyPatch) -> None:
    """Remove every TENURE_ variable but those of the run's folder and of ports."""
    for name in [name for name in os.environ if name.startswith("TENURE_") and name not in {RUN_FOLDER, *PORTS}]:
        patch.delenv(name)
