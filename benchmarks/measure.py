"""Rows of a benchmark: ratio, spread over interleaved rounds, absolute figures."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

from worker.stack.temporal.store import StoreName


@dataclass(frozen=True, slots=True)
class Target:
    """Target of a ratio: at most `value`, or at least with `at_least`."""

    value: float
    at_least: bool = False

    def reached(self, ratio: float) -> bool:
        return ratio >= self.value if self.at_least else ratio <= self.value

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.value:g}"


@dataclass(frozen=True, slots=True)
class ResultRow:
    """One line of the table. `ours` and `theirs` are absolute, in `unit`, and hold for this machine only."""

    name: str
    ratio: float
    low: float
    high: float
    ours: float
    theirs: float | None
    unit: str
    target: Target | None = None

    def json(self, store: StoreName) -> dict[str, str | float]:
        """The row as the results keep it, with the store of Temporal that it was measured on."""
        return {
            "name": self.name,
            "store": store,
            "ratio": round(self.ratio, 3),
            "low": round(self.low, 3),
            "high": round(self.high, 3),
        }


def target_on(store: StoreName, *, sqlite: float, postgres: float, at_least: bool = False) -> Target:
    """The target of a row that depends on Temporal's store."""
    return Target(postgres if store == "postgres" else sqlite, at_least)


T = TypeVar("T")


async def interleaved(
    rounds: int, ours: Callable[[], Awaitable[T]], theirs: Callable[[], Awaitable[T]]
) -> tuple[list[T], list[T]]:
    """Results of rounds in the order A/B, B/A, A/B, …: pairs are close in time, and neither side always comes first."""
    first: list[T] = []
    second: list[T] = []
    for number in range(rounds):
        if number % 2 == 0:
            first.append(await ours())
            second.append(await theirs())
        else:
            second.append(await theirs())
            first.append(await ours())
    return first, second


def compared(
    name: str, ours: Sequence[float], theirs: Sequence[float], unit: str, target: Target | None = None
) -> ResultRow:
    """The median of the rounds' ratios, with the lowest and the highest."""
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return ResultRow(name, median(ratios), min(ratios), max(ratios), median(ours), median(theirs), unit, target)


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which this share of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
