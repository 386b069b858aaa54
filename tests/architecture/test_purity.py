"""`journeys/` is deterministic: it reads no clock, random number, environment or network."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAY_IMPORT = {
    *sys.stdlib_module_names,
    "cel_expr_python",
    "holidays",
    "journeys",
    "phonenumbers",
    "pydantic",
    "pydantic_core",
    "yaml",
}
IMPURE_MODULES = {
    "asyncio",
    "getpass",
    "http",
    "locale",
    "multiprocessing",
    "os",
    "pathlib",
    "platform",
    "random",
    "secrets",
    "shutil",
    "signal",
    "socket",
    "sqlite3",
    "ssl",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
    "time",
    "urllib.request",
    "uuid",
}
"""Modules of the standard library with side effects or with results that depend on the day or the machine."""
CLOCK_READS = {"astimezone", "fromtimestamp", "now", "today", "utcfromtimestamp", "utcnow"}
"""Methods of `datetime` and `date` that read the machine's clock or zone."""
WITH_A_ZONE = {"astimezone", "fromtimestamp"}
"""Those of `CLOCK_READS` that are pure when a zone is given."""
BUILT_IN = {"__import__", "breakpoint", "eval", "exec", "id", "input", "open", "print"}
"""Impure built-in functions."""


def impurities(source: str) -> set[str]:
    """Impure imports, calls and attributes of a module, as they are written in it."""
    return set(_impurities(ast.parse(source)))


def _impurities(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names if _is_impure(alias.name))
            case ast.ImportFrom(module=str(module), names=names, level=0):
                imported = {module, *(f"{module}.{alias.name}" for alias in names)}
                yield from sorted(name for name in imported if _is_impure(name))
            case ast.Call(func=ast.Attribute(attr=name), args=args, keywords=keywords) if name in CLOCK_READS:
                zones = len(args) + len(keywords) - (name == "fromtimestamp")
                if name not in WITH_A_ZONE or not zones:
                    yield f".{name}("
            case ast.Attribute(attr="environ" | "getenv" as name):
                yield f".{name}"
            case ast.Call(func=ast.Name(id=name)) if name in BUILT_IN:
                yield f"{name}("
            case _:
                pass


def _is_impure(name: str) -> bool:
    """True for `os`, `os.path` and `urllib.request`; false for `urllib.parse`."""
    parts = name.split(".")
    return any(".".join(parts[:count]) in IMPURE_MODULES for count in range(1, len(parts) + 1))


def _journeys() -> list[Path]:
    return sorted((ROOT / "journeys").rglob("*.py"))


def test_the_modules_of_journeys_are_found():
    assert len(_journeys()) > 80


def test_journeys_read_no_clock_random_number_environment_or_network():
    assert {path: names for path in _journeys() if (names := impurities(path.read_text("utf-8")))} == {}


def test_journeys_import_only_the_standard_library_and_allowed_packages():
    packages = {path: {name.partition(".")[0] for name in _imported(path)} for path in _journeys()}
    assert {path: names - MAY_IMPORT for path, names in packages.items() if names - MAY_IMPORT} == {}


def _imported(module: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: imports are absolute"
            yield node.module or ""


@pytest.mark.parametrize(
    ("source", "impurity"),
    [
        ("at = datetime.now(UTC)", ".now("),
        ("at = datetime.datetime.now()", ".now("),
        ("at = clock.now()", ".now("),
        ("day = date.today()", ".today("),
        ("at = datetime.utcnow()", ".utcnow("),
        ("at = datetime.fromtimestamp(seconds)", ".fromtimestamp("),
        ("at = at.astimezone()", ".astimezone("),
        ("import time", "time"),
        ("from time import monotonic", "time"),
        ("def late():\n    import time as t\n    return t.time()", "time"),
        ("import uuid", "uuid"),
        ("from uuid import uuid4", "uuid"),
        ("import random", "random"),
        ("from random import Random", "random"),
        ("import secrets", "secrets"),
        ("import os", "os"),
        ("import os.path", "os.path"),
        ("home = os.environ['HOME']", ".environ"),
        ("home = os.getenv('HOME')", ".getenv"),
        ("import urllib.request", "urllib.request"),
        ("from urllib import request", "urllib.request"),
        ("from pathlib import Path", "pathlib"),
        ("text = open('policy.yaml').read()", "open("),
    ],
)
def test_code_that_depends_on_the_machine_is_detected(source, impurity):
    assert impurity in impurities(source)


@pytest.mark.parametrize(
    "source",
    [
        "at = occurrence.at.astimezone(zone)",
        "at = datetime.fromtimestamp(seconds, UTC)",
        "from datetime import datetime\nat = datetime.fromisoformat(text)",
        "from urllib.parse import urlsplit",
        "now = request.now",
    ],
)
def test_code_that_depends_only_on_its_arguments_is_accepted(source):
    assert impurities(source) == set()
