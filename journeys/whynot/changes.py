"""Suggested changes: each removes one obstacle; most are events the simulator understands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from journeys.gate.deferral import readable_instant
from journeys.language.signal_names import CONVERSATION_CLOSED
from journeys.simulation.recording import OPERATOR, RecordedEvent

ChangeKind = Literal[
    "track",  # signal, data: send this event
    "identify",  # traits: of the person
    "group",  # traits: of their account
    "tell",  # fields to set, to any value: `profile.x`, `account.y`
    "address",  # channel, field: an address for the channel
    "consent",  # channel, topic, granted (true, or null to take the statement back)
    "confirm",  # channel, topic: the opt-in becomes consent when the person follows the confirmation link
    "wait",  # until: nothing else is needed
    "release_stop",  # scope, name
    "release_hold",  # by
    "resolve_ticket",  # ticket_id, signal
    "lift_suppression",  # channel
    "mend_content",  # template
    "close_conversation",  # run, template
    "cancel_run",  # journey
    "resume_run",  # journey
    "allow_again",  # journey: `entry.again`
    "change_policy",  # rule
    "change_journey",  # journey: no event that could happen leads to the message
]


@dataclass(frozen=True, slots=True)
class SuggestedChange:
    """A change that removes an obstacle: `kind` and `params` for programs, `text` for people."""

    kind: ChangeKind
    text: str
    params: Mapping[str, Any] = field(default_factory=dict)


def wait_until(until: datetime) -> SuggestedChange:
    """The change that is only to wait, until an aware instant."""
    return SuggestedChange("wait", f"wait until {readable_instant(until)}", {"until": until})


def as_recorded(change: SuggestedChange, who: str, at: datetime) -> RecordedEvent | None:
    """The event that makes this change for the person `who`; None for `wait`, `tell` and changes of a policy or journey."""
    params = dict(change.params)
    match change.kind:
        case "track":
            return RecordedEvent(at, who, "signal", params["signal"], params["data"])
        case "identify":
            return RecordedEvent(at, who, "profile", "identify", params["traits"])
        case "group":
            return RecordedEvent(at, who, "account", "group", params["traits"])
        case "consent":
            return RecordedEvent(at, who, "consent", "consent", {**params, "by": "operator"})
        case "confirm":
            return RecordedEvent(at, who, "consent", "consent", {**params, "granted": True})
        case "resolve_ticket":
            return RecordedEvent(at, who, "signal", params["signal"], {"ticket_id": params["ticket_id"]})
        case "close_conversation":
            return RecordedEvent(at, who, "signal", CONVERSATION_CLOSED, params)
        case _ if change.kind in OPERATOR:
            return RecordedEvent(at, who, "operator", change.kind, params)
        case _:
            return None
