"""What has arrived and is not decided yet: raw, in order, bounded in what it remembers, carried over continue-as-new."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue

with workflow.unsafe.imports_passed_through():
    from journeys.decision.occurrences import Occurrence
    from journeys.protocol import wire
    from journeys.protocol.envelope import Unreadable, read_envelope
    from workflows import limits

MOST_SHOWN = 2_000
LARGEST_PLAIN = 32 * 1024
"""Bytes of a plain signal, as of an event at the front door; a larger one could not be carried over continue-as-new."""
LONGEST_ID = 64
TIMER_FIRED = object()
"""A letter that is no letter: the alarm's."""
_SHAPES: dict[str, type | tuple[type, ...]] = {
    "id": str, "lane": str, "seq": int, "at": str, "kind": str, "name": str,
    "data": dict, "facts": (dict, type(None)), "seen": dict, "v": int,
}  # fmt: skip


@dataclass(slots=True)
class Arrival:
    """One arrival. `raw` is as Temporal gave it, `value` decoded (carried, put back) or an operator's occurrence."""

    name: str
    raw: Sequence[RawValue] = ()
    value: Any = None
    ticket: int = 0

    @property
    def weight(self) -> int:
        """Bytes as they arrived."""
        return sum(len(raw.payload.data) for raw in self.raw)

    def decoded(self) -> Any:
        """Its first argument as JSON. Raises Unreadable."""
        if self.value is not None:
            return self.value
        if not self.raw:
            return None
        if self.name != wire.SIGNAL_EVENT and len(self.raw[0].payload.data) > LARGEST_PLAIN:
            raise Unreadable(f"larger than {LARGEST_PLAIN // 1024} KB")
        try:
            return workflow.payload_converter().from_payload(self.raw[0].payload)
        except Exception as fault:  # noqa: BLE001 -- a converter may raise anything; all of it means one thing
            raise Unreadable(f"not JSON: {type(fault).__name__}") from None

    def envelope(self) -> wire.Envelope:
        """What the relay sent. Raises Unreadable for anything that only looks like it: the reducer trusts its types."""
        value = self.decoded()
        if isinstance(value, wire.Envelope):
            return value
        if isinstance(value, dict):
            wrong = [name for name, shape in _SHAPES.items() if name in value and not isinstance(value[name], shape)]
            scopes = value.get("facts") or {}
            if wrong or not all(isinstance(scope, dict) for scope in scopes.values()):
                raise Unreadable(f"not an envelope: {', '.join(wrong) or 'facts'} of another type")
        return read_envelope(value)

    def data(self) -> dict[str, Any]:
        """Its first argument as a signal's data. Raises Unreadable."""
        value = self.decoded()
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise Unreadable("the first argument of a signal is a JSON object, its data")
        return value

    def shown(self) -> str:
        """Enough of it for a person to see what came."""
        if self.value is not None:
            return json.dumps(self.value, default=str)[:MOST_SHOWN]
        return " ".join(raw.payload.data[:MOST_SHOWN].decode(errors="replace") for raw in self.raw)[:MOST_SHOWN]


@dataclass(slots=True)
class Batch:
    """What one workflow task has brought; `task` is only ever compared with another."""

    task: int
    letters: list[Arrival] = field(default_factory=list)
    signals: int = 0
    events: int = 0


