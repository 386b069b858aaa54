"""Model of one person's queue: requests arrive, wait and are decided again when due, by gate sessions alone.

At one instant each request is decided in its own pass, as the steps of runs are, and before the messages that are due: a
less pressing message has every occasion to overtake.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from journeys.gate.policy import Policy, load_policy
from journeys.gate.queue import QueuedMessage
from journeys.gate.session import GateSession
from journeys.gate.verdicts import (
    DeferUntil,
    MergeInto,
    RecipientContext,
    Replace,
    SendNow,
    SendRequest,
    SentMessage,
    Withhold,
)

MONDAY = datetime(2026, 5, 4, tzinfo=UTC)
PERSON = RecipientContext({"email": True, "in_app": True})
MOST_PASSES = 10_000


def at_hour(hours: float) -> datetime:
    """The instant this many hours after the Monday on which the model begins."""
    return MONDAY + timedelta(hours=hours)


def message(key: str, hours: float, priority: str = "lifecycle", **more: Any) -> SendRequest:
    """A message by mail that is asked for at this hour."""
    values = {"channels": ("email",), "topic": "tips", "journey": "j", "action": key, "template": key, "run": "r"}
    return SendRequest(**{**values, "key": key, "priority": priority, "at": at_hour(hours), **more})


@dataclass(frozen=True)
class Waiting:
    """A message in the queue, as the ledger has it."""

    request: SendRequest
    queued: QueuedMessage


@dataclass
class QueueModel:
    """The queue, the history and the outcomes of one person; `ends` has status and instant of each message by its key."""

    policy: Policy
    sent: tuple[SentMessage, ...] = ()
    queue: dict[str, Waiting] = field(default_factory=dict)
    ends: dict[str, tuple[str, datetime]] = field(default_factory=dict)

    def without(self, keys: Collection[str]) -> QueueModel:
        """The same person, of whom these messages have never been asked for: none of them has gone."""
        queue = {key: waiting for key, waiting in self.queue.items() if key not in keys}
        return QueueModel(self.policy, self.sent, queue, dict(self.ends))

    def ask(self, request: SendRequest) -> None:
        """Decide what was due before a request, then the request."""
        self.pass_time(request.at)
        self._decide([request], request.at)

    def pass_time(self, until: datetime | None = None) -> None:
        """Decide all that falls due before an instant; without one, until nobody waits."""
        for _ in range(MOST_PASSES):
            due = min((waiting.queued.due for waiting in self.queue.values()), default=None)
            if due is None or (until is not None and due >= until):
                return
            self._decide([each.request for each in self.queue.values() if each.queued.due <= due], due)
        raise AssertionError(f"messages wait for ever: {self.queue}")

    def _decide(self, requests: Sequence[SendRequest], now: datetime) -> None:
        context = replace(PERSON, sent=self.sent, queue=tuple(each.queued for each in self.queue.values()))
        plan = GateSession(self.policy, context, now).decide(requests, lambda _request, _channel: None)
        for decision in plan.decisions:
            key = decision.request.key
            self.queue.pop(key, None)
            for gone in decision.gave_way:
                self.queue.pop(gone.key, None)
                self.ends[gone.key] = ("replaced", now)
            if decision.sent is not None:
                self.sent = (*self.sent, decision.sent)
            match decision.verdict:
                case SendNow() | MergeInto():
                    self.ends[key] = ("sent", now)
                case DeferUntil(until):
                    assert decision.queued is not None
                    assert until >= now
                    self.queue[key] = Waiting(replace(decision.request, ready_at=decision.ready_at), decision.queued)
                case Replace():
                    self.ends[key] = ("replaced", now)
                case Withhold():
                    self.ends[key] = ("withheld", now)


def ends_of(rules: dict[str, Any], requests: Sequence[SendRequest]) -> dict[str, tuple[str, datetime]]:
    """What becomes of these messages, and when, in the order in which they are asked for."""
    model = QueueModel(load_policy(rules))
    for request in requests:
        model.ask(request)
    model.pass_time()
    return model.ends
