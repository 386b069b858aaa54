"""Response to a provider that refuses us: none, slow its channel, stop it.

It follows from the share of what was sent, because single refusals are everyday life and a stranger can cause some.
"""

from __future__ import annotations

from datetime import timedelta
from enum import Enum
from typing import Final


class RefusalResponse(Enum):
    """What is done about the channel of an open sender refusal."""

    NONE = "none"
    SLOW = "slow"
    STOP = "stop"


WINDOW: Final = timedelta(hours=1)
"""Refused messages and attempts are compared within this time."""
SLOW_AFTER: Final = 10
SLOW_SHARE: Final = 0.1
"""Refused messages in the window, and their share of its attempts, that slow a channel."""
STOP_AFTER: Final = 50
STOP_SHARE: Final = 0.5
STOP_PLACES: Final = 3
"""The same for a stop; the messages were to at least so many mail domains or numbers, for one company may block us for its own."""


def response_to(refused: int, attempts: int, places: int) -> RefusalResponse:
    """The response to so many refused messages, of so many attempts of the channel, to so many places, in the window."""
    share = refused / max(refused, attempts, 1)
    if refused >= STOP_AFTER and share >= STOP_SHARE and places >= STOP_PLACES:
        return RefusalResponse.STOP
    return RefusalResponse.SLOW if refused >= SLOW_AFTER and share >= SLOW_SHARE else RefusalResponse.NONE
