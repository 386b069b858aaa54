"""Arriving heads and bodies: a limit on their bytes that takes room from the largest owner's slowest."""

from __future__ import annotations

import asyncio
import random

import pytest

from api.http.arrivals import LEAST, Arrivals, ArrivingPart, Owner
from api.http.body import end_at_once

SLOW, HONEST = ("", "203.0.113.1"), ("website", "198.51.100.1")


class Counted:
    """Arrivals with the names of those that had to give way."""

    def __init__(self, most: int) -> None:
        self.arrivals, self.given_way = Arrivals(most), list[str]()

    def begin(self, owner: Owner, name: str, size: int = 0) -> ArrivingPart:
        arrival = self.arrivals.begin(owner, lambda: self.given_way.append(name))
        self.arrivals.grow(arrival, size)
        return arrival


def test_nothing_gives_way_below_the_limit():
    counted = Counted(4 * LEAST)
    for n in range(4):
        counted.begin(SLOW, f"slow {n}")
    assert counted.given_way == []


def test_an_arrival_of_few_bytes_counts_as_much_as_its_connection():
    counted = Counted(4 * LEAST)
    for n in range(6):
        counted.begin(SLOW, f"slow {n}", size=1)
    assert counted.given_way == ["slow 0", "slow 1"]


def test_the_owner_with_the_most_bytes_gives_way_whoever_comes():
    counted = Counted(4 * LEAST)
    for n in range(3):
        counted.begin(SLOW, f"slow {n}")
    for n in range(2):
        counted.begin(HONEST, f"honest {n}")
    assert counted.given_way == ["slow 0"]


def test_the_arrival_gives_way_that_has_waited_longest_for_its_next_piece():
    counted = Counted(3 * LEAST)
    first, _, third = (counted.begin(SLOW, f"slow {n}") for n in range(3))
    counted.arrivals.grow(first, 1)
    counted.arrivals.grow(third, LEAST + 1)
    assert counted.given_way == ["slow 1"]


def test_one_arrival_larger_than_everything_gives_way_itself():
    counted = Counted(2 * LEAST)
    large = counted.begin(HONEST, "large", size=3 * LEAST)
    counted.arrivals.grow(large, 1)
    counted.arrivals.end(large)
    assert counted.given_way == ["large"]


@pytest.mark.parametrize("seed", range(20))
def test_the_counts_are_those_of_the_arrivals_whatever_happens(seed):
    draw, most = random.Random(seed), 50 * LEAST
    counted, here = Counted(most), dict[str, ArrivingPart]()
    for n in range(2_000):
        if draw.random() < 0.4:
            owner = "", str(draw.randrange(5))
            here[f"{n}"] = counted.begin(owner, f"{n}", draw.randrange(3 * LEAST))
        elif here:
            name = draw.choice(sorted(here))
            if draw.random() < 0.5:
                counted.arrivals.grow(here[name], draw.randrange(2 * LEAST))
            else:
                counted.arrivals.end(here.pop(name))
        for name in counted.given_way:
            here.pop(name, None)
        assert counted.arrivals._bytes == sum(arrival.counted for arrival in here.values()) <= most
    for arrival in here.values():
        counted.arrivals.end(arrival)
    assert (counted.arrivals._bytes, counted.arrivals._owners) == (0, {})


async def end_late() -> None:
    async with asyncio.timeout(0) as time:
        try:
            await asyncio.sleep(60)
        finally:
            end_at_once(time)


async def test_a_body_whose_time_is_over_may_be_told_to_give_way():
    with pytest.raises(TimeoutError):
        await end_late()
