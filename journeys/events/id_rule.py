"""Rule of ids: those of people and accounts that look like another id.

An id with an invisible character, another spelling of the same characters, or letters of several scripts that look alike
names somebody else than a reader sees (Unicode TR 36 §2, TR 39 §5).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Final, Literal

from journeys.events.inbound import InboundEvent

IdRule = Literal["refuse", "keep"]
"""What happens to an event with such an id: it goes to quarantine, or the id is taken as it was sent."""
_INVISIBLE_CATEGORIES: Final = frozenset({"Cc", "Cf", "Co", "Zl", "Zp"})
_INVISIBLE: Final = frozenset(
    [0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0, *range(0x180B, 0x1810), *range(0xFE00, 0xFE10)]
)
"""Code points that show nothing although their category is that of a letter, a mark or a symbol."""
_ALIKE: Final = frozenset({"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC"})
"""Scripts whose letters are taken for one another."""


def id_faults(event: InboundEvent) -> tuple[str, ...]:
    """A sentence for each id of an event that looks like another."""
    return tuple(_faults(event))


def _faults(event: InboundEvent) -> Iterator[str]:
    named = {
        "userId": event.user_id,
        "anonymousId": event.anonymous_id,
        "groupId": event.account_id,
        "previousId": event.previous_id,
    }
    for name, value in named.items():
        if value is not None and not _is_plain(value) and (reason := _lookalike(value)):
            yield f"{name} {reason}"


def _is_plain(value: str) -> bool:
    """Whether nearly all ids need no further look: printable ASCII without an outer blank."""
    return value.isascii() and value.isprintable() and value[:1] != " " != value[-1:]


def _lookalike(value: str) -> str:
    """The reason why an id looks like another; empty if it does not."""
    for mark in value:
        if unicodedata.category(mark) in _INVISIBLE_CATEGORIES or ord(mark) in _INVISIBLE:
            return f"contains U+{ord(mark):04X}, which cannot be seen"
    if value != value.strip():
        return "begins or ends with a blank"
    if value != unicodedata.normalize("NFKC", value):
        return "is not in Unicode's normal form NFKC: another spelling looks the same"
    scripts = {unicodedata.name(mark, "").partition(" ")[0] for mark in value if mark.isalpha()} & _ALIKE
    if len(scripts) > 1:
        return f"mixes letters that look alike: {' and '.join(script.capitalize() for script in sorted(scripts))}"
    return ""
