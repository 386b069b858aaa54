"""The house stands: rooms import only what they may."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("activities", "api", "cli", "journeys", "store", "worker", "workflows")
JOURNEYS_MAY_IMPORT = {
    "holidays",
    "phonenumbers",
    *sys.stdlib_module_names,
    "journeys",
    "pydantic",
    "pydantic_core",
    "yaml",
    "cel_expr_python",
}
# What gives a decision another outcome on another day or machine.
IMPURE = {
    "asyncio",
    "datetime.now",
    "http",
    "os",
    "random",
    "secrets",
    "socket",
    "subprocess",
    "threading",
    "urllib.request",
}


def test_every_contract_of_import_linter_is_kept():
    linter = Path(sys.executable).parent / "lint-imports"
    checked = subprocess.run([linter, "--no-logo"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def _modules(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def _imported(module: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return names


def test_what_decides_imports_nothing_that_could_act_or_be_random():
    for module in _modules("journeys"):
        imported = _imported(module)
        assert {name.partition(".")[0] for name in imported} <= JOURNEYS_MAY_IMPORT, module
        assert not imported & IMPURE, module


def test_every_module_says_its_rule_in_its_first_line():
    silent = [path for path in _modules(*ROOMS) if path.read_text().strip() and not _docstring(path)]
    assert not silent


def _docstring(module: Path) -> str | None:
    return ast.get_docstring(ast.parse(module.read_text()))


def test_no_module_is_a_drawer_for_everything():
    drawers = {"utils", "helpers", "common", "manager", "service", "shared", "misc"}
    assert not [path for path in _modules(*ROOMS) if path.stem in drawers]
