"""Search for values that make a condition true, among those that the condition names.

Every result was evaluated and is true; no result does not prove that there is none.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from itertools import islice, product
from typing import Any

from journeys.language.conditions import Condition, Lookup

MAX_TRIED = 2_000
"""Combinations of values that one search evaluates."""
_TEXT = re.compile(r"""(?<![A-Za-z])(?:"([^"\\\n]*)"|'([^'\\\n]*)')""")
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?")
_UNCHANGED = object()


def satisfying_values(condition: Condition, lookup: Lookup, scopes: Collection[str]) -> Mapping[str, Any] | None:
    """The fewest fields of these scopes, with values, that make the condition true; None if none were found.

    Empty when it is true already. A value of None means that the field must be unknown.
    """
    if condition.holds(lookup)[0]:
        return {}
    free = [(field, kind) for field, kind in condition.reads if field.partition(".")[0] in scopes]
    texts = [double or single for double, single in _TEXT.findall(condition.source)]
    numbers = [float(number) for number in _NUMBER.findall(_TEXT.sub('""', condition.source))]
    choices = [[_UNCHANGED, *_candidates(kind, texts, numbers)] for _, kind in free]
    best: dict[str, Any] | None = None
    for values in islice(product(*choices), MAX_TRIED):
        changed = {field: value for (field, _), value in zip(free, values, strict=True) if value is not _UNCHANGED}
        if (best is None or len(changed) < len(best)) and condition.holds(_with(lookup, changed))[0]:
            best = changed
    return best


def _with(lookup: Lookup, changed: Mapping[str, Any]) -> Lookup:
    return lambda field: changed[field] if field in changed else lookup(field)


def _candidates(kind: str, texts: list[str], numbers: list[float]) -> Iterator[Any]:
    near = dict.fromkeys(value for number in (*numbers, 1.0) for value in (number, number + 1, number - 1))
    match kind:
        case "bool":
            yield from (True, False)
        case "int":
            yield from (int(value) for value in near if value.is_integer())
        case "double":
            yield from near
        case "string":
            yield from dict.fromkeys((*texts, "x"))
        case "strings":
            yield from ([text] for text in texts)
            yield from (texts, [])
        case "timestamp":
            yield from ("2100-01-01T00:00:00Z", "2000-01-01T00:00:00Z")
        case _:
            yield from (*texts, *near, True, False)
    yield None
