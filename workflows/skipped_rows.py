"""Rows of a lane not signalled to a run, read for an overdue deadline.

A change of fields alone is not signalled (`envelopes_for`), and a signal has the fields of its own place. A deadline that is
decided with a later signal, because the worker lags, needs those of its own instant.
"""

from __future__ import annotations

from typing import Final

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from journeys.decision.state import RunState
    from journeys.protocol import wire
    from journeys.protocol.envelope import parse_instant
    from workflows import invocations
    from workflows.limits import HistoryMeter

READ_SKIPPED: Final = "read-skipped-rows"
"""Patch: histories from before do not have this call."""


class SkippedRows:
    """By lane, the `seq` up to which everything that concerns the run is known to it."""

    def __init__(self, start: wire.RunInput, meter: HistoryMeter) -> None:
        self._start, self._meter = start, meter
        self._known: dict[str, int] = {}

    def may_precede(self, envelope: wire.Envelope, state: RunState) -> bool:
        """Whether a deadline comes before the envelope, and rows between the last decided one and it may count for it."""
        due = state.next_due()
        if due is None or parse_instant(envelope.at) < due:
            return False
        reached = max(state.seqs.get(envelope.lane, 0), self._known.get(envelope.lane, 0))
        return envelope.seq > reached + 1 and workflow.patched(READ_SKIPPED)

    async def read(self, envelope: wire.Envelope, state: RunState) -> list[wire.Envelope]:
        """What was accepted for the run since it last decided, in order, then the envelope."""
        self._meter.count_call()
        rows = await invocations.read_undecided(self._start, state.seqs)
        last = max((row.seq for row in rows if row.lane == envelope.lane), default=envelope.seq)
        self._known[envelope.lane] = max(last, self._known.get(envelope.lane, 0))
        return [*rows, envelope]
