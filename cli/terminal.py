"""Texts for a terminal: control characters of others are shown, not obeyed."""

from __future__ import annotations

import re
from typing import Any, Final

_OBEYED: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""C0 and C1 controls but tab and line feed (escape sequences can move the cursor, set a title or type a command), bidirectional
controls, and what is no character."""


def harmless(value: Any) -> Any:
    """A JSON value in whose texts no character controls a terminal; it becomes its escape."""
    match value:
        case str():
            return _OBEYED.sub(_escape, value)
        case dict():
            return {harmless(name): harmless(inner) for name, inner in value.items()}
        case list():
            return [harmless(inner) for inner in value]
        case _:
            return value


def one_line_of(text: str) -> str:
    """A text as a cell of a table: its line breaks and tabs are shown too, so that it cannot look like several rows."""
    return harmless(text.replace("\n", "\\n").replace("\t", "\\t"))  # type: ignore[no-any-return]


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape", "surrogatepass").decode("ascii")
