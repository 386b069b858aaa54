"""Channel guarded by a circuit breaker and a rate limit.

Neither waits: an attempt is deferred.

One guard per provider and process. The adapter behind it knows nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from activities.outgoing.circuit_breaker import BreakerRule, BreakerState, CircuitBreaker
from activities.outgoing.rate_limit import Rate, RateLimit
from activities.ports import AttemptResult, Channel, Outgoing, Prepared, Receipt

log = structlog.get_logger()

LEAST = timedelta(milliseconds=50)
MonotonicClock = Callable[[], datetime]


def _wall() -> datetime:
    return datetime.now(UTC)


class GuardedChannel:
    """A channel with its breaker and, if it has a limit, its pace. It is a Channel like the one it holds."""

    def __init__(
        self,
        channel: Channel,
        *,
        rule: BreakerRule | None = None,
        rate: Rate | None = None,
        clock: MonotonicClock = _wall,
    ) -> None:
        self.channel = channel
        self.name, self.inside, self.promise = channel.name, channel.inside, channel.promise
        self.ambiguity, self.local = channel.ambiguity, channel.local
        self.attempt, self.retry = channel.attempt, channel.retry
        self.clock = clock
        self._breaker = CircuitBreaker(rule or BreakerRule())
        self._pace = RateLimit(rate) if rate is not None else None
        self._held_until: datetime | None = None

    @property
    def standing(self) -> BreakerState:
        """Whether the provider is asked at all now."""
        return self._breaker.standing(self.clock())

    def address(self, profile: Mapping[str, Any], subject_key: str) -> str | None:
        """The channel's own."""
        return self.channel.address(profile, subject_key)

    def prepare(self, outgoing: Outgoing) -> Prepared:
        """The channel's own."""
        return self.channel.prepare(outgoing)

    async def deliver(self, prepared: Prepared, key: str) -> Receipt:
        """One attempt if the provider may be asked now; else TRY_AGAIN at once, with how long to stay away."""
        now = self.clock()
        if (refused := self._stays(key, now)) is not None:
            return refused
        try:
            receipt = await self.channel.deliver(prepared, key)
        except BaseException:
            self._breaker.released()
            raise
        self._learn(receipt)
        return receipt

    def _stays(self, key: str, now: datetime) -> Receipt | None:
        if self._held_until is not None and now < self._held_until:
            return _later("the provider asked for a pause", self._held_until - now)
        if (wait := self._breaker.wait(now)) is not None:
            return _later("the provider is down and left alone", wait)
        if self._pace is not None and (wait := self._pace.wait(flow_of(key), key, now)) is not None:
            self._breaker.released()
            return _later("others go first: the provider's rate is used up", wait)
        return None

    def _learn(self, receipt: Receipt) -> None:
        now = self.clock()
        if not receipt.left and not receipt.outage:
            self._breaker.released()
        elif receipt.outage:
            if self._breaker.failed(now):
                log.warning("channel.breaker_open", channel=self.name, detail=receipt.detail[:80])
        else:
            if self._breaker.standing(now) != "closed":
                log.info("channel.breaker_closed", channel=self.name)
            self._breaker.succeeded()
        if receipt.after is not None and receipt.result is AttemptResult.TRY_AGAIN:
            self._held_until = now + receipt.after

    async def find(self, prepared: Prepared) -> bool | None:
        """The channel's own; a provider that is left alone cannot be asked now."""
        return None if self.standing == "open" else await self.channel.find(prepared)

    async def close(self) -> None:
        """The channel's own."""
        await self.channel.close()


def flow_of(key: str) -> str:
    """Whom an attempt is counted with: its journey, which is the second part of a run's id; else all of the key."""
    kind, _, rest = key.partition("/")
    return rest.partition("/")[0] if kind == "journey" and rest else key


def _later(words: str, wait: timedelta) -> Receipt:
    return replace(Receipt(AttemptResult.TRY_AGAIN, words, left=False), after=max(wait, LEAST))
