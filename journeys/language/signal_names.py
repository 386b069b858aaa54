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
PLATFORM_SIGNALS: Final = frozenset(
    {
        "checklist_completed",
        "consent_confirmed",
        "consent_requested",
        CONVERSATION_CLOSED,
        "message_acted",
        "message_clicked",
        "message_dismissed",
        "message_seen",
        "survey_answered",
    }
)
"""Signals that Tenure alone emits, whatever source a tracking plan gives them."""
PROVIDER_SIGNALS: Final = frozenset(
    {
        "message_bounced",
        "message_complained",
        "message_delivered",
        MESSAGE_REPLIED,
        "webinar_attended",
        "webinar_missed",
        "webinar_registered",
    }
)
"""Signals that providers' webhooks report."""


def play_signal(journey: str) -> str:
    """The signal by which an operator enters a person into a journey: accepted as an event, so a backtest has it too."""
    return f"play:{journey}"
