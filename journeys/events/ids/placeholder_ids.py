"""Placeholder ids, which code sends when it has no id: they name nobody.

An id that many strangers share would join them for good. Ids are compared without outer blanks and without case.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

PLACEHOLDER_IDS: Final = frozenset(
    {
        "", "undefined", "null", "(null)", "<null>", "nil", "<nil>", "none", "nan", "0", "-1", "true", "false", "{}", "[]",
        "anonymous", "guest", "unknown", "not set", "(not set)", "n/a", "[object object]", "[object undefined]",
        "[object null]", "00000000-0000-0000-0000-000000000000",
    }
)  # fmt: skip
"""Placeholders in every plan; `placeholder_ids` of a tracking plan adds others."""
_OF_CONTEXT: Final = "context."
ID_FIELDS: Final = ("userId", "anonymousId", "groupId", "previousId", f"{_OF_CONTEXT}groupId")
"""Fields of a call with an id of a person or an account."""


def with_placeholders(more: Iterable[str]) -> frozenset[str]:
    """The placeholders of every plan and those that a plan adds."""
    return PLACEHOLDER_IDS.union(_plain(value) for value in more)


def is_placeholder(value: object, placeholders: frozenset[str] = PLACEHOLDER_IDS) -> bool:
    """Whether an id of a call, text or number, names nobody."""
    return isinstance(value, str | int) and not isinstance(value, bool) and _plain(str(value)) in placeholders


def placeholder_fields(raw: object, placeholders: frozenset[str]) -> dict[str, Any]:
    """The ids of a call that are placeholders, by field. An absent or empty id is none: its sender says that there is none."""
    if not isinstance(raw, Mapping):
        return {}
    context = raw.get("context")
    found = {}
    for field in ID_FIELDS:
        name = field.removeprefix(_OF_CONTEXT)
        part = raw if name == field else context
        value = part.get(name) if isinstance(part, Mapping) else None
        if value is not None and value != "" and is_placeholder(value, placeholders):
            found[field] = value
    return found


def _plain(value: str) -> str:
    return value.strip().casefold()
