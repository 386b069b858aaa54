"""Sizes of packages, modules and functions; the docstring of every package."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("activities", "api", "benchmarks", "cli", "journeys", "store", "worker", "workflows")
MODULES_OF_A_PACKAGE = 15
LINES = 250
"""The goal. `LONG` names the modules over it and why; nothing may have more than `MAX_LINES`."""
MAX_LINES = 300
FUNCTION_LINES = 60
LONG: dict[str, str] = {}
"""Modules of more than 250 lines, each with the reason why it is not split."""


def _packages() -> list[Path]:
    """Every folder with Python files; migrations are loaded by path and are not a package."""
    folders = {path.parent for name in FOLDERS for path in (ROOT / name).rglob("*.py")}
    return sorted(folder for folder in folders if "migrations" not in folder.parts)


def _modules() -> Iterator[Path]:
    return (path for package in _packages() for path in sorted(package.glob("*.py")))


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _lines(path: Path) -> int:
    return len(path.read_text("utf-8").splitlines())


def test_the_packages_and_modules_are_found():
    assert len(_packages()) > 50
    assert sum(1 for _ in _modules()) > 300


@pytest.mark.parametrize("package", [_name(package) for package in _packages()])
def test_a_package_has_a_docstring_and_at_most_fifteen_modules(package):
    folder = ROOT / package
    modules = [path for path in folder.glob("*.py") if path.name not in {"__init__.py", "__main__.py"}]
    assert len(modules) <= MODULES_OF_A_PACKAGE
    assert (folder / "__init__.py").is_file()
    assert (ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8"))) or "").rstrip().endswith(".")


def test_no_module_exceeds_the_limit_and_only_listed_ones_exceed_the_goal():
    long = {_name(path): _lines(path) for path in _modules() if _lines(path) > LINES}
    assert {name: lines for name, lines in long.items() if name not in LONG or lines > MAX_LINES} == {}


def test_every_listed_module_still_exceeds_the_goal():
    assert all(_lines(ROOT / name) > LINES for name in LONG)


def _functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            yield node.name, node.end_lineno - node.lineno + 1


def test_no_function_has_more_than_sixty_lines():
    long = {f"{_name(path)}:{name}": lines for path in _modules() for name, lines in _functions(path)}
    assert {name: lines for name, lines in long.items() if lines > FUNCTION_LINES} == {}
