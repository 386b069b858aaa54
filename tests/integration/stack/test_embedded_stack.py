"""The embedded stack starts from nothing, restarts killed components, and leaves no process behind."""

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import asyncpg
import psutil
import pytest
from sqlalchemy import make_url
from temporalio.client import Client

from store.servers import create_database
from worker.settings import load_settings
from worker.stack.address_checks import StackError
from worker.stack.components import http_ok
from worker.stack.endpoints import read_endpoints
from worker.stack.free_ports import LOOPBACK, free_ports, is_listening
from worker.stack.ports import PortSettings
from worker.stack.postgres import PostgresServer
from worker.stack.process import ProcessFailedError
from worker.stack.supervisor import Stack
from worker.stack.temporal.server import TemporalServer

ROOT = Path(__file__).resolve().parents[3]
STAND_INS = {
    "migrate": ["tests.support.healthy_process"],
    "worker": ["tests.support.healthy_process", "TENURE_WORKER_PORT"],
    "api": ["tests.support.healthy_process", "TENURE_API_PORT"],
}

pytestmark = pytest.mark.usefixtures("clean_environment")


def quiet(_: str) -> None:
    pass


def stack_in(home: Path, ports: PortSettings | None = None, **given) -> Stack:
    return Stack(
        load_settings(home=home, api_port=0, worker_port=0, **given), ports=ports, modules=STAND_INS, say=quiet
    )


async def select(url: str, sql: str) -> object:
    parsed = make_url(url)
    connection = await asyncpg.connect(
        user=parsed.username, password=parsed.password, host=parsed.query["host"], database=parsed.database, timeout=10
    )
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def test_the_whole_stack_starts_from_nothing_and_publishes_its_endpoints(home):
    async with stack_in(home) as stack:
        endpoints = stack.endpoints
        assert read_endpoints(home) == endpoints
        assert await select(endpoints.database_url, "SELECT 42") == 42
        assert (await Client.connect(endpoints.temporal_address)).namespace == "default"
        assert await http_ok(f"{endpoints.api_url}/livez")
        assert set(endpoints.pids) == {"postgres", "temporal", "mail", "worker", "api"}
    assert not [pid for pid in endpoints.pids.values() if psutil.pid_exists(pid)], "all children are gone"
    assert read_endpoints(home) is None


async def test_children_get_the_addresses_in_their_environment(home):
    async with stack_in(home) as stack:
        environ = psutil.Process(stack.pid("api")).environ()
        assert environ["TENURE_DATABASE_URL"] == stack.endpoints.database_url
        assert environ["TENURE_TEMPORAL_ADDRESS"] == stack.endpoints.temporal_address
        assert environ["TENURE_SMTP_URL"] == stack.endpoints.smtp_url
        assert environ["TENURE_SMTP_LOOKUP"] == str(stack.endpoints.maildir)


@pytest.mark.parametrize("component", ["postgres", "temporal", "mail", "worker", "api"])
async def test_a_killed_component_restarts_at_the_same_address(home, component, servers):
    shared = {} if component == "postgres" else {"database_url": servers.postgres}
    shared |= {} if component == "temporal" else {"temporal_address": servers.temporal}
    async with stack_in(home, **shared) as stack:
        killed = await stack.kill(component)
        await stack.wait_ready(timeout=30)
        assert stack.pid(component) not in {killed, None}
        assert stack.restarts == {component: 1}
        assert read_endpoints(home).pids[component] == stack.pid(component)


async def test_a_component_can_be_kept_down_for_a_while(home, servers):
    async with stack_in(home, database_url=servers.postgres, temporal_address=servers.temporal) as stack:
        began = time.monotonic()
        await stack.kill("mail", down_for=1.0)
        assert not is_listening(make_url(stack.endpoints.smtp_url).port)
        await stack.wait_ready("mail")
        assert time.monotonic() - began > 1.0


async def test_a_component_whose_address_is_configured_is_not_started(home, servers):
    with socket.create_server(("127.0.0.1", 0)) as relay:
        smtp_url = f"smtp://127.0.0.1:{relay.getsockname()[1]}"
        given = {"database_url": servers.postgres, "temporal_address": servers.temporal, "smtp_url": smtp_url}
        async with stack_in(home, **given) as stack:
            assert set(stack.endpoints.pids) == {"worker", "api"}
            assert stack.endpoints.maildir is None
            assert stack.endpoints.smtp_url == smtp_url


@pytest.mark.parametrize(
    ("name", "address"), [("temporal_address", "127.0.0.1:9"), ("smtp_url", "smtp://me:secret@127.0.0.1:9")]
)
async def test_an_unreachable_address_is_reported_by_its_variable_without_a_password(home, servers, name, address):
    given = {"database_url": servers.postgres, "temporal_address": servers.temporal} | {name: address}
    with pytest.raises(StackError, match=f"TENURE_{name.upper()}=127.0.0.1:9 does not answer") as refused:
        await stack_in(home, **given).start()
    assert "secret" not in str(refused.value)


