"""What a mail that did not arrive says of its address: by the status of RFC 3463, at once or in a report. Pure."""

from __future__ import annotations

import re
from typing import Any, Final

_ADDRESS: Final = re.compile(r"\s*5\.1\.(\d{1,3})(?!\d)")
_OF_OTHERS: Final = frozenset({7, 8, 9})
"""5.1.7 and 5.1.8 are about the sender's address (RFC 3463 §3.2), 5.1.9 about a relay (RFC 3886 §3.3.4)."""


def is_permanent_failure(words: str) -> bool:
    """Whether a status, or words that begin with one (RFC 2034 §4), say that for good there is no such address."""
    found = _ADDRESS.match(words)
    return found is not None and int(found[1]) not in _OF_OTHERS


def came_back(reason: str, *, hard: bool) -> dict[str, Any]:
    """What `message_bounced` tells; `kind` is what the rules of suppression ask for (`catalog/consent.yaml`)."""
    return {"reason": reason, "permanent": hard, "kind": "hard" if hard else "soft"}
