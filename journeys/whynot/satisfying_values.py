"""Values that would make a condition true: tried from what the condition itself names, since that is what it asks about.

A search, not a proof: what it finds was evaluated and is true; where it finds nothing there may still be something.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from itertools import islice, product
from typing import Any

from journeys.language.conditions import Condition, Lookup

MOST_TRIED = 2_000
_TEXT = re.compile(r"""(?<![A-Za-z])(?:"([^"\\\n]*)"|'([^'\\\n]*)')""")
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?")


def satisfying_values(condition: Condition, lookup: Lookup, scopes: Collection[str]) -> Mapping[str, Any] | None:
    """Fields of these scopes and their values with which the condition is true, as few as possible; None if none is found.

    Empty when it is true already. A value of None is a field that must not be known.
    """
    if condition.holds(lookup)[0]:
        return {}
    free = [(field, kind) for field, kind in condition.reads if field.partition(".")[0] in scopes]
    texts = [a or b for a, b in _TEXT.findall(condition.source)]
    numbers = [float(each) for each in _NUMBER.findall(_TEXT.sub('""', condition.source))]
    choices = [[_KEEP, *_candidates(kind, texts, numbers)] for _, kind in free]
    best: dict[str, Any] | None = None
    for values in islice(product(*choices), MOST_TRIED):
        given = {field: value for (field, _), value in zip(free, values, strict=True) if value is not _KEEP}
        if (best is None or len(given) < len(best)) and condition.holds(_with(lookup, given))[0]:
            best = given
    return best


_KEEP = object()


def _with(lookup: Lookup, given: Mapping[str, Any]) -> Lookup:
    return lambda field: given[field] if field in given else lookup(field)


def _candidates(kind: str, texts: list[str], numbers: list[float]) -> Iterator[Any]:
    around = dict.fromkeys(each for n in (*numbers, 1.0) for each in (n, n + 1, n - 1))
    match kind:
        case "bool":
            yield from (True, False)
        case "int":
            yield from (int(each) for each in around if each.is_integer())
        case "double":
            yield from around
        case "string":
            yield from dict.fromkeys((*texts, "x"))
        case "strings":
            yield from ([each] for each in texts)
            yield from (texts, [])
        case "timestamp":
            yield from ("2100-01-01T00:00:00Z", "2000-01-01T00:00:00Z")
        case _:
            yield from (*texts, *around, True, False)
    yield None
