"""Import contracts, first lines and names of modules."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("activities", "api", "cli", "journeys", "store", "worker", "workflows")


def test_import_linter_finds_no_broken_contract():
    linter = Path(sys.executable).parent / "lint-imports"
    linted = subprocess.run([linter, "--no-logo"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert linted.returncode == 0, linted.stdout


def _modules() -> list[Path]:
    modules = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
    assert len(modules) > 350, "the folders have moved"
    return modules


def test_every_module_has_a_docstring():
    undocumented = [path for path in _modules() if path.read_text().strip() and not _docstring(path)]
    assert not undocumented


def _docstring(module: Path) -> str | None:
    return ast.get_docstring(ast.parse(module.read_text()))


def test_no_module_has_a_catch_all_name():
    catch_all_names = {"utils", "helpers", "common", "manager", "service", "shared", "misc"}
    assert not [path for path in _modules() if path.stem in catch_all_names]
