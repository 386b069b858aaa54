"""Bytes of heads and bodies that arrive, counted by owner and limited in all.

Where the limit is reached, the owner with the most bytes loses what has waited longest for its next piece: the slow
clients of a key or network take room from that key or network alone, and there from the slowest.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

LEAST: Final = 16 * 1024
"""Bytes that an arrival counts for at least: about what the objects of its connection take."""

Owner = tuple[str, str]
"""The id of a key and a network; either may be empty."""


@dataclass(slots=True, eq=False)
class ArrivingPart:
    """A head or body that arrives. `give_way` is called, once, if it has to end."""

    owner: Owner
    give_way: Callable[[], None]
    bytes: int = 0

    @property
    def counted(self) -> int:
        """The bytes that it counts for."""
        return max(self.bytes, LEAST)


@dataclass(slots=True)
class _Owned:
    bytes: int = 0
    arrivals: OrderedDict[ArrivingPart, None] = field(default_factory=OrderedDict)
    """The one that has waited longest for its next piece is the first."""


class Arrivals:
    """All that arrive at the same time in one process: at most `most` bytes."""

    def __init__(self, most: int) -> None:
        self._most, self._bytes = most, 0
        self._owners: dict[Owner, _Owned] = {}

    def begin(self, owner: Owner, give_way: Callable[[], None]) -> ArrivingPart:
        """Count a new arrival. It or another may have to give way at once."""
        arrival = ArrivingPart(owner, give_way)
        owned = self._owners.setdefault(owner, _Owned())
        owned.arrivals[arrival] = None
        self._count(owned, arrival.counted)
        return arrival

    def grow(self, arrival: ArrivingPart, size: int) -> None:
        """Count a piece of an arrival. It or another may have to give way at once."""
        owned = self._owners.get(arrival.owner)
        if owned is None or arrival not in owned.arrivals:
            return  # it has given way, and its reader has not ended yet
        before = arrival.counted
        arrival.bytes += size
        owned.arrivals.move_to_end(arrival)
        self._count(owned, arrival.counted - before)

    def end(self, arrival: ArrivingPart) -> None:
        """Count an arrival no more. It may have given way already."""
        owned = self._owners.get(arrival.owner)
        if owned is None or arrival not in owned.arrivals:
            return
        del owned.arrivals[arrival]
        owned.bytes -= arrival.counted
        self._bytes -= arrival.counted
        if not owned.arrivals:
            del self._owners[arrival.owner]

    def _count(self, owned: _Owned, size: int) -> None:
        owned.bytes += size
        self._bytes += size
        while self._bytes > self._most:
            largest = max(self._owners.values(), key=lambda other: other.bytes)
            slowest = next(iter(largest.arrivals))
            self.end(slowest)
            slowest.give_way()
