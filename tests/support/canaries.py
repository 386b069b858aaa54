"""Canaries of the test suite: data of people and keys that no log and no metric may have, and private files.

The folder of a test run has the logs and metrics of every process and every application that its tests start.
"""

from __future__ import annotations

import json
import logging
import os
import re
import stat
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from sqlalchemy import make_url

from worker.logs.configuration import configure_logging

RUN_FOLDER: Final = "TENURE_TEST_RUN"
"""The environment variable that names the folder of a run."""
SECRETS: Final[Mapping[str, str]] = {
    "write_key": "canary-write-key-0123456789abcdef",
    "operator_key": "canary-operator-key-0123456789abc",
    "link_keys": "canary-link-key-0123456789abcdefghij",
    "address_keys": "canary-address-key-0123456789abcdef",
}
"""Settings of a stack with canaries."""
PERSONAL: Final[Mapping[str, str]] = {
    "address": "canary.lovelace@example.com",
    "name": "Canarina",
    "phone": "+4915155501234",
    "user": "canary-user-4711",
    "ticket": "the canary sings a secret song",
    "reply": "please tell the canary nothing",
    "wrong key": "canary-wrong-key-of-a-stranger",
}
"""A person who writes, is written to, and opens tickets in that stack."""
KEYS_OF_TESTS: Final[Mapping[str, str]] = {"write key": "write-key-of-tests", "operator key": "operator-key-of-tests"}
"""The keys of every application in `tests/support/api.py`."""
_PATTERNS: Final[Mapping[str, re.Pattern[bytes]]] = {
    "a mail address": re.compile(
        rb"[\w.+-]{1,64}@(?!v\d)[\w-]{1,63}(?:\.[\w-]{1,63}){0,8}\.[a-z]{2,20}\b", re.IGNORECASE
    ),
    "a phone number": re.compile(rb"(?<![\d:.])\+\d{9,15}\b"),
    "an API key": re.compile(rb"tenure_[pso]k_[\w-]{20,}"),
}
"""Whatever a test calls its people: no log has an address of anybody."""
_LOGS: Final = (".log", ".prom")
_MADE_BY_TESTS: Final = frozenset({"a long folder name", "catalog", "deaths"})
"""Folders in a stack's home that tests make, not the product."""


def leaks_in(folder: Path) -> list[str]:
    """Each log or file of metrics below a run's folder with a canary: which canary, and where."""
    wanted = {**SECRETS, **PERSONAL, **KEYS_OF_TESTS, **_passwords(folder)}
    exact = {name: value.lower().encode() for name, value in wanted.items()}
    leaks = []
    for path in sorted(path for path in folder.rglob("*") if path.suffix in _LOGS and path.is_file()):
        content = path.read_bytes()
        lowered = content.lower()
        places = {name: lowered.find(value) for name, value in exact.items() if value in lowered}
        places |= {name: match.start() for name, pattern in _PATTERNS.items() if (match := pattern.search(content))}
        lines = {name: content[:at].count(b"\n") + 1 for name, at in places.items()}
        leaks += [f"{name} is in {path.relative_to(folder)}, line {line}" for name, line in lines.items()]
    return leaks


def _passwords(folder: Path) -> dict[str, str]:
    """The password of each PostgreSQL server below a run's folder."""
    servers = folder / "servers.json"
    if not servers.exists():
        return {}
    password = make_url(json.loads(servers.read_text())["postgres"]).password
    return {"database password": str(password)} if password else {}


def readable_by_others(home: Path) -> Iterator[tuple[str, str]]:
    """Files and folders of a stack that another user of the machine can open.

    As root PostgreSQL's user passes the home itself; what is in its own folder only it can reach.
    """
    for folder, folders, files in os.walk(home):
        for path in [Path(folder) / name for name in (*folders, *files)]:
            if path.is_socket() or path.is_symlink() or "postgres" in path.relative_to(home).parts[:1]:
                continue
            mode = path.stat().st_mode
            if mode & 0o077 and not _is_behind_a_private_folder(path, home):
                yield str(path.relative_to(home)), stat.filemode(mode)
    for path, others in ((home, 0o066), (home / "postgres", 0o077)):
        if path.exists() and path.stat().st_mode & others:
            yield str(path.relative_to(home)), stat.filemode(path.stat().st_mode)


def _is_behind_a_private_folder(path: Path, home: Path) -> bool:
    above = [folder for folder in path.parents if folder.is_relative_to(home) and folder != home]
    return any(not folder.stat().st_mode & 0o077 for folder in above)


def faults_of_run(folder: Path) -> list[str]:
    """Canaries in a run's logs and metrics, and files of its stacks that others can read."""
    open_files = [
        f"{home.name}/{name} is open to others: {mode}"
        for home in sorted(folder.glob("home-*"))
        if home.is_dir()
        for name, mode in readable_by_others(home)
        if name.partition("/")[0] not in _MADE_BY_TESTS
    ]
    return [*leaks_in(folder), *open_files]


def log_as_in_production(file: Path) -> None:
    """Log to a file as the product's processes do, so that the logs of code under test are searched too."""
    hook, raises = sys.excepthook, logging.raiseExceptions
    configure_logging("json")
    sys.excepthook, logging.raiseExceptions = hook, raises
    (handler,) = logging.getLogger().handlers
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(file.open("a", encoding="utf-8"))


def keep_metrics(text: bytes) -> None:
    """Keep an application's metrics until the end of the run, for the search."""
    folder = Path(os.environ.get(RUN_FOLDER, "nowhere"))
    if folder.is_dir():
        (folder / f"metrics-{uuid.uuid4().hex}.prom").write_bytes(text)
