"""Inbox of a run: arrivals, operators' commands and the timer's firing, undecided, in order.

What one workflow task brings is one batch (record 0013). Undecided arrivals are carried over continue-as-new.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue

with workflow.unsafe.imports_passed_through():
    from journeys.decision.occurrences import Cancelled, Paused, Resumed
    from journeys.protocol import wire
    from workflows.arrivals import Arrival
    from workflows.invocations import first_plain_number
    from workflows.limits import MOST_CARRIED, REMEMBERED_IDS, HistoryMeter

OperatorOccurrence = Paused | Resumed | Cancelled


@dataclass(slots=True)
class OperatorCommand:
    """An operator's command. Its `ticket` is done when a later item is taken."""

    occurrence: OperatorOccurrence
    ticket: int


@dataclass(frozen=True, slots=True)
class TimerFired:
    """The run's timer that was armed for the real instant `at` has fired."""

    at: datetime


Item = Arrival | OperatorCommand | TimerFired


@dataclass(slots=True)
class Batch:
    """The items of one workflow task; `task` is only compared with another batch's. `events` is its cost in history."""

    task: int
    items: list[Item] = field(default_factory=list)
    signals: int = 0
    events: int = 0


class Inbox:
    """A queue, first in, first out, opened batch by batch. Plain signals are deduplicated by their last ids."""

    def __init__(self, start: wire.RunInput) -> None:
        carried = start.carried or {}
        self.items: deque[Item] = deque(Arrival(name, value=value) for name, value in carried.get("inbox", ()))
        """The items of opened batches."""
        self.batches: deque[Batch] = deque()
        """The batches that are not opened yet."""
        self.ids: deque[str] = deque(carried.get("ids", ()), maxlen=REMEMBERED_IDS)
        self.plain = int(carried.get("plain", first_plain_number(start)))
        """The number of the last plain signal that came without an id."""
        self.received = 0
        """The signals of opened batches."""
        self.tickets, self._taken, self.done = 0, 0, 0
        """The last ticket of a command: given, taken, decided."""
        self._weight = 0
        """Bytes of waiting arrivals: a cheap check before `fits_in_payload` measures."""

    def add(self, name: str, raw: Sequence[RawValue]) -> None:
        """Add a signal: of the relay's each argument is an event, of any other the first is the data."""
        several = name == wire.SIGNAL_EVENT and len(raw) > 1
        arrivals = [Arrival(name, [payload]) for payload in raw] if several else [Arrival(name, raw)]
        self._weight += sum(arrival.weight for arrival in arrivals)
        self._batch(HistoryMeter.SIGNAL, *arrivals).signals += 1

    def add_timer(self, at: datetime) -> None:
        """Add the firing of the run's timer that was armed for `at`."""
        self._batch(HistoryMeter.TIMER, TimerFired(at))

    def add_command(self, occurrence: OperatorOccurrence) -> int:
        """Add an operator's command; its ticket, which `done` reaches once it is decided."""
        self.tickets += 1
        self._batch(HistoryMeter.UPDATE, OperatorCommand(occurrence, self.tickets))
        return self.tickets

    def _batch(self, events: int, *items: Item) -> Batch:
        task = workflow.info().get_current_history_length()
        if not self.batches or self.batches[-1].task != task:
            self.batches.append(Batch(task))
        batch = self.batches[-1]
        batch.items += items
        batch.events += events
        return batch

    def open_batch(self) -> int:
        """Open the next batch, which is the same in every replay; its cost in history events."""
        batch = self.batches.popleft()
        self.items.extend(batch.items)
        self.received += batch.signals
        return batch.events

    def take(self) -> Item | None:
        """The next item, if any; the item before it has been decided then."""
        self.done = self._taken
        if not self.items:
            return None
        item = self.items.popleft()
        if isinstance(item, Arrival):
            self._weight -= item.weight
        elif isinstance(item, OperatorCommand):
            self._taken = max(self._taken, item.ticket)
        return item

    def put_first(self, name: str, values: Sequence[Any]) -> None:
        """Put values before everything that waits, in this order."""
        self.items.extendleft(Arrival(name, value=value) for value in reversed(values))

    def put_last(self, name: str, values: Sequence[Any]) -> None:
        """Put values behind everything that waits."""
        self.items.extend(Arrival(name, value=value) for value in values)

    def put_back_command(self, occurrence: OperatorOccurrence) -> None:
        """Make the current command the next item again: it is not decided yet."""
        self.items.appendleft(OperatorCommand(occurrence, self._taken))
        self._taken -= 1

    @property
    def has_commands(self) -> bool:
        """Whether a command waits. One that Temporal's cancel request has made has no handler that waits for it."""
        return self.done < self.tickets

    def close(self) -> None:
        """Complete all commands that wait: the run has ended."""
        self.done = self.tickets

    def identity(self, data: dict[str, Any]) -> str | None:
        """The id of a plain signal: its sender's `id`, else its number in the run. None for a duplicate."""
        given = data.get("id")
        if not isinstance(given, str | int) or isinstance(given, bool):
            self.plain += 1
            return f"#{self.plain}"
        identity = _short(str(given))
        if identity in self.ids:
            return None
        self.ids.append(identity)
        return identity

    @property
    def length(self) -> int:
        """Items that wait for a decision."""
        return sum(not isinstance(item, TimerFired) for item in self._waiting())

    def last_seqs(self, decided: Mapping[str, int]) -> dict[str, int]:
        """By lane, the last `seq` that was decided or is carried."""
        latest = dict(decided)
        for item in self.items:
            if isinstance(item, Arrival) and item.name == wire.SIGNAL_EVENT and isinstance(item.value, dict):
                lane, seq = item.value.get("lane"), item.value.get("seq")
                if isinstance(lane, str) and isinstance(seq, int):
                    latest[lane] = max(latest.get(lane, 0), seq)
        return latest

    def carried(self) -> dict[str, Any]:
        """The contents for continue-as-new. No command is among them: a run continues as new when all are decided."""
        arrivals = [item.carried() for item in self._waiting() if isinstance(item, Arrival)]
        return {"inbox": arrivals, "ids": list(self.ids), "plain": self.plain}

    def fits_in_payload(self) -> bool:
        """Whether the contents fit into one payload."""
        encode = workflow.payload_converter().to_payload
        return self._weight <= MOST_CARRIED and len(encode(self.carried()).data) <= MOST_CARRIED

    def _waiting(self) -> list[Item]:
        return [*self.items, *(item for batch in self.batches for item in batch.items)]


def _short(given: str) -> str:
    """A sender's id as it is stored: short, printable, and distinct from the run's own numbers."""
    if len(given) <= 64 and given.isascii() and given.isprintable():
        return f"={given}"
    return "=" + hashlib.sha256(given.encode("utf-8", "surrogatepass")).hexdigest()[:32]
