"""Permanent failures by status code (RFC 3463), and the properties of `message_bounced`.

The same rule for a rejection during delivery and for a bounce report.
"""

from __future__ import annotations

import re
from typing import Any, Final

_ADDRESS: Final = re.compile(r"\s*5\.1\.(\d{1,3})(?!\d)")
_NOT_RECIPIENT: Final = frozenset({7, 8, 9})
"""5.1.7 and 5.1.8 are about the sender's address (RFC 3463 §3.2), 5.1.9 is about a relay (RFC 3886 §3.3.4)."""


def is_permanent_failure(status: str) -> bool:
    """Whether a status, or a text that begins with one (RFC 2034 §4), means that the address does not exist."""
    match = _ADDRESS.match(status)
    return match is not None and int(match[1]) not in _NOT_RECIPIENT


def bounce_properties(reason: str, *, hard: bool) -> dict[str, Any]:
    """The properties of `message_bounced`; suppression rules read `kind` (`catalog/consent.yaml`)."""
    return {"reason": reason, "permanent": hard, "kind": "hard" if hard else "soft"}
