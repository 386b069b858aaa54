"""Rate limit of one provider, shared fairly among journeys.

A token bucket says how many go in all. Which go is start-time fair queueing: each flow (a journey) has a virtual finish
time that grows by one with each attempt, and while tokens are short a flow may not take one to which a flow further
behind, whose message is due, has the better right. Nobody waits here: who may not go is told when to ask again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

_PATIENCE = timedelta(seconds=10)
"""A message that has not come back this long after its time has been withdrawn, or is another worker's: its claim ends."""


@dataclass(frozen=True, slots=True)
class Rate:
    """`per_second` attempts in the long run, `burst` at once."""

    per_second: float
    burst: int = 1

    def __post_init__(self) -> None:
        """Raises ValueError for a rate that lets nothing through."""
        if self.per_second <= 0 or self.burst < 1:
            raise ValueError("a rate needs more than 0 a second and a burst of at least 1")


@dataclass(slots=True)
class _Flow:
    finish: float = 0.0
    waiting: dict[str, datetime] = field(default_factory=dict)


class RateLimit:
    """One provider's bucket and its flows. Instants are the caller's: nothing here asks a clock."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._tokens = float(rate.burst)
        self._at: datetime | None = None
        self._virtual = 0.0
        self._flows: dict[str, _Flow] = {}

    def wait(self, flow: str, key: str, now: datetime) -> timedelta | None:
        """None: this attempt goes now. Else how long it should stay away before it asks again."""
        self._refill(now)
        mine = self._flows.setdefault(flow, _Flow(self._virtual))
        mine.waiting.pop(key, None)
        if not mine.waiting:
            mine.finish = max(mine.finish, self._virtual)  # who was away has saved nothing up
        if self._tokens - self._owed_before(mine, now) >= 1:
            self._tokens -= 1
            mine.finish += 1
            self._virtual = min((each.finish for each in self._flows.values() if each.waiting), default=mine.finish)
            return None
        wait = timedelta(seconds=self._turns(mine) / self._rate.per_second)
        mine.waiting[key] = now + wait
        return wait

    def _refill(self, now: datetime) -> None:
        passed = (now - self._at).total_seconds() if self._at is not None else 0.0
        if passed > 0 or self._at is None:
            self._tokens = min(self._rate.burst, self._tokens + passed * self._rate.per_second)
            self._at = now
        for name, flow in list(self._flows.items()):
            for key, due in list(flow.waiting.items()):
                if due + _PATIENCE >= now:
                    break  # in the order of asking, which is nearly that of being due
                del flow.waiting[key]
            if not flow.waiting and flow.finish <= self._virtual:
                del self._flows[name]

    def _owed_before(self, mine: _Flow, now: datetime) -> int:
        """Tokens to which flows further behind have the better right, because a message of theirs is due."""
        return sum(
            next((1 for due in each.waiting.values() if due <= now), 0)
            for each in self._flows.values()
            if each is not mine and each.finish < mine.finish
        )

    def _turns(self, mine: _Flow) -> float:
        """How many attempts go before this one: its own flow's in their order, the others' in turn with them."""
        place = len(mine.waiting)
        others = sum(
            min(len(each.waiting), max(0.0, place + 1 + mine.finish - each.finish))
            for each in self._flows.values()
            if each is not mine and each.waiting
        )
        return max(1.0 - self._tokens, 0.05) + place + others
