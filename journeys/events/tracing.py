"""Trace ids from an accepted event to its messages (W3C Trace Context).

Pure; a trace id is stored only where a sender gave it.

| item | its trace id |
|---|---|
| an event whose sender gave a `traceparent` | the sender's |
| any other event | its number in the store and a hash of its source and message id, so that it is found by the number |
| steps, messages, emitted signals and outcomes that an event causes | the event's |
| a step that no event caused (a timer, an operator) | a hash of its run and number |
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

HEADER: Final = "X-Tenure-Trace"
_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_TRACE = re.compile(r"[0-9a-f]{32}")


def trace_of_event(number: int, source: str, message_id: str) -> str:
    """The trace id of an event: 8 bytes number, 8 bytes hash, random enough to sample by (§3.2.2.3)."""
    return f"{number:016x}{_hash(source, message_id)[:16]}"


def event_of_trace(trace: str) -> int:
    """The number of the event that may have this trace id; compare with `trace_of_event`."""
    return int(trace[:16], 16)


def trace_of_step(run: str, step: int) -> str:
    """The trace id of a step that no event caused."""
    return _hash(run, str(step))[:32]


def trace_id_of(header: str | None) -> str | None:
    """The trace id of a `traceparent` header, or None for one that must be ignored (§3.2.2, §4.3)."""
    match = _PARENT.fullmatch(header.strip()) if header is not None else None
    if match is None:
        return None
    version, trace, parent, _, more = match.groups()
    if version == "ff" or (version == "00" and more) or not int(trace, 16) or not int(parent, 16):
        return None
    return trace


def is_trace(text: str) -> bool:
    """Whether a text is a valid trace id."""
    return _TRACE.fullmatch(text) is not None and int(text, 16) > 0


def traceparent(trace: str, of: str) -> str:
    """The `traceparent` of a request in a trace; the span id is a hash of `of`, so a retry has the same."""
    return f"00-{trace}-{_hash('span', of)[:16]}-01"


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