async def test_repeated_kills_do_not_slow_the_restart_of_a_component(home, servers):
    async with stack_in(home, database_url=servers.postgres, temporal_address=servers.temporal) as stack:
        for _ in range(6):
            await stack.kill("worker")
            await stack.wait_ready("worker", timeout=5)
        assert stack.restarts == {"worker": 6}


async def test_committed_data_survives_a_restart_of_the_stack(home, servers):
    async with stack_in(home, temporal_address=servers.temporal) as stack:
        await select(stack.endpoints.database_url, "CREATE TABLE kept AS SELECT 7 AS n")
    async with stack_in(home, temporal_address=servers.temporal) as stack:
        assert await select(stack.endpoints.database_url, "SELECT n FROM kept") == 7


async def test_a_taken_api_port_is_an_error_that_names_the_variable(home):
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(StackError, match=f"TENURE_API_PORT={port} is taken. Give it another port"):
            await Stack(load_settings(home=home, api_port=port), modules=STAND_INS, say=quiet).start()


async def test_a_component_that_cannot_start_stops_the_others_and_shows_its_log(home, servers):
    stack = Stack(
        load_settings(home=home, api_port=0, worker_port=0, temporal_address=servers.temporal),
        modules={**STAND_INS, "migrate": ["no_such_module"]},
        say=quiet,
    )
    with pytest.raises(ProcessFailedError, match="No module named no_such_module"):
        await stack.start()
    assert stack.pid("postgres") is None


def _up(home: Path, *options: str, **environ: str) -> subprocess.Popen[str]:
    code = (
        "import cli.commands.up, worker.stack.supervisor as s;"
        f"s.Stack.__init__.__kwdefaults__['modules'] = {STAND_INS!r};"
        "from cli.app import main; main()"
    )
    command = [sys.executable, "-c", code, "up", "--home", str(home), "--api-port", "0", *options]
    env = {**os.environ, **environ}
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _wait_for_endpoints(home, process):
    deadline = time.monotonic() + 150
    while read_endpoints(home) is None:
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_stop_everything_cleanly(home, stop, servers):
    with _up(home, TENURE_TEMPORAL_ADDRESS=servers.temporal, TENURE_DATABASE_URL=servers.postgres) as process:
        _wait_for_endpoints(home, process)
        pids = read_endpoints(home).pids
        process.send_signal(stop)
        output = process.communicate(timeout=90)[0]
    assert process.returncode == 0, output
    assert "Tenure is up" in output
    assert "dev-write-key" in output
    assert not [pid for pid in pids.values() if psutil.pid_exists(pid)]


def test_a_second_up_in_the_same_home_fails_and_changes_nothing(home, servers):
    shared = {"TENURE_TEMPORAL_ADDRESS": servers.temporal, "TENURE_DATABASE_URL": servers.postgres}
    with _up(home, **shared) as first:
        _wait_for_endpoints(home, first)
        before = read_endpoints(home)
        with _up(home, **shared) as second:
            output = second.communicate(timeout=90)[0]
        assert second.returncode == 1
        assert "A stack already runs in" in output
        assert read_endpoints(home) == before
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=90)


def test_up_after_a_killed_supervisor_ends_the_orphans_and_starts(home, servers):
    shared = {"TENURE_TEMPORAL_ADDRESS": servers.temporal}
    with _up(home, **shared) as first:
        _wait_for_endpoints(home, first)
        orphans = read_endpoints(home).pids
        first.kill()
    (home / "endpoints.json").unlink()
    with _up(home, **shared) as second:
        _wait_for_endpoints(home, second)
        assert not set(orphans.values()) & set(read_endpoints(home).pids.values())
        assert not [pid for pid in orphans.values() if psutil.pid_exists(pid)]
        second.send_signal(signal.SIGINT)
        second.communicate(timeout=90)


@pytest.fixture
def private_home(home: Path) -> Path:
    """The home as the supervisor makes it before it starts a server."""
    home.mkdir(mode=0o700)
    return home


async def test_postgresql_works_in_a_home_with_spaces_and_a_path_too_long_for_a_socket(private_home):
    deep = private_home.joinpath(*["a long folder name"] * 8)
    async with PostgresServer(deep / "postgres", durable=False) as server:
        url = await server.create_database("tenure")
        assert len(str(server.data)) > 107
        assert await select(url, "SELECT current_database()") == "tenure"


def refused(url: str, password: str | None) -> str:
    """Why a connection with this password is refused."""
    parsed = make_url(url)

    async def connect() -> None:
        await asyncpg.connect(user=parsed.username, password=password, host=parsed.query["host"], database="postgres")

    with pytest.raises(asyncpg.PostgresError) as error:
        asyncio.run(connect())
    return type(error.value).__name__


