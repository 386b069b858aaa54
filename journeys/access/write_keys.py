"""Write keys in calls: analytics libraries put their API key beside the event.

Source: Segment's HTTP API and the wire format of its libraries (`writeKey` in a batch and in each of its events).
"""

from __future__ import annotations

from typing import Any, Final

WRITE_KEY: Final = "writeKey"


def without_write_key(call: Any) -> Any:
    """A call without its key: keys are stored nowhere, and a rotated one makes no other event."""
    if isinstance(call, dict) and WRITE_KEY in call:
        return {name: value for name, value in call.items() if name != WRITE_KEY}
    return call
