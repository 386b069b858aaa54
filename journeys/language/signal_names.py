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
        "message_clicked",
        "message_seen",
        "message_acted",
        "message_dismissed",
        "checklist_completed",
        "survey_answered",
        "consent_requested",
        "consent_confirmed",
        CONVERSATION_CLOSED,
    }
)
"""Signals that only Tenure emits: what people do with a message, with a consent, with an answer."""
PROVIDER_SIGNALS: Final = frozenset(
    {
        "message_delivered",
        "message_bounced",
        "message_complained",
        MESSAGE_REPLIED,
        "webinar_registered",
        "webinar_attended",
        "webinar_missed",
    }
)
"""Signals that a provider's webhook or an inbound mail reports."""


def play_signal(journey: str) -> str:
    """The signal by which an operator enters a person into a journey: accepted as an event, so a backtest has it too."""
    return f"play:{journey}"
