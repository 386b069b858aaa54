"""Channel guarded by a circuit breaker and a rate limit.

Neither waits: an attempt that may not go now gets a receipt with the time to wait. A provider that refuses us counts as one that is
down, and is slowed while such a refusal is open.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import structlog

from activities.metrics import BREAKER_OPEN, count_attempt
from activities.outgoing.circuit_breaker import BreakerRule, BreakerState, CircuitBreaker
from activities.outgoing.rate_limit import Rate, RateLimit
from activities.ports import AttemptResult, Channel, Outgoing, Prepared, Receipt
from journeys.consent.failure_classes import FailureClass

log = structlog.get_logger()

MIN_WAIT = timedelta(milliseconds=50)
MonotonicClock = Callable[[], datetime]


def _wall() -> datetime:
    return datetime.now(UTC)


class GuardedChannel:
    """A channel with a circuit breaker and, if it has a rate, a rate limit."""

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
        self._rate_limit = RateLimit(rate) if rate is not None else None
        self._slowed: RateLimit | None = None
        self._held_until: dict[str | None, datetime] = {}
        """The end of the provider's pause, by test clock; None is the real clock."""

    def slow(self, rate: Rate | None) -> None:
        """Allow no more attempts than `rate` while the provider refuses us; None ends that. The same rate again changes nothing."""
        if (self._slowed.rate if self._slowed is not None else None) != rate:
            self._slowed = RateLimit(rate) if rate is not None else None

    @property
    def state(self) -> BreakerState:
        """State of the circuit breaker."""
        return self._breaker.state(self.clock())

    def address(self, profile: Mapping[str, Any], subject_key: str) -> str | None:
        """As the channel."""
        return self.channel.address(profile, subject_key)

    def prepare(self, outgoing: Outgoing) -> Prepared:
        """As the channel."""
        return self.channel.prepare(outgoing)

    async def deliver(self, prepared: Prepared, key: str) -> Receipt:
        """One attempt if it may go now; else TRY_AGAIN at once, with the time to wait."""
        now = self.clock()
        if (postponed := self._postponed(prepared, key, now)) is not None:
            return postponed
        try:
            receipt = await self.channel.deliver(prepared, key)
        except BaseException:
            self._breaker.released()
            raise
        self._learn(prepared, receipt)
        return receipt

    def _postponed(self, prepared: Prepared, key: str, now: datetime) -> Receipt | None:
        clock, at = _instant(prepared, now)
        if (held_until := self._held_until.get(clock)) is not None:
            if at < held_until:
                return replace(_LATER, detail="the provider asked for a pause", after=max(held_until - at, MIN_WAIT))
            del self._held_until[clock]
        if (wait := self._breaker.wait(now)) is not None:
            return _paused("the provider is down", wait)
        if self._slowed is not None and (wait := self._slowed.wait(flow_of(key), key, now)) is not None:
            self._breaker.released()
            return _paused("the provider refuses us, so it is used slowly", wait)
        if self._rate_limit is not None and (wait := self._rate_limit.wait(flow_of(key), key, now)) is not None:
            self._breaker.released()
            return _paused("the provider's rate is used up", wait)
        return None

    def _learn(self, prepared: Prepared, receipt: Receipt) -> None:
        now = self.clock()
        count_attempt(self.name, receipt)
        refused_us = receipt.failure is FailureClass.SENDER_REFUSED and not receipt.of_country
        if not receipt.left and not receipt.outage:
            self._breaker.released()
        elif receipt.outage or refused_us:
            if self._breaker.failed(now):
                log.warning("channel.breaker_open", channel=self.name, detail=receipt.detail[:80])
        else:
            if self._breaker.state(now) != "closed":
                log.info("channel.breaker_closed", channel=self.name)
            self._breaker.succeeded()
        BREAKER_OPEN.labels(self.name).set(self._breaker.state(now) == "open")
        if receipt.after is not None and receipt.result is AttemptResult.TRY_AGAIN:
            clock, at = _instant(prepared, now)
            self._held_until[clock] = at + receipt.after

    async def find(self, prepared: Prepared) -> bool | None:
        """As the channel; None while the circuit breaker is open."""
        return None if self.state == "open" else await self.channel.find(prepared)

    async def close(self) -> None:
        """As the channel."""
        await self.channel.close()


def flow_of(key: str) -> str:
    """The flow of an attempt: its journey, the second part of a run's id; else the key itself."""
    kind, _, rest = key.partition("/")
    return rest.partition("/")[0] if kind == "journey" and rest else key


_LATER: Final = Receipt(AttemptResult.TRY_AGAIN, left=False)


def _instant(prepared: Prepared, now: datetime) -> tuple[str | None, datetime]:
    """The test clock by which a provider's pause passes, and its instant; on none the real one."""
    return (prepared.clock.id, prepared.clock.now) if prepared.clock is not None else (None, now)


def _paused(detail: str, wait: timedelta) -> Receipt:
    return replace(_LATER, detail=detail, pause=max(wait, MIN_WAIT))
