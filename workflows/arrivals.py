"""Arrivals of a run: signals of any name and shape, not yet read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from temporalio import workflow
from temporalio.common import RawValue

with workflow.unsafe.imports_passed_through():
    from journeys.protocol import wire
    from journeys.protocol.envelope import NewerOccurrence, Unreadable, read_envelope

MOST_SHOWN: Final = 2_000
"""Characters of an arrival that a dead letter keeps."""
LARGEST_PLAIN: Final = 32 * 1024
"""Bytes of a plain signal, as of an event that the API accepts; a larger one could not be carried over continue-as-new."""


@dataclass(slots=True)
class Arrival:
    """A signal. `raw` are its payloads; `value` is its first argument as JSON, if it was carried or put back."""

    name: str
    raw: Sequence[RawValue] = ()
    value: Any = None

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
        except Exception as fault:  # noqa: BLE001 -- a converter may raise anything, and any error means the same
            raise Unreadable(f"not JSON: {type(fault).__name__}") from None

    def envelope(self) -> wire.Envelope:
        """The relay's envelope. Raises Unreadable."""
        return read_envelope(self.decoded())

    def data(self) -> dict[str, Any]:
        """Its first argument as a signal's data. Raises Unreadable."""
        value = self.decoded()
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise Unreadable("the first argument of a signal is a JSON object, its data")
        return value

    def tombstone(self, fault: Exception) -> dict[str, Any]:
        """The dead letter that a step stores instead; its texts have no NUL and at most `MOST_SHOWN` characters.

        Of an occurrence of a newer version it has the place in the lane: its row is parked.
        """
        entry = {"name": self.name, "reason": str(fault), "payload": self._excerpt()}
        place = {"lane": fault.lane, "seq": fault.seq} if isinstance(fault, NewerOccurrence) else {}
        return {key: text.replace("\x00", "�")[:MOST_SHOWN] for key, text in entry.items()} | place

    def carried(self) -> tuple[str, Any]:
        """Its name and value for continue-as-new; an excerpt if it cannot be read."""
        try:
            value = self.decoded()
        except Unreadable:
            return self.name, self._excerpt()
        if isinstance(value, wire.Envelope):
            return self.name, asdict(value)
        is_json = value is None or isinstance(value, dict | list | str | int | float)
        return self.name, value if is_json else self._excerpt()

    def _excerpt(self) -> str:
        if self.value is not None:
            return json.dumps(self.value, default=str)[:MOST_SHOWN]
        return " ".join(raw.payload.data[:MOST_SHOWN].decode(errors="replace") for raw in self.raw)[:MOST_SHOWN]
