"""Counts of the cases that a property's examples reach, so that no property passes without a real case."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import event

_counts: Counter[str] = Counter()


def reached(case: str, count: int = 1) -> None:
    """Count a case that the current example of a property has reached."""
    if count:
        _counts[case] += count
        event(case)


def must_reach(**least: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a property above its `@given`: it fails if its examples reach a case less often than given here."""

    def decorate(prove: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(prove)
        def counted(*arguments: Any, **named: Any) -> None:
            _counts.clear()
            prove(*arguments, **named)
            missed = {case: _counts[case] for case, count in least.items() if _counts[case] < count}
            assert not missed, f"the examples reached too few cases: {missed} of at least {least}"

        return counted

    return decorate
