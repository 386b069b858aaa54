"""Keys that encrypt payloads in Temporal: their setting, and the embedded stack's own.

A key has an id, which each payload names, and a secret. The first key encrypts, all decrypt.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

DEV_PAYLOAD_KEY: Final = "development=dev-payload-key"
"""The public development key."""
FILE: Final = "payload.key"
"""In the folder of the embedded stack, for its owner only."""
MIN_SECRET: Final = 32
"""Characters of a secret. Whoever has a copy of Temporal's database can try secrets offline."""
_ENTRY: Final = re.compile(r"(?P<id>[a-z0-9][a-z0-9._-]{0,31})=(?P<secret>\S+)")


@dataclass(frozen=True, slots=True)
class PayloadKey:
    """A key by its id."""

    id: str
    secret: str = field(repr=False)


def read_payload_keys(entries: Sequence[str]) -> tuple[PayloadKey, ...]:
    """The keys of `id=secret` entries, the newest first. Raises ValueError, whose message has no secret."""
    keys: list[PayloadKey] = []
    for entry in entries:
        matched = _ENTRY.fullmatch(entry)
        if matched is None:
            raise ValueError("is not a list of ids and secrets; give 2026-11=SECRET, the newest key first")
        key = PayloadKey(matched["id"], matched["secret"])
        if entry != DEV_PAYLOAD_KEY and len(key.secret) < MIN_SECRET:
            raise ValueError(f"needs {MIN_SECRET} characters or more in each key; `openssl rand -hex 32` makes one")
        if key.id in {known.id for known in keys}:
            raise ValueError(f"has two keys with the id {key.id}; a new key needs a new id")
        keys.append(key)
    if not keys:
        raise ValueError("has no key; give 2026-11=SECRET")
    return tuple(keys)


def with_embedded_key(home: Path, keys: str) -> str:
    """The setting `keys` behind the key of the embedded stack in `home`, which is made if there is none."""
    if not (home / FILE).exists():
        draft = home / f"{FILE}.draft"
        draft.unlink(missing_ok=True)
        with os.fdopen(_created(draft), "w") as file:
            file.write(f"embedded-{secrets.token_hex(4)}={secrets.token_hex(32)}\n")
        draft.replace(home / FILE)  # the file takes its name last: an interrupted start leaves none
    return f"{(home / FILE).read_text().strip()},{keys}"


def embedded_keys(home: Path) -> tuple[PayloadKey, ...]:
    """The key of the embedded stack in `home`; empty if it has none. Raises ValueError for a damaged file."""
    try:
        return read_payload_keys((home / FILE).read_text().split())
    except FileNotFoundError:
        return ()


def _created(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
