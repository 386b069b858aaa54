"""Limit of repeated errors, and of errors of an outage.

The same error is logged at most once a second, and none of an outage whose beginning has been logged.
An outage may raise thousands of errors a second. Rendering and writing them all delays the recovery.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from store.availability import belongs_to_outage
from worker.logs.tracebacks import innermost_place, logged_exception

AT_MOST_EVERY: Final = 1.0
"""Seconds between two equal errors."""
_MOST_KEYS: Final = 1_000


class RepeatedErrors(logging.Filter):
    """Drops a warning or error that equals one of the last second; the next one says how many were dropped.

    Errors of a database's outage are dropped until it ends: `store/availability.py` logs its beginning and its end.

    Errors are equal if they have the same event, exception type and place; others if they have the same text or fields.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = now
        self._last: dict[tuple[Any, ...], float] = {}
        self._dropped: dict[tuple[Any, ...], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is logged."""
        if record.levelno < logging.WARNING:
            return True
        error = _error_of(record)
        if error is not None and belongs_to_outage(error):
            return False
        key, now = _key_of(record, error), self._now()
        if now - self._last.get(key, -AT_MOST_EVERY) < AT_MOST_EVERY:
            self._dropped[key] = self._dropped.get(key, 0) + 1
            return False
        if len(self._last) >= _MOST_KEYS:
            self._last.clear()
            self._dropped.clear()
        self._last[key] = now
        if dropped := self._dropped.pop(key, 0):
            _note(record, dropped)
        return True


def _error_of(record: logging.LogRecord) -> BaseException | None:
    """The exception whose traceback the record would show."""
    fields: Mapping[str, Any] = record.msg if isinstance(record.msg, dict) else {}
    return logged_exception(fields.get("exc_info", record.exc_info))


def _key_of(record: logging.LogRecord, error: BaseException | None) -> tuple[Any, ...]:
    fields: Mapping[str, Any] = record.msg if isinstance(record.msg, dict) else {}
    if error is not None:
        return record.name, fields.get("event") or str(record.msg), type(error), innermost_place(error)
    return record.name, repr(fields) if fields else record.getMessage()


def _note(record: logging.LogRecord, dropped: int) -> None:
    if isinstance(record.msg, dict):
        record.msg = {**record.msg, "repeated": dropped}
    else:
        record.msg, record.args = f"{record.getMessage()} (repeated {dropped} times)", ()
