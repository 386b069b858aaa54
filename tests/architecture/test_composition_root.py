"""Only worker/composition makes databases, clients and channels from settings."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("activities", "api", "benchmarks", "cli", "store", "worker", "workflows")
COMPOSITION = ROOT / "worker" / "composition"
MADE = {"Database", "HttpClient", "OutboxRelay", "Reconciler", "Client.connect"}
"""Classes that only the composition root instantiates, beside every class whose name ends in `Channel`."""
EXCEPTIONS = {
    "activities/channels/allow_list.py": "wraps channels that the composition root has made",
    "benchmarks/contenders/handwritten_worker.py": "a contender: plain Temporal, without our data converter",
    "benchmarks/scale.py": "measures the store alone, without a process of ours",
    "benchmarks/stack/rig.py": "a contender's client: plain Temporal, without our data converter",
    "worker/temporal_namespace.py": "waits for a server and registers the namespace, before any process of ours",
}


def _calls(module: Path) -> set[str]:
    """Names that are called: `Database(…)` as `Database`, `Client.connect(…)` also as `Client.connect`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name):
            names.add(node.func.id)
        elif isinstance(node.func, ast.Attribute):
            names.add(node.func.attr)
            if isinstance(node.func.value, ast.Name):
                names.add(f"{node.func.value.id}.{node.func.attr}")
    return names


def _made_by(module: Path) -> set[str]:
    return {name for name in _calls(module) if name in MADE or (name.endswith("Channel") and name[0].isupper())}


@cache
def _makers(*, outside: bool) -> dict[str, set[str]]:
    modules = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    made = {
        path.relative_to(ROOT).as_posix(): _made_by(path)
        for path in modules
        if path.is_relative_to(COMPOSITION) is not outside
    }
    return {path: names for path, names in made.items() if names}


def test_only_the_composition_root_makes_databases_clients_and_channels():
    assert {path: names for path, names in _makers(outside=True).items() if path not in EXCEPTIONS} == {}


def test_every_exception_still_makes_something():
    assert set(EXCEPTIONS) <= set(_makers(outside=True))


def test_the_composition_root_makes_every_class_that_is_reserved_for_it():
    made = set().union(*_makers(outside=False).values())
    assert made >= MADE
    assert {"EmailChannel", "InAppChannel", "ResendChannel", "TwilioChannel"} <= made
