"""Responder: seeded answers of people to messages and of the team to tasks.

Pure: equal questions have equal answers, in whatever order they are asked. An answer comes at a full hour, the next one at the
earliest, so a live player on a test clock gives the same answers at the same instants.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from heapq import heappop, heappush
from typing import Any, Final, Literal

from journeys.language.signal_names import MESSAGE_REPLIED
from journeys.simulation.recording import RecordedEvent

AnswerKind = Literal["delivered", "clicked", "replied", "opted_out", "closed"]
ONE_HOUR: Final = timedelta(hours=1)
DELIVERED, CLICKED = "message_delivered", "message_clicked"
SIGNALS: Final = {"delivered": DELIVERED, "clicked": CLICKED, "replied": MESSAGE_REPLIED}


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """A message that a person received; `name` is its key with the run's and the person's external ids."""

    name: str
    person: str
    journey: str
    action: str
    template: str
    channel: str
    topic: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class ReceivedTask:
    """A task that was opened at `at`; `name` is the key of the request or of the replied message that opened it."""

    name: str
    task: str
    outcomes: tuple[str, ...]
    at: datetime


@dataclass(frozen=True, slots=True, order=True)
class Answer:
    """What comes back at `at` on the message or task `about`. Answers of one instant are given in this order."""

    at: datetime
    about: str
    kind: AnswerKind
    person: str = field(compare=False, default="")
    opened_at: datetime | None = field(compare=False, default=None)
    data: dict[str, Any] = field(compare=False, default_factory=dict)

    def as_event(self) -> RecordedEvent:
        """The answer to a message, as a recorded event of its person."""
        if self.kind == "opted_out":
            return RecordedEvent(self.at, self.person, "consent", "consent", self.data)
        return RecordedEvent(self.at, self.person, "signal", SIGNALS[self.kind], self.data)


@dataclass(frozen=True, slots=True)
class Responder:
    """Shares of messages and tasks that are answered, by kind of answer; `slowest` is the longest time in hours."""

    seed: str = "0"
    delivered: float = 0.95
    clicked: float = 0.3
    replied: float = 0.05
    opted_out: float = 0.02
    closed: float = 0.7
    slowest: int = 72

    def answers_to_message(self, message: ReceivedMessage) -> list[Answer]:
        """What the person and their provider answer to a message."""
        about = {
            "message": message.name, "action": message.action, "template": message.template,
            "journey": message.journey, "channel": message.channel,
        }  # fmt: skip
        refusal = {"channel": message.channel, "topic": message.topic or "*", "granted": False}
        possible: tuple[tuple[AnswerKind, float, dict[str, Any]], ...] = (
            ("delivered", 0.0 if message.channel == "in_app" else self.delivered, about),
            ("clicked", self.clicked, {**about, "link": 0}),
            ("replied", 0.0 if message.channel == "in_app" else self.replied, {**about, "text": "Please call me."}),
            ("opted_out", self.opted_out, refusal),
        )
        return [
            Answer(self._when(message.at, message.name, kind), message.name, kind, message.person, None, data)
            for kind, share, data in possible
            if self._draw(message.name, kind) < share
        ]

    def answers_to_task(self, task: ReceivedTask) -> list[Answer]:
        """How and when the team closes a task, if it does."""
        name = f"{task.name}@{task.at.isoformat()}"
        if self._draw(name, "closed") >= self.closed:
            return []
        outcomes = task.outcomes or ("done",)
        outcome = outcomes[int(self._draw(name, "outcome") * len(outcomes))]
        data = {"outcome": outcome, "by": "responder", "note": ""}
        return [Answer(self._when(task.at, name, "closed"), task.name, "closed", "", task.at, data)]

    def _draw(self, name: str, purpose: str) -> float:
        """A number from 0 to below 1, by the seed, the name and the purpose."""
        digest = hashlib.blake2b(f"{self.seed}|{purpose}|{name}".encode(), digest_size=6).digest()
        return int.from_bytes(digest, "big") / 2**48

    def _when(self, at: datetime, name: str, kind: str) -> datetime:
        hours = 1 + int(self._draw(name, f"{kind} after") * self.slowest)
        return at.replace(minute=0, second=0, microsecond=0) + ONE_HOUR * hours


class Answers:
    """Answers that are still to come, the earliest first."""

    def __init__(self) -> None:
        self._coming: list[Answer] = []

    def add(self, answers: Iterable[Answer]) -> None:
        for answer in answers:
            heappush(self._coming, answer)

    def next_at(self) -> datetime | None:
        """The instant of the next answer."""
        return self._coming[0].at if self._coming else None

    def take(self) -> Answer:
        return heappop(self._coming)
