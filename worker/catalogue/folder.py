"""Files of a catalogue: read from a folder, and written to one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from journeys.checks.catalogue import Files

AUDIENCES: Final = "audiences.yaml"
SINGLE: Final = ("tracking-plan.yaml", "policy.yaml", "content.yaml", "consent.yaml", "team.yaml", AUDIENCES)
NEEDED: Final = ("tracking-plan.yaml", "policy.yaml")
_NAMED: Final = re.compile(r"journeys/[\w.-]+\.yaml|templates/(?:[\w.-]+/)*[\w@.-]+\.md", re.ASCII)


def is_published(path: str) -> bool:
    """Whether a file of this path is part of a published version. Such a path never leads out of the folder."""
    return path in SINGLE or (_NAMED.fullmatch(path) is not None and ".." not in path.split("/"))


def read_folder(folder: Path) -> dict[str, bytes]:
    """The files of a catalogue's folder that are published together, by path. Raises OSError."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(_paths(folder))}


def write_folder(folder: Path, files: Files) -> Path:
    """Write the files into a new folder. Raises ValueError for a path that is not published, and OSError."""
    for name, content in files.items():
        if not is_published(name):
            raise ValueError(f"{name} is not part of a catalogue")
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for name in ("journeys", "templates"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return folder


def _paths(folder: Path) -> Iterator[Path]:
    yield from (path for name in SINGLE if (path := folder / name).is_file())
    for path in (*(folder / "journeys").glob("*.yaml"), *(folder / "templates").rglob("*.md")):
        if path.is_file() and is_published(path.relative_to(folder).as_posix()):
            yield path
