"""`journeys/` and `workflows/` are deterministic: they read no clock, random number, environment or network.

The worker imports them once for all runs, past the sandbox (record 0028).
"""

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
    "babel",
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
OF_WORKFLOWS = {"asyncio", "workflow.now("}
"""Temporal makes these deterministic in a workflow: its own event loop, and the clock of the history."""
MUTABLE = {"Counter", "OrderedDict", "bytearray", "defaultdict", "deque", "dict", "list", "set"}
"""Functions that make a value which runs would share, if a module or a class keeps it."""


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
            case ast.Call(func=ast.Attribute(value=ast.Name("workflow"), attr="now")):
                yield "workflow.now("
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


def shared_state(source: str) -> set[str]:
    """Mutable values that a module or a class keeps for all runs, and `global` statements, by line."""
    tree = ast.parse(source)
    bodies = [tree.body, *(node.body for node in ast.walk(tree) if isinstance(node, ast.ClassDef))]
    kept = [node for body in bodies for node in body if isinstance(node, ast.Assign | ast.AnnAssign)]
    faults: list[ast.stmt] = [node for node in kept if node.value is not None and _is_mutable(node.value)]
    faults += [node for node in ast.walk(tree) if isinstance(node, ast.Global)]
    return {f"{node.lineno}: {ast.unparse(node)}" for node in faults}


def _is_mutable(value: ast.expr) -> bool:
    match value:
        case ast.List() | ast.Dict() | ast.Set() | ast.ListComp() | ast.DictComp() | ast.SetComp():
            return True
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
            return name in MUTABLE
        case _:
            return False


def _journeys() -> list[Path]:
    return sorted((ROOT / "journeys").rglob("*.py"))


def _workflows() -> list[Path]:
    return sorted((ROOT / "workflows").rglob("*.py"))


def test_the_modules_of_journeys_are_found():
    assert len(_journeys()) > 80


def test_journeys_read_no_clock_random_number_environment_or_network():
    assert {path: names for path in _journeys() if (names := impurities(path.read_text("utf-8")))} == {}


def test_workflows_read_the_clock_and_wait_only_through_temporal():
    assert len(_workflows()) > 8
    impure = {path: impurities(path.read_text("utf-8")) - OF_WORKFLOWS for path in _workflows()}
    assert {path: names for path, names in impure.items() if names} == {}


def test_workflows_share_no_state_between_runs():
    assert {path: state for path in _workflows() if (state := shared_state(path.read_text("utf-8")))} == {}


@pytest.mark.parametrize(
    "source",
    [
        "seen = {}",
        "seen: set[str] = set()",
        "seen = collections.deque()",
        "class Run:\n    seen: list[str] = []",
        "def note():\n    global seen\n    seen = 1",
    ],
)
def test_state_that_runs_would_share_is_detected(source):
    assert len(shared_state(source)) == 1


def test_values_of_a_run_and_constants_are_not_shared_state():
    constant = "LONGEST: Final = timedelta(days=1)\nNAMES = ('a', 'b')"
    assert shared_state(f"{constant}\nclass Run:\n    def __init__(self):\n        self.seen = []") == set()


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
        ("at = workflow.now()", "workflow.now("),
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