async def test_postgresql_asks_for_its_password_and_keeps_it_over_a_restart(private_home):
    for _ in range(2):
        async with PostgresServer(private_home / "postgres", durable=False) as server:
            password = make_url(server.url()).password
            assert password == (private_home / "postgres.password").read_text()
            assert stat.S_IMODE((private_home / "postgres.password").stat().st_mode) == 0o600
            for wrong in ("", "postgres", password[:-1]):
                assert await asyncio.to_thread(refused, server.url(), wrong) == "InvalidPasswordError"
            assert await select(server.url("postgres"), "SELECT 1") == 1
            assert not [process for process in psutil.Process(server.pid).cmdline() if password in process]


async def test_a_data_folder_of_before_gets_a_password_and_keeps_its_data(private_home):
    async with PostgresServer(private_home / "postgres", durable=False) as server:
        await select(server.url("postgres"), "CREATE TABLE kept AS SELECT 7 AS n")
    (private_home / "postgres.password").unlink()
    (private_home / "postgres" / "pg_hba.conf").write_text("local all all trust\n")
    async with PostgresServer(private_home / "postgres", durable=False) as server:
        assert await asyncio.to_thread(refused, server.url(), "anything") == "InvalidPasswordError"
        assert await select(server.url("postgres"), "SELECT n FROM kept") == 7


@pytest.fixture
def short_folder():
    """A folder whose path leaves room for a socket's name, which the system limits to 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="tenure-", dir="/tmp") as folder:
        yield Path(folder)


async def test_a_socket_elsewhere_is_in_a_folder_for_the_server_only_and_nobody_can_wait_there(
    private_home, monkeypatch, tmp_path, short_folder
):
    shared = short_folder
    monkeypatch.setattr(tempfile, "tempdir", str(shared))
    if os.getuid() == 0:
        shared.chmod(0o777)
    deep = private_home.joinpath(*["a long folder name"] * 8)
    async with PostgresServer(deep / "postgres", durable=False) as server:
        expected = server.socket_folder
        assert expected.parent == shared
        assert stat.S_IMODE(expected.stat().st_mode) == 0o700
        assert await select(server.url("postgres"), "SELECT 1") == 1
    assert not expected.exists()
    trap = tmp_path / "trap"
    trap.mkdir()
    for squatter in (lambda: expected.symlink_to(trap), lambda: (expected.mkdir(), expected.chmod(0o777))):
        squatter()
        async with PostgresServer(deep / "postgres", durable=False) as server:
            assert server.socket_folder != expected
            assert stat.S_IMODE(server.socket_folder.stat().st_mode) == 0o700
        assert list(trap.iterdir()) == []
        expected.unlink() if expected.is_symlink() else expected.rmdir()


async def test_a_database_is_cloned_from_a_template_with_its_content(servers, empty_database_url):
    await select(empty_database_url, "CREATE TABLE seed AS SELECT 3 AS n")
    template = make_url(empty_database_url).database
    await create_database(servers.postgres, f"{template}_clone", template)
    clone = make_url(servers.postgres).set(database=f"{template}_clone").render_as_string(hide_password=False)
    assert await select(clone, "SELECT n FROM seed") == 3
    await select(servers.postgres, f"DROP DATABASE {template}_clone")


async def test_temporal_keeps_its_runs_after_a_kill(tmp_path):
    async with TemporalServer(tmp_path / "temporal", say=quiet) as server:
        client = await Client.connect(server.address)
        started = await client.start_workflow("Anything", id="kept", task_queue="nobody-listens")
        server.kill()
        await server.process.wait()
        await server.start()
        again = await (await Client.connect(server.address)).get_workflow_handle("kept").describe()
    assert again.run_id == started.first_execution_run_id


async def test_temporal_chooses_other_ports_when_a_chosen_one_is_taken(tmp_path):
    chosen = []

    def choose(count):
        chosen.append(free_ports(count))
        return chosen[-1] if len(chosen) > 1 else [*chosen[-1][:-1], squatter.getsockname()[1]]

    with socket.create_server((LOOPBACK, 0)) as squatter:
        async with TemporalServer(tmp_path / "temporal", say=quiet, choose=choose) as server:
            assert server.address == f"{LOOPBACK}:{chosen[1][0]}"


async def test_a_configured_temporal_port_that_is_taken_is_refused_at_once(home):
    with socket.create_server((LOOPBACK, 0)) as squatter:
        port = squatter.getsockname()[1]
        with pytest.raises(StackError, match=f"TENURE_TEMPORAL_PORT={port} is taken"):
            await stack_in(home, ports=PortSettings(temporal_port=port)).start()
