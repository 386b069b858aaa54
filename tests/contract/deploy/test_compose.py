"""`docker-compose.yml`: the commands of its services are run here without containers."""

import os
import re
import secrets
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from worker.settings import PREFIX, Settings
from worker.stack.free_ports import free_ports

ROOT = Path(__file__).resolve().parents[3]
OURS = ("migrate", "worker", "api")
KEYS = {f"TENURE_{name}": secrets.token_hex(16) for name in ("WRITE_KEY", "OPERATOR_KEY", "LINK_KEYS", "ADDRESS_KEYS")}
KEYS["TENURE_PAYLOAD_KEYS"] = f"2026-11={secrets.token_hex(16)}"


def compose(environ):
    """The file as Compose reads it: variables filled in, `$$` left alone. Raises KeyError for a required one."""

    def value(match):
        name, operator, rest = match["name"], match["operator"], match["rest"]
        if given := environ.get(name):
            return given
        if operator == ":-":
            return rest
        raise KeyError(f"{name}: {rest}")

    text = (ROOT / "docker-compose.yml").read_text()
    return yaml.safe_load(re.sub(r"\$\{(?P<name>\w+)(?P<operator>:[-?])(?P<rest>[^}]*)\}", value, text))


@pytest.fixture
def services():
    return compose(KEYS)["services"]


def test_the_compose_file_has_the_services_that_a_deployment_needs(services):
    assert set(services) == {"postgres", "temporal", "mail", *OURS}


def test_one_image_serves_migrate_worker_and_api(services):
    assert {(services[name]["image"], services[name]["build"]) for name in OURS} == {("tenure", ".")}


def test_every_long_running_service_has_a_health_check_and_restarts(services):
    for name, service in services.items():
        if name != "migrate":
            assert service["healthcheck"]["test"], name
            assert service["restart"] == "unless-stopped", name


PINNED = re.compile(r"[a-z/]+:[\w.-]+@sha256:[0-9a-f]{64}")


def test_every_image_is_pinned_by_tag_and_digest(services):
    images = {name: service["image"] for name, service in services.items() if name not in OURS}
    images |= {
        f"FROM {n}": name for n, name in enumerate(re.findall(r"(?m)^FROM (\S+)", (ROOT / "Dockerfile").read_text()))
    }
    assert len(images) == 5
    assert [name for name, image in images.items() if not PINNED.fullmatch(image)] == []


def test_uv_is_installed_by_the_hashes_of_its_files_only():
    requirement, *hashes = (ROOT / ".ci" / "uv.txt").read_text().replace("\\\n", "").splitlines()[1].split()
    assert re.fullmatch(r"uv==[\d.]+", requirement)
    assert len(hashes) > 10
    assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", item) for item in hashes)
    for file in ("Dockerfile", "Makefile"):
        installs = re.findall(r"pip install .*", (ROOT / file).read_text())
        assert installs
        assert all("--require-hashes -r" in line and "uv.txt" in line for line in installs)


def test_every_container_is_read_only_without_capabilities_and_limited(services):
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["mem_limit"], name
        assert service["pids_limit"], name
        assert any(mount.startswith("/tmp") for mount in service["tmpfs"]), name
        assert not service.get("privileged"), name
    assert {name for name, service in services.items() if "cap_add" in service} == {"postgres"}


def test_persistent_data_is_in_named_volumes(services):
    named = set(compose(KEYS)["volumes"])
    for name in ("postgres", "temporal", "mail"):
        (volume,) = services[name]["volumes"]
        assert volume.partition(":")[0] in named


def test_worker_and_api_start_after_the_migration_has_succeeded(services):
    for name in ("worker", "api"):
        assert services[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_ports_are_published_on_loopback_only(services):
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_every_variable_given_to_our_services_is_a_setting(services):
    for name in OURS:
        for variable in services[name]["environment"]:
            assert variable.removeprefix(PREFIX).lower() in Settings.model_fields


@pytest.mark.parametrize("missing", sorted(KEYS))
def test_compose_fails_without_each_secret_of_the_operator(missing):
    with pytest.raises(KeyError, match=missing):
        compose({name: key for name, key in KEYS.items() if name != missing})


def test_the_image_has_every_package_and_runs_as_an_unprivileged_user():
    dockerfile = (ROOT / "Dockerfile").read_text()
    for package in ("journeys", "store", "activities", "workflows", "api", "worker", "cli", "catalog"):
        assert f"COPY {package} {package}\n" in dockerfile
        assert f"!{package}\n" in (ROOT / ".dockerignore").read_text()
    assert "\nUSER tenure\n" in dockerfile


def _environment(service, replaced):
    """The service's environment; only addresses of other containers are replaced."""
    given = {name: str(value) for name, value in service.get("environment", {}).items()}
    clean = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**clean, **given, **{name: value for name, value in replaced.items() if name in given}, "PATH": path}


@contextmanager
def _running(service, environ, log):
    with log.open("wb") as output:
        process = subprocess.Popen(service["command"], cwd=ROOT, env=environ, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _wait_until_healthy(service, process, ports, log):
    _, *check = service["healthcheck"]["test"]
    for published, actual in ports.items():
        check = [part.replace(f":{published}/", f":{actual}/") for part in check]
    check[0] = sys.executable
    deadline = time.monotonic() + 150
    while subprocess.run(check, capture_output=True, check=False).returncode != 0:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.3)


def test_the_services_commands_migrate_become_healthy_and_drain(
    services, servers, empty_database_url, tmp_path, mail_sink
):
    ports = dict(zip(("8400", "8401"), map(str, free_ports(2)), strict=True))
    replaced = {
        "TENURE_DATABASE_URL": empty_database_url,
        "TENURE_TEMPORAL_ADDRESS": servers.temporal,
        "TENURE_SMTP_URL": mail_sink,
        "TENURE_API_PORT": ports["8400"],
        "TENURE_WORKER_PORT": ports["8401"],
    }
    migrate = services["migrate"]
    subprocess.run(migrate["command"], cwd=ROOT, env=_environment(migrate, replaced), check=True, timeout=60)
    for name in ("worker", "api"):
        service, log = services[name], tmp_path / f"{name}.log"
        with _running(service, _environment(service, replaced), log) as process:
            _wait_until_healthy(service, process, ports, log)
            process.send_signal(signal.SIGTERM)
            assert process.wait(40) == 0, log.read_text()


@pytest.fixture
def mail_sink(tmp_path):
    command = [sys.executable, "-m", "worker.stack.mail_sink", "--maildir", str(tmp_path / "mail")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        yield process.stdout.readline().split()[-1]
        process.terminate()
