"""Limit of repeated errors: the same one is logged at most once a second.

An outage may raise thousands of equal errors a second. Rendering and writing them all delays the recovery.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from worker.logs.tracebacks import innermost_place, logged_exception

AT_MOST_EVERY: Final = 1.0
"""Seconds between two equal errors."""
_MOST_KEYS: Final = 1_000


class RepeatedErrors(logging.Filter):
    """Drops a warning or error that equals one of the last second; the next one says how many were dropped.

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
        key, now = _key_of(record), self._now()
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


def _key_of(record: logging.LogRecord) -> tuple[Any, ...]:
    fields: Mapping[str, Any] = record.msg if isinstance(record.msg, dict) else {}
    error = logged_exception(fields.get("exc_info", record.exc_info))
    if error is not None:
        return record.name, fields.get("event") or str(record.msg), type(error), innermost_place(error)
    return record.name, repr(fields) if fields else record.getMessage()


def _note(record: logging.LogRecord, dropped: int) -> None:
    if isinstance(record.msg, dict):
        record.msg = {**record.msg, "repeated": dropped}
    else:
        record.msg, record.args = f"{record.getMessage()} (repeated {dropped} times)", ()
