"""Checks of configured addresses and of a folder's owner, before anything is started."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from worker.stack.endpoints import read_endpoints
from worker.stack.free_ports import is_listening


class StackError(RuntimeError):
    """The stack cannot be started with these settings. The operator's turn: the message says what to change."""


def must_answer(variable: str, address: str) -> None:
    """Report a wrong address before anything is started: components that are not ours are not waited for."""
    parsed = urlsplit(address if "://" in address else f"//{address}")
    if not is_listening(parsed.port or (465 if parsed.scheme == "smtps" else 25), parsed.hostname or ""):
        raise StackError(
            f"{variable}={parsed.hostname}:{parsed.port} does not answer. Start it, or correct the address."
        )


def must_keep_its_store(home: Path, store: str) -> None:
    """Refuse a second store for a folder's Temporal: the runs in the first one would be missing."""
    stores = {"sqlite": home / "temporal" / "temporal.db", "postgres": home / "temporal-postgres"}
    for other, place in stores.items():
        if other != store and place.exists():
            raise StackError(
                f"The runs of {home} are in {place.name}: give --temporal-store {other}, or another folder: --home FOLDER."
            )


def already_running(home: Path) -> str:
    """The message for a folder whose stack is running."""
    known = read_endpoints(home)
    info = f" (supervisor {known.supervisor}, API {known.api_url})" if known else " and is starting"
    return f"A stack already runs in {home}{info}. Stop it with Ctrl-C there, or choose another folder: --home FOLDER."
