"""Gate request of a send effect: when it holds and what withdraws it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from journeys.decision.effects import SendMessage, WithdrawnMessages
from journeys.decision.state import RunState
from journeys.gate.status import OutcomeName
from journeys.gate.verdicts import SendRequest

MESSAGES_PER_PASS: Final = 20
"""Due messages that one pass over a person decides; the rest are the next pass's."""


class RequestedMessage(Protocol):
    """A message, as far as the visit that asked for it goes. `stands`: it was asked for on entering a final state."""

    @property
    def state(self) -> str: ...
    @property
    def visit(self) -> int: ...
    @property
    def stands(self) -> bool: ...


class RunPosition(Protocol):
    """A run, as far as its position goes; `state` is None before its first step."""

    @property
    def is_open(self) -> bool: ...
    @property
    def state(self) -> str | None: ...
    @property
    def visit(self) -> int | None: ...


@dataclass(frozen=True, slots=True)
class MessageVisit:
    """The visit that asked for a message."""

    state: str
    visit: int
    stands: bool


@dataclass(frozen=True, slots=True)
class RunVisit:
    """The visit in which a run is."""

    is_open: bool
    state: str | None
    visit: int | None


def still_holds(message: RequestedMessage, run: RunPosition) -> bool:
    """Whether its run is still in the visit that asked for it (H7); one of a final state stands for ever."""
    return message.stands or (run.is_open and (run.state, run.visit) == (message.state, message.visit))


def withdraws(effect: WithdrawnMessages, message: RequestedMessage) -> bool:
    """Whether a queued message of the same run is withdrawn: of that visit, or of the whole run; never one that stands."""
    if message.stands:
        return False
    return effect.state is None or (effect.state, effect.visit) == (message.state, message.visit)


def request_of(
    message: SendMessage,
    run: RunState,
    *,
    key: str = "",
    journey: str = "",
    name: str = "",
    missing: tuple[str, ...] = (),
    ready_at: datetime | None = None,
) -> SendRequest:
    """The gate's request for a message, given where its run, called `name`, is now; `missing` is unknown state (H8)."""
    return SendRequest(
        channels=message.via,
        topic=message.topic,
        priority=message.priority,
        at=message.at,
        expires_at=message.expires_at,
        stands=message.stands,
        holds=still_holds(message, run),
        holds_why=f"{message.state} was left",
        missing=missing,
        key=key,
        journey=journey,
        action=message.action,
        template=message.template,
        ready_at=ready_at,
        run=name,
    )


def outcome_signal(message: SendMessage, outcome: OutcomeName) -> str:
    """The signal by which a run hears what became of its message: `checklist.sent`."""
    return f"{message.action}.{outcome}"
