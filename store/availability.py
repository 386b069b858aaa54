"""Availability of the database: one log line per outage, one for its end.

Every transaction of `Database` reports here. Loops and requests that fail meanwhile need no line of their own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import asyncpg
import structlog

from store.errors import is_outage, is_unreachable

log = structlog.get_logger()


class Availability:
    """Whether the database answers, by the last attempt."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._down_since: float | None = None

    @property
    def is_down(self) -> bool:
        """The last attempt has failed, and none has succeeded since."""
        return self._down_since is not None

    def failed(self, error: BaseException) -> None:
        """Record a failed attempt; the first of an outage is logged."""
        if self._down_since is None:
            self._down_since = self._now()
            log.warning("database.unreachable", error=type(error).__name__)

    def answered(self) -> None:
        """Record an answer; the first after an outage is logged, with the outage's length."""
        if self._down_since is not None:
            seconds, self._down_since = self._now() - self._down_since, None
            log.warning("database.reachable", after_seconds=round(seconds, 1))

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Record what becomes of the statements in the body. Errors of the body itself say nothing of the database."""
        try:
            yield
        except Exception as error:
            if is_unreachable(error):
                self.failed(error)
            raise
        self.answered()


AVAILABILITY = Availability()
"""That of this process's database."""


def log_outage(event: str, error: BaseException, **fields: object) -> None:
    """Log that work could not be done for want of the database, unless its outage has been logged."""
    if not AVAILABILITY.is_down:
        log.warning(event, error=type(error).__name__, **fields)


def belongs_to_outage(error: BaseException) -> bool:
    """Whether an error, or one that caused it, comes from an outage that has been logged and has not ended."""
    cause: BaseException | None = error
    while AVAILABILITY.is_down and cause is not None:
        if is_outage(cause) and isinstance(cause, OSError | asyncpg.PostgresError | asyncpg.InterfaceError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
