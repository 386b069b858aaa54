"""A channel whose provider refuses us waits, and is slowed while a refusal is open."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from activities.outgoing.circuit_breaker import BreakerRule
from activities.outgoing.guarded_channel import GuardedChannel
from activities.ports import Ambiguity, AttemptResult, Outgoing, Prepared, Promise, Receipt, Retry
from journeys.consent.failure_classes import FailureClass
from journeys.consent.refusal_response import response_to
from worker.loops.sender_refusals import slow_channels

PREPARED = Prepared("r", "ada@example.com", b"{}")


class Refusing:
    """A channel whose provider answers each attempt as told."""

    name, inside, promise, ambiguity, local = "email", False, Promise.BLIND, Ambiguity.AT_MOST_ONCE, True
    attempt, retry = timedelta(seconds=1), Retry()

    def __init__(self, failure: FailureClass | None) -> None:
        self.failure, self.attempts = failure, 0

    def address(self, profile, subject_key):
        return "ada@example.com"

    def prepare(self, outgoing: Outgoing) -> Prepared:
        return PREPARED

    async def deliver(self, prepared: Prepared, key: str) -> Receipt:
        self.attempts += 1
        return Receipt(AttemptResult.REFUSED if self.failure else AttemptResult.SENT, failure=self.failure)

    async def find(self, prepared: Prepared) -> bool | None:
        return None

    async def close(self) -> None:
        return None


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 5, 4, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def guarded(failure: FailureClass | None) -> tuple[GuardedChannel, Refusing, Clock]:
    channel, clock = Refusing(failure), Clock()
    return GuardedChannel(channel, rule=BreakerRule(failures=3), clock=clock), channel, clock


async def test_refusals_of_the_sender_in_a_row_open_the_circuit_breaker_and_later_messages_wait():
    channel, provider, _ = guarded(FailureClass.SENDER_REFUSED)
    receipts = [await channel.deliver(PREPARED, f"k{number}") for number in range(5)]
    assert [receipt.result for receipt in receipts] == [AttemptResult.REFUSED] * 3 + [AttemptResult.TRY_AGAIN] * 2
    assert (provider.attempts, channel.state) == (3, "open")
    assert receipts[-1].left is False


async def test_refusals_of_recipients_open_nothing():
    for failure in (FailureClass.ADDRESS_GONE, FailureClass.MAILBOX_TROUBLE):
        channel, provider, _ = guarded(failure)
        for number in range(5):
            await channel.deliver(PREPARED, f"k{number}")
        assert (provider.attempts, channel.state) == (5, "closed")


async def test_a_refused_channel_is_slowed_and_its_end_lifts_that():
    channel, provider, clock = guarded(None)
    slow_channels({"email": channel}, {"email"})
    receipts = [await channel.deliver(PREPARED, f"k{number}") for number in range(3)]
    assert [receipt.result for receipt in receipts] == [AttemptResult.SENT] + [AttemptResult.TRY_AGAIN] * 2
    assert receipts[1].pause is not None
    slow_channels({"email": channel}, {"email", "sms"})
    assert (await channel.deliver(PREPARED, "k3")).result is AttemptResult.TRY_AGAIN, "it stays slowed"
    clock.now += timedelta(seconds=5)
    assert (await channel.deliver(PREPARED, "k1")).result is AttemptResult.SENT
    slow_channels({"email": channel}, {"sms"})
    for number in range(4, 9):
        assert (await channel.deliver(PREPARED, f"k{number}")).result is AttemptResult.SENT
    assert provider.attempts == 7


@pytest.mark.parametrize(
    ("refused", "attempts", "places", "response"),
    [
        (1, 1, 1, "none"), (9, 9, 9, "none"), (10, 100, 1, "slow"), (10, 101, 1, "none"), (10, 0, 1, "slow"),
        (50, 100, 3, "stop"), (50, 100, 2, "slow"), (50, 101, 3, "slow"), (49, 49, 3, "slow"), (500, 10_000, 20, "none"),
    ],
)  # fmt: skip
def test_the_response_follows_from_the_share_of_refused_messages(refused, attempts, places, response):
    assert response_to(refused, attempts, places).value == response
