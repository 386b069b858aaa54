"""Codes of the gate's reasons: stable, for machines and the feed."""

from __future__ import annotations

from typing import Final, Literal

ReasonCode = Literal[
    "state_left",
    "expired",
    "expires_first",
    "state_unknown",
    "told_already",
    "in_conversation",
    "no_address",
    "suppressed",
    "consent_withdrawn",
    "consent_required",
    "stopped",
    "held",
    "urgent_ticket",
    "quiet_hours",
    "send_window",
    "cooldown",
    "cap_reached",
    "behind",
    "consolidating",
    "merged",
    "replaced",
    "withdrawn",
    "never_opens",
    "no_recipient",
    "template",
    "not_allowed",
    "nothing_to_confirm",
    "unreadable",
    "paused",
]

ENDED_BY_PEOPLE: Final = frozenset[ReasonCode]({"stopped", "held", "urgent_ticket"})
"""Codes of deferrals that last until an operator or the support team ends them."""
WITHOUT_KNOWN_END: Final = ENDED_BY_PEOPLE | frozenset[ReasonCode]({"unreadable"})
"""Codes of deferrals whose end nobody knows: those ended by people, and the wait for a version that reads a definition."""
