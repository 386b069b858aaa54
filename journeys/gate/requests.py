"""A message between the decision that asked for it and the gate: what it asks, what withdraws it, how its fate is called."""

from __future__ import annotations

from typing import Literal

from journeys.decision.effects import SendMessage, WithdrawnMessages
from journeys.decision.state import RunState
from journeys.gate.verdicts import SendRequest

OutcomeName = Literal["sent", "withheld", "failed"]


def still_holds(message: SendMessage, run: RunState) -> bool:
    """Whether its run is still in the visit that asked for it (H7); one of a final state stands for ever."""
    return message.stands or (run.is_open and (run.state, run.visit) == (message.state, message.visit))


def request_of(
    message: SendMessage,
    run: RunState,
    why: str = "",
    *,
    key: str = "",
    journey: str = "",
    missing: tuple[str, ...] = (),
) -> SendRequest:
    """What the gate is asked, given where the run is now; `why` it moved on, if it did; `missing` state (H8)."""
    return SendRequest(
        channels=message.via,
        topic=message.topic,
        priority=message.priority,
        at=message.at,
        expires_at=message.expires_at,
        stands=message.stands,
        holds=still_holds(message, run),
        holds_why=why or f"{message.state} was left",
        missing=missing,
        key=key,
        journey=journey,
        template=message.template,
    )


def withdraws(effect: WithdrawnMessages, message: SendMessage) -> bool:
    """Whether a queued message of the same run goes: of that visit, or all but those that stand."""
    if effect.state is None:
        return not message.stands
    return (effect.state, effect.visit) == (message.state, message.visit)


def outcome_signal(message: SendMessage, fate: OutcomeName) -> str:
    """The signal by which a run hears what became of its message: `checklist.sent`."""
    return f"{message.action}.{fate}"
