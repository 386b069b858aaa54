"""One module writes the table `messages`; one module contains the prefix of a digest's key."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("activities", "api", "cli", "journeys", "store", "worker", "workflows")
LEDGER = ROOT / "store" / "messages" / "ledger.py"
DIGESTS = ROOT / "store" / "messages" / "digests.py"
_SQL = re.compile(r"\b(update|insert\s+into|delete\s+from|merge\s+into)\s+messages\b", re.IGNORECASE)
_PREFIX = re.compile(r"\bdigest/[%'\"]|\bdigest/$")


def modules_with(word: str) -> Iterator[Path]:
    """Modules of the product whose text has a word."""
    for folder in PRODUCT:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "migrations" not in path.parts and word in path.read_text():
                yield path


def writes_messages(source: str) -> bool:
    """Whether a module writes the ledger, in SQL text or in a Core statement."""
    return any(_writes(node) for node in ast.walk(ast.parse(source)))


def names_prefix(source: str) -> bool:
    """Whether a module has the prefix of a digest's key as a literal."""
    return any(
        isinstance(node, ast.Constant) and isinstance(node.value, str) and _PREFIX.search(node.value)
        for node in ast.walk(ast.parse(source))
    )


def _writes(node: ast.AST) -> bool:
    match node:
        case ast.Constant(value=str(text)):
            return bool(_SQL.search(text))
        case ast.Call(
            func=ast.Name(id="update" | "insert" | "delete") | ast.Attribute(attr="update" | "insert" | "delete")
        ):
            names = [*node.args, *([node.func.value] if isinstance(node.func, ast.Attribute) else [])]
            return any(isinstance(name, ast.Name) and name.id == "messages" for name in names)
        case _:
            return False


def test_only_the_ledger_writes_messages():
    modules = list(modules_with("messages"))
    assert len(modules) > 50, "the folders have moved"
    assert [path for path in modules if writes_messages(path.read_text())] == [LEDGER]


@pytest.mark.parametrize(
    "source",
    [
        "X = sql('UPDATE messages SET due_at = :at')",
        "X = sql(f'''WITH m AS (\n  insert into messages (key) VALUES ({x}))''')",
        "X = sql(update(messages).where(messages.c.key == 'k'))",
        "X = sql(postgresql.insert(messages).values(key='k'))",
        "X = messages.delete()",
    ],
)
def test_every_way_to_write_messages_is_detected(source: str) -> None:
    assert writes_messages(source)


def test_only_one_module_contains_the_prefix_of_a_digests_key():
    assert [path for path in modules_with("digest/") if names_prefix(path.read_text())] == [DIGESTS]
