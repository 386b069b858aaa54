"""Only one module inserts rows into each of the tables events, outbox and tasks."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import store
from store.database import SqlStatement

ROOT = Path(__file__).resolve().parents[2]
WRITERS = {
    "events": "store.events.log",
    "outbox": "store.outbox.queue",
    "tasks": "store.tasks.opening",
}


@pytest.mark.parametrize("table", WRITERS)
def test_only_one_module_inserts_into(table: str) -> None:
    inserts = re.compile(rf"INSERT\s+INTO\s+{table}\b", re.IGNORECASE)
    built = {module for module, statement in _statements() if inserts.search(statement.text)}
    assert built == {WRITERS[table]}
    # No other code may insert either, also outside of statements made at module level.
    folders = ("activities", "api", "cli", "journeys", "store", "worker", "workflows")
    called = re.compile(rf"\binsert\((\w+\.)?{table}(_table)?\)")
    written = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        if inserts.search(text := path.read_text()) or called.search(text)
    }
    assert written == {WRITERS[table]}


def _statements() -> Iterator[tuple[str, SqlStatement]]:
    for module in pkgutil.walk_packages(store.__path__, "store."):
        if ".migrations" in module.name:
            continue
        for value in vars(importlib.import_module(module.name)).values():
            values = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else (value,)
            yield from ((module.name, item) for item in values if isinstance(item, SqlStatement))
