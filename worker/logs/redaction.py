"""Redaction of log lines: by types, names and patterns.

A log has no addresses, numbers, keys, tokens or contents. Fields of known harmless types pass; any other object is logged by
the name of its type.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from datetime import date, timedelta
from enum import Enum
from pathlib import PurePath
from typing import Any, Final
from uuid import UUID

MAX_TEXT: Final = 4_000
"""Characters of a text; the rest is cut. Tracebacks are longer, and are made by `tracebacks.py`."""
_MAX_ITEMS, _MAX_DEPTH = 50, 4
_SECRET: Final = "<secret>"  # noqa: S105 -- stands for one
_SECRET_NAME: Final = re.compile(
    r"(?:^|_)(?:passwords?|passwd|secrets?|tokens?|authorization|cookie|credentials?|(?:api|write|operator|link|signing|address|payload)_keys?)(?:$|_)"
)
# Every repetition is bounded, so that no text makes a search quadratic.
_PATTERNS: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    (re.compile(r"(\b[a-z][a-z0-9+.-]{0,30}://)[^\s/@'\"]{1,200}@", re.IGNORECASE), r"\1<secret>@"),
    (re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{6,500}", re.IGNORECASE), r"\1 <secret>"),
    (re.compile(r"\b(?:tenure_[a-z]{2}_|whsec_|sk_|xox[a-z]-|SG\.|re_)[\w.+/=-]{8,200}"), _SECRET),
    (
        re.compile(
            r"\b((?:[a-z]{1,20}[_-])?(?:password|passwd|secret|token|signature|api[_-]?key|authorization))"
            r"(['\"]?\s{0,3}[=:]\s{0,3}['\"]?)[^\s'\",;&)}\]]{1,500}",
            re.IGNORECASE,
        ),
        r"\1\2<secret>",
    ),
    (re.compile(r"(/[upycf]/)[\w-]{20,600}"), r"\1<token>"),
    (re.compile(r"[\w.+%'-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"), "<address>"),
    (re.compile(r"(?<![\w.:-])\+?\d(?:[ ()/-]{0,2}\d){8,14}(?![\w.:-])"), "<number>"),
    (re.compile(r"(?<![\w-])[\w-]{41,512}(?![\w-])"), "<opaque>"),
)


def redacted_text(text: str) -> str:
    """A text without what the patterns recognise: addresses, numbers, credentials, tokens and long opaque strings."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def redacted(value: Any, depth: int = 0) -> Any:
    """A value as it may be logged."""
    match value:
        case None | bool() | int() | float():
            return value
        case Enum() | date() | timedelta() | UUID():
            return str(value)
        case str() | PurePath():
            return redacted_text(str(value)[:MAX_TEXT])
        case bytes() | bytearray() | memoryview():
            return f"<{len(value)} bytes>"
        case Mapping() if depth < _MAX_DEPTH:
            return {str(name): redacted_field(str(name), inner, depth + 1) for name, inner in _first(value.items())}
        case list() | tuple() | set() | frozenset() if depth < _MAX_DEPTH:
            return [redacted(inner, depth + 1) for inner in _first(value)]
        case _:
            return f"<{type(value).__name__}>"


def redacted_field(name: str, value: Any, depth: int = 0) -> Any:
    """The value of a named field; hidden if the name says that it is a secret."""
    return _SECRET if value and _SECRET_NAME.search(name.lower()) else redacted(value, depth)


def redact_fields(_: Any, __: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Redact every field of a log line but its exception, which `tracebacks.py` renders: a processor of structlog."""
    return {name: value if name == "exc_info" else redacted_field(name, value) for name, value in fields.items()}


def _first(items: Any) -> list[Any]:
    return [item for item, _ in zip(items, range(_MAX_ITEMS), strict=False)]
