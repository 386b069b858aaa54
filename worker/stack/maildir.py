"""Maildir with an index by Message-ID."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import socket
import time
from dataclasses import dataclass
from pathlib import Path

_MESSAGE_ID = re.compile(rb"^message-id:[ \t]*(?:\r?\n[ \t]+)?(<[^>\r\n]*>)", re.IGNORECASE | re.MULTILINE)
_counter = itertools.count()


@dataclass(frozen=True)
class StoredMails:
    """Mails accepted under one Message-ID: their number and their files, oldest first."""

    count: int
    files: tuple[Path, ...]


class Maildir:
    """Mails in `new/`, and a link to each under `by-id/`, named by the hash of its Message-ID.

    The link comes first, so a search never misses a mail that will appear in `new/`; `repair` completes what a killed sink left
    half done. A mail accepted twice has two links, so duplicates are counted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._index = folder / "by-id"

    def create(self) -> None:
        for name in ("tmp", "new", "cur", "by-id"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.repair()

    def add(self, content: bytes, *, sync: bool = False) -> Path:
        """Store one mail completely: it survives the death of this process, and with `sync` a power cut."""
        name = f"{time.time_ns()}.{os.getpid()}_{next(_counter)}.{socket.gethostname()}"
        draft = self.folder / "tmp" / name
        with draft.open("wb") as file:
            file.write(content)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        hashed = id_hash(message_id_of(content))
        shelf = self._index / hashed[:2]
        shelf.mkdir(exist_ok=True)
        os.link(draft, shelf / f"{hashed}.{name}")
        return draft.rename(self.folder / "new" / name)

    def find(self, message_id: str) -> StoredMails:
        hashed = id_hash(message_id)
        shelf = self._index / hashed[:2]
        names = sorted(name for name in _names(shelf) if name.startswith(hashed))
        return StoredMails(len(names), tuple(shelf / name for name in names))

    def count(self) -> int:
        return sum(len(_names(shelf)) for shelf in self._shelves())

    def message_ids(self) -> dict[str, int]:
        """Number of acceptances by Message-ID. Reads every mail: for tests and reports."""
        totals: dict[str, int] = {}
        for shelf in self._shelves():
            for name in _names(shelf):
                with (shelf / name).open("rb") as file:
                    message_id = message_id_of(file.read(65_536))
                totals[message_id] = totals.get(message_id, 0) + 1
        return totals

    def repair(self) -> None:
        """Link accepted mails into `new/` that a crash between link and rename left out, and delete drafts."""
        present = set(_names(self.folder / "new")) | {name.partition(":")[0] for name in _names(self.folder / "cur")}
        for shelf in self._shelves():
            for name in _names(shelf):
                plain = name.partition(".")[2]
                if plain not in present:
                    os.link(shelf / name, self.folder / "new" / plain)
        for draft in _names(self.folder / "tmp"):
            (self.folder / "tmp" / draft).unlink(missing_ok=True)

    def _shelves(self) -> list[Path]:
        return [self._index / name for name in _names(self._index)]


def find_mails(maildir: Path, message_id: str) -> StoredMails:
    return Maildir(maildir).find(message_id)


def count_mails(maildir: Path) -> int:
    return Maildir(maildir).count()


def message_id_of(content: bytes) -> str:
    """The Message-ID of a mail, with angle brackets; empty if it has none."""
    end = re.search(rb"\r?\n\r?\n", content)
    match = _MESSAGE_ID.search(content[: end.start()] if end else content)
    return match[1].decode("utf-8", "replace") if match else ""


def id_hash(message_id: str) -> str:
    bare = message_id.strip().removeprefix("<").removesuffix(">")
    return hashlib.sha256(bare.encode()).hexdigest()[:32]


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 — names only, thousands of them
    except FileNotFoundError:
        return []