class Inbox:
    """First in, first out, a batch at a time; plain signals are deduplicated by id within a bounded window."""

    def __init__(self, carried: Iterable[Any], ids: Iterable[str], plain: int) -> None:
        self.letters = deque(Arrival(name, value=value) for name, value in carried)
        self.arrived: deque[Batch] = deque()
        """What has come since the batch in hand was opened."""
        self.ids = deque(ids, maxlen=limits.REMEMBERED_IDS)
        self.plain = plain
        self.received = 0
        self.events = 0
        """What arriving has cost the history."""
        self.tickets = 0
        self.done = 0
        self.taken = 0
        self.weight = 0
        """Bytes that wait as they arrived: a quick look, before `fits` measures."""

    def add(self, name: str, raw: Sequence[RawValue]) -> None:
        """One signal: of the relay each argument is an event, of anybody else the first is the data."""
        several = name == wire.SIGNAL_EVENT and len(raw) > 1
        letters = [Arrival(name, [one]) for one in raw] if several else [Arrival(name, raw)]
        self.weight += sum(letter.weight for letter in letters)
        delivery = self._deliver(1, *letters)
        delivery.signals += 1

    def ring(self) -> None:
        """The alarm has rung: that, too, is known in its turn."""
        self._deliver(1, Arrival("", value=TIMER_FIRED))

    def _deliver(self, events: int, *letters: Arrival) -> Batch:
        task = workflow.info().get_current_history_length()
        if not self.arrived or self.arrived[-1].task != task:
            self.arrived.append(Batch(task))
        delivery = self.arrived[-1]
        delivery.letters += letters
        delivery.events += events
        return delivery

    def open(self) -> None:
        """What the next workflow task has brought is the next batch: the same at every replay."""
        delivery = self.arrived.popleft()
        self.letters.extend(delivery.letters)
        self.received += delivery.signals
        self.events += delivery.events

    def command(self, occurrence: Occurrence) -> int:
        """Queue an operator's occurrence; its ticket is done when a later letter is asked for."""
        self.tickets += 1
        self._deliver(2, Arrival("", value=occurrence, ticket=self.tickets))
        return self.tickets

    def take(self) -> Arrival | None:
        """The next letter, if any. Asking for it means that the one before has been dealt with."""
        self.done = self.taken
        if not self.letters:
            return None
        letter = self.letters.popleft()
        self.weight -= letter.weight
        self.taken = max(self.taken, letter.ticket)
        return letter

    def put_back(self, name: str, values: Sequence[Any]) -> None:
        """What must be decided next, in this order, before anything that waits."""
        self.letters.extendleft(Arrival(name, value=value) for value in reversed(values))

    def put_last(self, name: str, values: Sequence[Any]) -> None:
        """What is decided when all that was carried is."""
        self.letters.extend(Arrival(name, value=value) for value in values)

    def heard(self, decided: Mapping[str, int]) -> dict[str, int]:
        """By lane the last `seq` that was decided or carried."""
        latest = dict(decided)
        for letter in self.letters:
            if letter.name == wire.SIGNAL_EVENT and isinstance(letter.value, dict):
                lane, seq = letter.value.get("lane"), letter.value.get("seq")
                if isinstance(lane, str) and isinstance(seq, int):
                    latest[lane] = max(latest.get(lane, 0), seq)
        return latest

    def put_back_command(self, occurrence: Occurrence) -> None:
        """The command in hand is not dealt with yet."""
        self.letters.appendleft(Arrival("", value=occurrence, ticket=self.taken))
        self.taken -= 1

    def close(self) -> None:
        """The run has ended: whoever waits for a command is answered."""
        self.done = self.tickets

    def identity(self, data: dict[str, Any]) -> str | None:
        """The id of a plain signal: its sender's `id`, else its number here. None if that id was seen before."""
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
        """Letters that wait for a decision."""
        return len(self._all())

    def carried(self) -> dict[str, Any]:
        """What crosses continue-as-new: every letter, decoded or marked as one that cannot be."""
        waiting = [self._carry(letter) for letter in self._all()]
        return {"inbox": waiting, "ids": list(self.ids), "plain": self.plain}

    def _all(self) -> list[Arrival]:
        known = [*self.letters, *(letter for delivery in self.arrived for letter in delivery.letters)]
        return [letter for letter in known if letter.value is not TIMER_FIRED]

    def fits(self) -> bool:
        """Whether all that waits can be carried in one payload."""
        if self.weight > limits.MOST_CARRIED:
            return False
        return len(workflow.payload_converter().to_payload(self.carried()).data) <= limits.MOST_CARRIED

    def _carry(self, letter: Arrival) -> tuple[str, Any]:
        try:
            value = letter.decoded()
        except Unreadable:
            return letter.name, letter.shown()
        if isinstance(value, wire.Envelope):
            return letter.name, asdict(value)
        is_json = value is None or isinstance(value, dict | list | str | int | float)
        return letter.name, value if is_json else letter.shown()


def _short(given: str) -> str:
    """A sender's id as it is kept: short, printable, and never one of our own numbers."""
    if len(given) <= LONGEST_ID and given.isascii() and given.isprintable():
        return f"={given}"
    return "=" + hashlib.sha256(given.encode("utf-8", "surrogatepass")).hexdigest()[:32]
