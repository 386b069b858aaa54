"""`journeys/` decides the same on any day and machine: it reads no clock, chance, environment or network."""

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
"""Of the standard library: what gives a decision another outcome on another day or machine, or does something."""
CLOCK_READS = {"astimezone", "fromtimestamp", "now", "today", "utcfromtimestamp", "utcnow"}
"""Methods of `datetime` and `date` that ask the machine; `astimezone` and `fromtimestamp` do without a zone."""
WITH_A_ZONE = {"astimezone", "fromtimestamp"}
BUILT_IN = {"__import__", "breakpoint", "eval", "exec", "id", "input", "open", "print"}
"""Functions that need no import."""


def impurities(source: str) -> set[str]:
    """What a module reads or does beyond its arguments, as it is written there."""
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
    """`urllib.request` and everything in it, `os` and everything in it; not `urllib.parse`."""
    parts = name.split(".")
    return any(".".join(parts[:count]) in IMPURE_MODULES for count in range(1, len(parts) + 1))


def _journeys() -> list[Path]:
    return sorted((ROOT / "journeys").rglob("*.py"))


def test_the_modules_of_journeys_are_found():
    assert len(_journeys()) > 80


def test_journeys_read_no_clock_chance_environment_or_network():
    assert {path: found for path in _journeys() if (found := impurities(path.read_text("utf-8")))} == {}


def test_journeys_import_nothing_but_the_standard_library_and_what_checks_or_computes():
    tops = {path: {name.partition(".")[0] for name in _imported(path)} for path in _journeys()}
    assert {path: names - MAY_IMPORT for path, names in tops.items() if names - MAY_IMPORT} == {}


def _imported(module: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: imports are absolute"
            yield node.module or ""


@pytest.mark.parametrize(
    ("source", "found"),
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
def test_what_would_make_a_decision_depend_on_the_machine_is_found(source, found):
    assert found in impurities(source)


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
def test_what_depends_on_its_arguments_alone_is_no_fault(source):
    assert impurities(source) == set()
