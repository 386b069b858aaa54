"""Errors of the store; database errors classified as outages and refused values."""

from __future__ import annotations

from datetime import datetime

import asyncpg


class Contended(Exception):
    """Another transaction named, merged or moved the same subject meanwhile; the whole transaction is retried."""


class CatalogueBehind(Contended):
    """The published version of the catalogue is not used by this process yet. Tenure's turn: retry, here or in another process."""


class ClockAdvancing(Exception):
    """The subject's test clock advances. Tenure's turn: retry when it is ready. The operator's if it is stuck."""

    def __init__(self, clock: str, target: datetime, error: str | None) -> None:
        text = f"the test clock {clock} advances to {target.isoformat()}"
        super().__init__(f"{text} and is stuck: {error}" if error else text)
        self.clock, self.target, self.error = clock, target, error


_LATER = ("08", "53", "55", "57", "58", "28", "3D", "40", "25", "XX", "42P01", "42703", "42883")
"""SQLSTATEs of outages: connection, resources, locks, shutdown, rights, deadlocks, and a schema not migrated yet."""
_GONE = ("08", "57P")
"""SQLSTATEs of lost connections and of shutdowns."""
_REFUSED = ("22", "23")
"""SQLSTATEs of refused values: data exceptions and violated constraints."""


def _state(error: BaseException) -> str:
    """The SQLSTATE of a driver's error, however deep it is wrapped; empty if it has none."""
    cause: BaseException | None = error
    while cause is not None:
        state = getattr(cause, "sqlstate", None)
        if isinstance(state, str):
            return state
        cause = cause.__cause__
    return ""


def is_outage(error: BaseException) -> bool:
    """Whether the database is unavailable now, so that the same request may succeed later."""
    if isinstance(error, Contended | OSError):
        return True
    if isinstance(error, asyncpg.InterfaceError):
        return not isinstance(error, ValueError)
    return _state(error).startswith(_LATER)


def is_unreachable(error: BaseException) -> bool:
    """Whether a statement failed because the connection to the database did: lost, refused or ended by a shutdown."""
    is_lost = isinstance(error, asyncpg.InterfaceError) and not isinstance(error, ValueError)
    return is_lost or (isinstance(error, asyncpg.PostgresError) and _state(error).startswith(_GONE))


def is_refusal(error: BaseException) -> bool:
    """Whether the database refuses a value, so that a retry would be refused again."""
    unencodable = isinstance(error, asyncpg.InterfaceError) and isinstance(
        error, ValueError
    )  # the driver could not encode it
    return unencodable or _state(error).startswith(_REFUSED)
