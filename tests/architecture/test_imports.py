"""Import contracts, first lines and names of modules."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("activities", "api", "cli", "journeys", "store", "worker", "workflows")


def test_every_contract_of_import_linter_is_kept():
    linter = Path(sys.executable).parent / "lint-imports"
    checked = subprocess.run([linter, "--no-logo"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def _modules() -> list[Path]:
    modules = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
    assert len(modules) > 350, "the folders have moved"
    return modules


def test_every_module_says_its_rule_in_its_first_line():
    silent = [path for path in _modules() if path.read_text().strip() and not _docstring(path)]
    assert not silent


def _docstring(module: Path) -> str | None:
    return ast.get_docstring(ast.parse(module.read_text()))


def test_no_module_is_a_drawer_for_everything():
    drawers = {"utils", "helpers", "common", "manager", "service", "shared", "misc"}
    assert not [path for path in _modules() if path.stem in drawers]
