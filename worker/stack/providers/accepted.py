"""Items that the local provider accepted, in order."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

FILE = "accepted.jsonl"


class AcceptedItems:
    """Each item has `provider`, `number`, `to`, `content` and `key`: the idempotency key, or ours where the vendor carries it.

    With a folder, items survive a restart.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.items: list[dict[str, Any]] = []
        self._file = folder / FILE if folder is not None else None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        if self._file is not None and self._file.exists():
            self.items = [json.loads(line) for line in self._file.read_text().splitlines() if line]

    def add(self, provider: str, *, to: str, content: Any, key: str = "", **more: Any) -> dict[str, Any]:
        """Add an item. It is written to the file before the vendor answers."""
        number = len(self.items) + 1
        item = {"provider": provider, "number": number, "to": to, "key": key, "content": content, **more}
        self.items.append(item)
        if self._file is not None:
            with self._file.open("a") as file:
                file.write(json.dumps(item) + "\n")
        return item

    def search(self, **wanted: str) -> list[dict[str, Any]]:
        """Items whose fields have these values."""
        return [item for item in self.items if all(str(item.get(name, "")) == value for name, value in wanted.items())]

    def clear(self) -> None:
        self.items.clear()
        if self._file is not None:
            self._file.unlink(missing_ok=True)


def numbered(prefix: str, number: int, length: int = 34) -> str:
    """An id in the vendor's form: a prefix and hexadecimal digits."""
    return prefix + f"{number:0{length - len(prefix)}x}"


def newest(items: Iterable[Mapping[str, Any]], limit: int) -> list[Mapping[str, Any]]:
    return list(items)[::-1][:limit]
