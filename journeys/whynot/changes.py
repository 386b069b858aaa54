"""What would take an obstacle away: a change with a name and its values, and as the event by which the simulator hears of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from journeys.protocol.wire import CLOSED
from journeys.simulation.recording import OPERATOR, RecordedEvent

ChangeKind = Literal[
    "track",  # signal, data: send this event
    "identify",  # traits: of the person
    "group",  # traits: of their account
    "tell",  # fields: whatever they are; `profile.x`, `account.y`
    "address",  # channel, field: where they are reached
    "consent",  # channel, topic, granted (true, or null to take back what was said)
    "confirm",  # channel, topic: they have said yes there, and a grant it is once they follow its link
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
    "change_journey",  # journey: nothing that could happen to them leads there
]


@dataclass(frozen=True, slots=True)
class SuggestedChange:
    """`kind` and `params` for a machine, `text` for a person."""

    kind: ChangeKind
    text: str
    params: Mapping[str, Any] = field(default_factory=dict)


def as_recorded(change: SuggestedChange, who: str, at: datetime) -> RecordedEvent | None:
    """The event that makes this change; None for what no event makes: time that passes, a policy, a journey, a field's value."""
    params = dict(change.params)
    match change.kind:
        case "track":
            return RecordedEvent(at, who, "signal", params["signal"], params["data"])
        case "identify":
            return RecordedEvent(at, who, "profile", "identify", params["traits"])
        case "group":
            return RecordedEvent(at, who, "account", "group", params["traits"])
        case "consent":
            return RecordedEvent(at, who, "consent", "consent", params)
        case "confirm":
            return RecordedEvent(at, who, "consent", "consent", {**params, "granted": True})
        case "resolve_ticket":
            return RecordedEvent(at, who, "signal", params["signal"], {"ticket_id": params["ticket_id"]})
        case "close_conversation":
            return RecordedEvent(at, who, "signal", CLOSED, params)
        case _ if change.kind in OPERATOR:
            return RecordedEvent(at, who, "operator", change.kind, params)
        case _:
            return None
