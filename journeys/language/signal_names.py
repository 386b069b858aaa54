"""Names of the platform's own signals, and the prefix it reserves.

They are on the wire and in recorded histories: a name never changes.
"""

from __future__ import annotations

from typing import Final

RESERVED_PREFIX: Final = "tenure."
"""No author, caller or tracking plan may name a signal that begins with it."""
MESSAGE_REPLIED: Final = "message_replied"
"""The recipient has replied to a message: its run sends nothing until `CONVERSATION_CLOSED`."""
CONVERSATION_CLOSED: Final = "conversation_closed"


def play_signal(journey: str) -> str:
    """The signal by which an operator enters a person into a journey: accepted as an event, so a backtest has it too."""
    return f"play:{journey}"
