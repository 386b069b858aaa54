"""Errors of the store, and which of the database's are outages or refused values."""

from __future__ import annotations

import asyncpg


class Contended(Exception):
    """Someone else named, merged or moved the same subject meanwhile; the whole transaction is tried again."""


_LATER = ("08", "53", "55", "57", "58", "28", "3D", "40", "25", "XX", "42P01", "42703")
"""Connection, resources, locks, shutdown and time-outs, rights, deadlocks; and a schema that is not migrated yet."""
_REFUSED = ("22", "23")
"""Data exceptions and broken constraints."""


def _state(error: BaseException) -> str:
    """The SQLSTATE of an error of the driver, however deep it is wrapped; empty if it has none."""
    seen: BaseException | None = error
    while seen is not None:
        state = getattr(seen, "sqlstate", None)
        if isinstance(state, str):
            return state
        seen = seen.__cause__
    return ""


def is_outage(error: BaseException) -> bool:
    """Whether the database does not answer now, and the same request may succeed later."""
    if isinstance(error, Contended | OSError):
        return True
    if isinstance(error, asyncpg.InterfaceError):
        return not isinstance(error, ValueError)
    return _state(error).startswith(_LATER)


def is_refusal(error: BaseException) -> bool:
    """Whether the database refuses a value: sending it again would be refused again."""
    unfit = isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError)  # the driver could not write it
    return unfit or _state(error).startswith(_REFUSED)
