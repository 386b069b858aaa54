"""The circuit breaker, the rate limit of a provider, and fairness among journeys."""

from __future__ import annotations

import heapq
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activities.outgoing.circuit_breaker import PROBE, PROBE_USUAL, BreakerRule, CircuitBreaker
from activities.outgoing.guarded_channel import flow_of
from activities.outgoing.rate_limit import Rate, RateLimit

NOW = datetime(2026, 5, 3, 10, tzinfo=UTC)
RULE = BreakerRule(failures=3, rest=timedelta(seconds=10), longest=timedelta(seconds=60))


def open_breaker() -> CircuitBreaker:
    breaker = CircuitBreaker(RULE)
    assert [breaker.failed(NOW) for _ in range(3)] == [False, False, True]
    return breaker


def test_a_breaker_opens_after_consecutive_failures_and_returns_the_remaining_wait():
    breaker = open_breaker()
    assert breaker.state(NOW) == "open"
    assert breaker.wait(NOW + timedelta(seconds=4)) == timedelta(seconds=6)


def test_a_success_between_failures_resets_the_count():
    breaker = CircuitBreaker(RULE)
    for _ in range(5):
        breaker.failed(NOW)
        breaker.succeeded()
        breaker.failed(NOW)
    assert breaker.wait(NOW) is None


def test_a_half_open_breaker_lets_one_probe_through_at_a_time():
    breaker, later = open_breaker(), NOW + timedelta(seconds=11)
    assert breaker.state(later) == "half_open"
    assert breaker.wait(later) is None
    assert breaker.wait(later) == PROBE_USUAL, "shorter than a lost probe, since most probes are answered at once"
    almost_lost = later + PROBE - timedelta(seconds=1)
    assert breaker.wait(almost_lost) == timedelta(seconds=1)
    breaker.succeeded()
    assert breaker.state(later) == "closed"


def test_each_failed_probe_doubles_the_wait_up_to_its_limit():
    breaker, now, waits = open_breaker(), NOW, []
    for _ in range(5):
        wait = breaker.wait(now)
        waits.append(wait.total_seconds())
        now += wait
        assert breaker.wait(now) is None
        breaker.failed(now)
    assert waits == [10, 20, 40, 60, 60]


def test_a_released_probe_lets_the_next_one_through():
    breaker, later = open_breaker(), NOW + timedelta(seconds=11)
    assert breaker.wait(later) is None
    breaker.released()
    assert breaker.wait(later) is None


def simulate(limit: RateLimit, requests: list[tuple[float, str]]) -> dict[str, list[float]]:
    """Simulate requests that retry when the limit says; the instants of success by flow."""
    sent_at: dict[str, list[float]] = {}
    queue = [(at, number, flow) for number, (at, flow) in enumerate(requests)]
    heapq.heapify(queue)
    for _ in range(200 * len(requests) + 1000):
        if not queue:
            return sent_at
        at, number, flow = heapq.heappop(queue)
        wait = limit.wait(flow, f"{flow}-{number}", NOW + timedelta(seconds=at))
        if wait is None:
            sent_at.setdefault(flow, []).append(at)
        else:
            heapq.heappush(queue, (at + max(0.01, wait.total_seconds()), number, flow))
    raise AssertionError(f"{len(queue)} requests never succeeded")


requests_to_send = st.lists(st.tuples(st.floats(0, 20), st.sampled_from("abcd")), min_size=1, max_size=150)


@settings(max_examples=60)
@given(requests_to_send, st.floats(1, 50), st.integers(1, 10))
def test_a_rate_is_never_exceeded_and_every_request_succeeds(wanted, per_second, burst):
    sent_at = simulate(RateLimit(Rate(per_second, burst)), wanted)
    times = sorted(at for instants in sent_at.values() for at in instants)
    assert len(times) == len(wanted)
    for first in range(0, len(times), 7):
        for last in range(first, len(times), 5):
            assert last - first + 1 <= burst + (times[last] - times[first]) * per_second + 1.01


@settings(max_examples=60)
@given(requests_to_send, st.floats(1, 50), st.integers(1, 10))
def test_a_rate_is_used_up_while_requests_wait(wanted, per_second, burst):
    sent_at = simulate(RateLimit(Rate(per_second, burst)), wanted)
    last = max(at for instants in sent_at.values() for at in instants)
    assert last <= max(at for at, _ in wanted) + 1.6 * len(wanted) / per_second + 2


@pytest.mark.parametrize("campaign", [200, 2_000])
def test_a_campaign_does_not_delay_another_journey(campaign):
    wanted = [(0.0, "campaign")] * campaign + [(1.0, "reset")] * 5
    sent_at = simulate(RateLimit(Rate(10, 5)), wanted)
    # Five turns in alternation with the campaign, not after its hundreds.
    assert max(sent_at["reset"]) < 1 + 2.5 * 5 / 10 + 1
    assert max(sent_at["campaign"]) < 1.2 * (campaign + 5) / 10 + 2


def test_busy_journeys_share_the_rate_equally():
    wanted = [(0.0, "a")] * 300 + [(0.0, "b")] * 100 + [(3.0, "c")] * 100
    sent_at = simulate(RateLimit(Rate(20, 5)), wanted)
    window = [sum(1 for at in sent_at[flow] if 4 <= at <= 9) for flow in "abc"]
    assert max(window) <= 1.6 * min(window), window


def test_the_flow_of_a_message_is_its_journey():
    assert flow_of("journey/setup/u_1/-/1#here.1/send:x.1>u_1") == "setup"
    assert flow_of("digest/abc") == "digest/abc"
