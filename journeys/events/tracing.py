"""One trace id from an accepted event to what it sends (W3C Trace Context). Pure, and stored only where it was given.

| what | its trace |
|---|---|
| an event whose sender gave a `traceparent` | the sender's trace id |
| any other event | its number in the store, and a digest of who sent it under which id: found again by the number |
| what an event causes: steps, messages, signals that a journey emits, outcomes | the event's |
| a step that no event caused (a timer, an operator) | a digest of its run and number |
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

HEADER: Final = "X-Tenure-Trace"
_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_TRACE = re.compile(r"[0-9a-f]{32}")


def trace_of_event(number: int, source: str, message_id: str) -> str:
    """The own trace of an event: 8 bytes number, 8 bytes digest, which are random enough to sample by (§3.2.2.3)."""
    return f"{number:016x}{_digest(source, message_id)[:16]}"


def event_of_trace(trace: str) -> int:
    """The number of the event whose own trace this may be; whether it is, `of_event` says."""
    return int(trace[:16], 16)


def trace_of_step(run: str, step: int) -> str:
    """The trace of a step that no accepted event caused."""
    return _digest(run, str(step))[:32]


def trace_id_of(header: str | None) -> str | None:
    """The trace id in a `traceparent`, or None for one that is to be ignored (§3.2.2, §4.3)."""
    found = _PARENT.fullmatch(header.strip()) if header is not None else None
    if found is None:
        return None
    version, trace, parent, _, more = found.groups()
    if version == "ff" or (version == "00" and more) or not int(trace, 16) or not int(parent, 16):
        return None
    return trace


def is_trace(text: str) -> bool:
    """Whether this could be one."""
    return _TRACE.fullmatch(text) is not None and int(text, 16) > 0


def traceparent(trace: str, of: str) -> str:
    """The header of a call that belongs to a trace; `of` names the call, so that a try has the same span in all logs."""
    return f"00-{trace}-{_digest('span', of)[:16]}-01"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
