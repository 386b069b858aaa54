"""The example of `docs/testing-journeys.md` passes, with the plugin, in a pytest of its own."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

from tests.conftest import Servers
from worker.settings import ROOT

TEXT = (ROOT / "docs" / "testing-journeys.md").read_text("utf-8")
OURS = """
import pytest
from worker.pytest_plugin import TenureServers

@pytest.fixture(scope="session")
def tenure_servers():
    return TenureServers({postgres!r}, {temporal!r})
"""


async def test_the_example_of_the_guide_passes(servers: Servers, tmp_path: Path) -> None:
    (example,) = re.findall(r"^```python test\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    (tmp_path / "test_example.py").write_text(example)
    (tmp_path / "conftest.py").write_text(OURS.format(postgres=servers.postgres, temporal=servers.temporal))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "worker.pytest_plugin", "-p", "no:cacheprovider"]
    options = ["-o", "asyncio_mode=auto", "--rootdir", str(tmp_path), "-c", "/dev/null", str(tmp_path)]
    process = await asyncio.create_subprocess_exec(
        *command, *options, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    assert "1 passed" in output.decode()
