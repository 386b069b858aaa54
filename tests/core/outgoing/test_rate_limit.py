"""How a provider is spared: the breaker's three standings, the rate that is never exceeded, and fairness among journeys."""

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


def opened() -> CircuitBreaker:
    breaker = CircuitBreaker(RULE)
    assert [breaker.failed(NOW) for _ in range(3)] == [False, False, True]
    return breaker


def test_a_breaker_opens_after_failures_in_a_row_and_says_how_long_to_stay_away():
    breaker = opened()
    assert breaker.state(NOW) == "open"
    assert breaker.wait(NOW + timedelta(seconds=4)) == timedelta(seconds=6)


def test_a_success_between_failures_begins_the_count_anew():
    breaker = CircuitBreaker(RULE)
    for _ in range(5):
        breaker.failed(NOW)
        breaker.succeeded()
        breaker.failed(NOW)
    assert breaker.wait(NOW) is None


def test_a_half_open_breaker_lets_one_probe_through_at_a_time():
    breaker, later = opened(), NOW + timedelta(seconds=11)
    assert breaker.state(later) == "half_open"
    assert breaker.wait(later) is None
    assert breaker.wait(later) == PROBE_USUAL, "not the whole of a lost probe: it is mostly answered at once"
    almost_lost = later + PROBE - timedelta(seconds=1)
    assert breaker.wait(almost_lost) == timedelta(seconds=1)
    breaker.succeeded()
    assert breaker.state(later) == "closed"


def test_each_failed_probe_doubles_the_rest_up_to_its_longest():
    breaker, now, rests = opened(), NOW, []
    for _ in range(5):
        rest = breaker.wait(now)
        rests.append(rest.total_seconds())
        now += rest
        assert breaker.wait(now) is None
        breaker.failed(now)
    assert rests == [10, 20, 40, 60, 60]


def test_a_probe_that_did_not_get_there_leaves_its_place_to_the_next():
    breaker, later = opened(), NOW + timedelta(seconds=11)
    assert breaker.wait(later) is None
    breaker.released()
    assert breaker.wait(later) is None


def play(pace: RateLimit, asks: list[tuple[float, str]]) -> dict[str, list[float]]:
    """Everybody asks when they want to, and again when they are told to; by flow, when each went."""
    went: dict[str, list[float]] = {}
    queue = [(at, number, flow) for number, (at, flow) in enumerate(asks)]
    heapq.heapify(queue)
    for _ in range(200 * len(asks) + 1000):
        if not queue:
            return went
        at, number, flow = heapq.heappop(queue)
        wait = pace.wait(flow, f"{flow}-{number}", NOW + timedelta(seconds=at))
        if wait is None:
            went.setdefault(flow, []).append(at)
        else:
            heapq.heappush(queue, (at + max(0.01, wait.total_seconds()), number, flow))
    raise AssertionError(f"{len(queue)} never went")


asks = st.lists(st.tuples(st.floats(0, 20), st.sampled_from("abcd")), min_size=1, max_size=150)


@settings(max_examples=60)
@given(asks, st.floats(1, 50), st.integers(1, 10))
def test_a_rate_is_never_exceeded_and_everybody_goes(wanted, per_second, burst):
    went = play(RateLimit(Rate(per_second, burst)), wanted)
    times = sorted(at for each in went.values() for at in each)
    assert len(times) == len(wanted)
    for first in range(0, len(times), 7):
        for last in range(first, len(times), 5):
            assert last - first + 1 <= burst + (times[last] - times[first]) * per_second + 1.01


@settings(max_examples=60)
@given(asks, st.floats(1, 50), st.integers(1, 10))
def test_a_rate_is_used_while_somebody_waits(wanted, per_second, burst):
    went = play(RateLimit(Rate(per_second, burst)), wanted)
    last = max(at for each in went.values() for at in each)
    assert last <= max(at for at, _ in wanted) + 1.6 * len(wanted) / per_second + 2


@pytest.mark.parametrize("campaign", [200, 2_000])
def test_a_campaign_does_not_hold_up_another_journey(campaign):
    wanted = [(0.0, "campaign")] * campaign + [(1.0, "reset")] * 5
    went = play(RateLimit(Rate(10, 5)), wanted)
    assert max(went["reset"]) < 1 + 2.5 * 5 / 10 + 1  # five turns each, taken in turn, and not the campaign's hundreds
    assert max(went["campaign"]) < 1.2 * (campaign + 5) / 10 + 2


def test_journeys_that_both_have_much_to_say_share_alike():
    wanted = [(0.0, "a")] * 300 + [(0.0, "b")] * 100 + [(3.0, "c")] * 100
    went = play(RateLimit(Rate(20, 5)), wanted)
    window = [sum(1 for at in went[flow] if 4 <= at <= 9) for flow in "abc"]
    assert max(window) <= 1.6 * min(window), window


def test_a_flow_is_a_journey():
    assert flow_of("journey/setup/u_1/-/1#here.1/send:x.1>u_1") == "setup"
    assert flow_of("digest/abc") == "digest/abc"
