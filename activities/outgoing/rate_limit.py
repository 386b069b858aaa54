"""Rate limit of one provider, shared fairly among journeys.

A token bucket limits the number of attempts. Start-time fair queueing chooses among flows (journeys): a flow has a virtual finish
time that grows by one with each attempt, and while tokens are short, a flow further behind with a due message goes first. Nothing
waits here; the caller gets the time to ask again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

_CLAIM_SECONDS = timedelta(seconds=10)
"""A message that has not asked again this long after its time was withdrawn, or went to another worker: its claim ends."""


@dataclass(frozen=True, slots=True)
class Rate:
    """`per_second` attempts on average, `burst` at once."""

    per_second: float
    burst: int = 1

    def __post_init__(self) -> None:
        """Raises ValueError for a rate that allows nothing."""
        if self.per_second <= 0 or self.burst < 1:
            raise ValueError("a rate needs more than 0 a second and a burst of at least 1")


@dataclass(slots=True)
class _Flow:
    finish: float = 0.0
    waiting: dict[str, datetime] = field(default_factory=dict)


class RateLimit:
    """Token bucket and flows of one provider. The caller gives the current instant."""

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self._tokens = float(rate.burst)
        self._at: datetime | None = None
        self._virtual = 0.0
        self._flows: dict[str, _Flow] = {}

    def wait(self, flow_name: str, key: str, now: datetime) -> timedelta | None:
        """None if this attempt may go now; else the time after which it may ask again."""
        self._refill(now)
        mine = self._flows.setdefault(flow_name, _Flow(self._virtual))
        mine.waiting.pop(key, None)
        if not mine.waiting:
            mine.finish = max(mine.finish, self._virtual)  # an idle flow saves up nothing
        if self._tokens - self._claimed_before(mine, now) >= 1:
            self._tokens -= 1
            mine.finish += 1
            self._virtual = min((flow.finish for flow in self._flows.values() if flow.waiting), default=mine.finish)
            return None
        wait = timedelta(seconds=self._turns(mine) / self.rate.per_second)
        mine.waiting[key] = now + wait
        return wait

    def _refill(self, now: datetime) -> None:
        passed = (now - self._at).total_seconds() if self._at is not None else 0.0
        if passed > 0 or self._at is None:
            self._tokens = min(self.rate.burst, self._tokens + passed * self.rate.per_second)
            self._at = now
        for name, flow in list(self._flows.items()):
            for key, due in list(flow.waiting.items()):
                if due + _CLAIM_SECONDS >= now:
                    break  # ordered by the time of asking, nearly the order of due times
                del flow.waiting[key]
            if not flow.waiting and flow.finish <= self._virtual:
                del self._flows[name]

    def _claimed_before(self, mine: _Flow, now: datetime) -> int:
        """Tokens that belong to flows further behind, because a message of theirs is due."""
        return sum(
            next((1 for due in flow.waiting.values() if due <= now), 0)
            for flow in self._flows.values()
            if flow is not mine and flow.finish < mine.finish
        )

    def _turns(self, mine: _Flow) -> float:
        """Attempts that go before this one: those of its flow in order, those of other flows in turn with them."""
        position = len(mine.waiting)
        others = sum(
            min(len(flow.waiting), max(0.0, position + 1 + mine.finish - flow.finish))
            for flow in self._flows.values()
            if flow is not mine and flow.waiting
        )
        return max(1.0 - self._tokens, 0.05) + position + others
