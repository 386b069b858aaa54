"""Demonstration twice, alone and on a busy machine: `python -m benchmarks.demo_quiet_and_busy`.

Its output must be equal apart from durations, process ids and log lines. Arguments are those of `python -m cli demo`.
"""

from __future__ import annotations

import difflib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

SPINNING: Final = 2
"""Processes beside the second run: one for each core of the smallest machine that is documented."""
LOG_LINE: Final = re.compile(r"^\d{4}-\d\d-\d\dT.*\n", re.MULTILINE)
VARYING: Final = (
    (re.compile(r"\bin \d+(\.\d+)? s\b"), "in N s"),
    (re.compile(r"\bworker \d+\b"), "worker N"),
)


def comparable(output: str) -> list[str]:
    """The lines of the demonstration's output, without what differs between any two runs."""
    text = LOG_LINE.sub("", output)
    for pattern, name in VARYING:
        text = pattern.sub(name, text)
    return text.splitlines()


@contextmanager
def spinning() -> Iterator[None]:
    """Processes that do nothing but use a core each, while the body runs."""
    with ExitStack() as stack:
        for _ in range(SPINNING):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            stack.callback(process.kill)
        yield


def play(arguments: Sequence[str], home: Path) -> list[str]:
    """Run the demonstration; its comparable lines. Raises SystemExit, with its code, if it fails."""
    began = time.monotonic()
    command = [sys.executable, "-m", "cli", "demo", "--home", str(home), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        print(done.stdout)
        raise SystemExit(done.returncode)
    played = re.search(r"played .*", done.stdout)
    print(f"{played.group() if played else 'played'}; {time.monotonic() - began:.0f} s with set-up", flush=True)
    return comparable(done.stdout)


def main() -> int:
    """Play twice and compare; the exit code."""
    with tempfile.TemporaryDirectory(prefix="tenure-demo-") as folder:
        quiet = play(sys.argv[1:], Path(folder) / "home")
        with spinning():
            busy = play(sys.argv[1:], Path(folder) / "home")
    differences = list(difflib.unified_diff(quiet, busy, "alone", "beside spinning processes", n=1, lineterm=""))
    print("\n".join(differences) or f"✓ {len(quiet)} lines are equal")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
