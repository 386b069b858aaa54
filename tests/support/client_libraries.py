"""Analytics libraries as their registries serve them, installed once for the machine by the versions in `libraries/`.

Tests that need them are skipped, with the reason, where they cannot be installed.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import pytest

FILES = Path(__file__).parent / "libraries"
SECONDS = 240


def node_libraries() -> Path:
    """The folder `node_modules`. Skips the test without Node.js, npm or their registry."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"the client libraries need {program}, which is not installed")
    patience = ("--fetch-retries=1", "--fetch-timeout=20000")
    command = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", *patience)
    return _folder("npm", ("package.json", "package-lock.json"), command) / "node_modules"


def python_libraries() -> Path:
    """A folder for PYTHONPATH. Skips the test without pip or its registry."""
    patience = ("--retries", "1", "--timeout", "20")
    arguments = ("-m", "pip", "install", "--quiet", "--no-input", *patience, "--target", "packages")
    files = ("requirements.txt",)
    return _folder("pip", files, (sys.executable, *arguments, "-r", *files)) / "packages"


def _folder(tool: str, files: tuple[str, ...], command: tuple[str, ...]) -> Path:
    """The folder that a command fills. Skips the test if it cannot, with the command's own words."""
    made = _filled(tool, files, command)
    if isinstance(made, str):
        pytest.skip(made)
    return made


@cache
def _filled(tool: str, files: tuple[str, ...], command: tuple[str, ...]) -> Path | str:
    """The folder, filled once here or in another process of the tests, or why it is not there."""
    digest = hashlib.sha256(b"".join((FILES / name).read_bytes() for name in files)).hexdigest()[:12]
    made = Path.home() / ".cache" / "tenure" / f"test-libraries-{tool}-{digest}"
    if made.is_dir():
        return made
    made.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f"{made.name}-", dir=made.parent))
    for name in files:
        shutil.copy(FILES / name, building / name)
    try:
        ended = subprocess.run(command, cwd=building, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"{tool} did not install the client libraries within {SECONDS} s"
    if ended.returncode:
        return f"{tool} cannot install the client libraries: {ended.stderr.strip()[-300:]}"
    try:
        building.rename(made)
    except OSError:  # another process was faster
        shutil.rmtree(building)
    return made
