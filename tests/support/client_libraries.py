"""Analytics libraries as their registries serve them, installed once for the machine by the versions in `libraries/`.

Tests that need them are skipped, with the reason, where they cannot be installed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
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
    files = ("package.json", "package-lock.json")
    return _folder("npm", files, ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")) / "node_modules"


def python_libraries() -> Path:
    """A folder for PYTHONPATH. Skips the test without pip or its registry."""
    arguments = ("-m", "pip", "install", "--quiet", "--no-input", "--target", "packages", "-r", "requirements.txt")
    return _folder("pip", ("requirements.txt",), (sys.executable, *arguments)) / "packages"


@cache
def _folder(tool: str, files: Sequence[str], command: Sequence[str]) -> Path:
    """The folder that a command has filled, here or in another process of the tests."""
    digest = hashlib.sha256(b"".join((FILES / name).read_bytes() for name in files)).hexdigest()[:12]
    made = Path(tempfile.gettempdir()) / f"tenure-test-libraries-{os.getuid()}-{tool}-{digest}"
    if not made.is_dir():
        building = Path(tempfile.mkdtemp(prefix=f"{made.name}-"))
        for name in files:
            shutil.copy(FILES / name, building / name)
        try:
            ended = subprocess.run(command, cwd=building, capture_output=True, text=True, timeout=SECONDS, check=False)
        except subprocess.TimeoutExpired:
            pytest.skip(f"{tool} did not install the client libraries within {SECONDS} s")
        if ended.returncode:
            pytest.skip(f"{tool} cannot install the client libraries: {ended.stderr.strip()[-300:]}")
        try:
            building.rename(made)
        except OSError:  # another process was faster
            shutil.rmtree(building)
    return made
