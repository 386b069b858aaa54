"""Counts of the cases that a property's examples reach, so that none holds by saying nothing."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import event

_counts: Counter[str] = Counter()


def reached(case: str, count: int = 1) -> None:
    """Note in a property that its example has reached this case."""
    if count:
        _counts[case] += count
        event(case)


def must_reach(**least: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Fail a property, above its `@given`, whose examples reach one of these cases less often than this."""

    def decorate(prove: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(prove)
        def counted(*arguments: Any, **named: Any) -> None:
            _counts.clear()
            prove(*arguments, **named)
            missed = {case: _counts[case] for case, count in least.items() if _counts[case] < count}
            assert not missed, f"the examples reached too few cases: {missed} of at least {least}"

        return counted

    return decorate
