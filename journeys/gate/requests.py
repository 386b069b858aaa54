"""Gate request of a send effect: when it holds and what withdraws it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from journeys.decision.effects import SendMessage, WithdrawnMessages
from journeys.gate.status import OutcomeName
from journeys.gate.verdicts import SendRequest

MESSAGES_PER_PASS: Final = 20
"""Due messages that one pass over a person decides; the next pass decides the rest."""


class RequestedMessage(Protocol):
    """A message with the visit that requested it. `stands`: it was requested on entering a final state."""

    @property
    def state(self) -> str: ...
    @property
    def visit(self) -> int: ...
    @property
    def stands(self) -> bool: ...


class RunPosition(Protocol):
    """The position of a run; `state` is None before its first step."""

    @property
    def is_open(self) -> bool: ...
    @property
    def state(self) -> str | None: ...
    @property
    def visit(self) -> int | None: ...


@dataclass(frozen=True, slots=True)
class MessageVisit:
    """The visit that requested a message."""

    state: str
    visit: int
    stands: bool


@dataclass(frozen=True, slots=True)
class RunVisit:
    """The visit that a run is in."""

    is_open: bool
    state: str | None
    visit: int | None


def still_holds(message: RequestedMessage, run: RunPosition) -> bool:
    """Whether the run is still in the visit that requested the message (H7); always for one that stands."""
    return message.stands or (run.is_open and (run.state, run.visit) == (message.state, message.visit))


def why_left(message: RequestedMessage, state: str | None) -> str:
    """The reason for which a message of a left visit does not go out; `state` is the one that its run is in now."""
    return f"{message.state} was left" + (f" for {state}" if state else "")


def withdraws(effect: WithdrawnMessages, message: RequestedMessage) -> bool:
    """Whether an effect withdraws a queued message of its run (of a visit, or of all); never one that stands."""
    if message.stands:
        return False
    return effect.state is None or (effect.state, effect.visit) == (message.state, message.visit)


def request_of(
    message: SendMessage,
    run: RunPosition,
    *,
    key: str = "",
    journey: str = "",
    name: str = "",
    missing: tuple[str, ...] = (),
) -> SendRequest:
    """The gate's request for a message of `run`, named `name`; `missing` are unknown fields that it needs (H8)."""
    return SendRequest(
        channels=message.via,
        topic=message.topic,
        priority=message.priority,
        at=message.at,
        expires_at=message.expires_at,
        stands=message.stands,
        holds=still_holds(message, run),
        holds_why=why_left(message, run.state),
        missing=missing,
        key=key,
        journey=journey,
        action=message.action,
        template=message.template,
        run=name,
    )


def outcome_signal(message: SendMessage, outcome: OutcomeName) -> str:
    """The signal that reports the outcome of a message to its run: `checklist.sent`."""
    return f"{message.action}.{outcome}"
