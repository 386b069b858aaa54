"""Delivery of one lane's rows to its runs.

It goes up to the first failure that may pass.

A row that one run can never get is parked for that run (`store/outbox/parked.py`); its other runs get it, and the lane
goes on. A failure that may pass ends the lane's turn: its rows stay in order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from prometheus_client import Counter

from journeys.decision.chart import Chart
from journeys.protocol import wire
from journeys.protocol.envelope import NewerOccurrence
from journeys.protocol.routing import envelopes_for
from store.outbox.parked import ParkedCode, ParkedDelivery
from store.outbox.rows import OutboxRow
from store.outbox.undecided import lane_row_of
from store.runs.lanes import listener_in
from worker.relay.failures import RunHasEnded, permanent_refusal
from worker.relay.signals import WorkflowSignals

log = structlog.get_logger()

MAX_SIGNAL_BYTES: Final = 256 * 1024
"""Size of the events in one signal: an eighth of what the server accepts."""

DELIVERED = Counter("tenure_relay_signals_total", "Signals delivered to Temporal")
PARKED = Counter("tenure_relay_parked_total", "Rows parked because they can never be delivered", ["code"])


@dataclass(slots=True)
class LaneResult:
    """Rows that left their lane, those of them that are parked, runs that have ended, and the failure that ended the turn.

    `reached` is set once Temporal has taken a signal: rows also leave their lane without one.
    """

    delivered: list[int] = field(default_factory=list)
    parked: list[ParkedDelivery] = field(default_factory=list)
    ended: set[str] = field(default_factory=set)
    error: Exception | None = None
    reached: bool = False


@dataclass(frozen=True, slots=True)
class KnownDefinitions:
    """The charts of a batch's runs by hash, and why others cannot be read; why the opening rows of runs are parked."""

    charts: Mapping[str, Chart]
    faults: Mapping[str, str]
    unopened: Mapping[str, ParkedCode] = field(default_factory=dict)


class LaneDelivery:
    """Delivers lanes of one batch until the instant `until` of the event loop; `slots` limits the lanes at a time."""

    def __init__(
        self, signals: WorkflowSignals, known: KnownDefinitions, slots: asyncio.Semaphore, until: float
    ) -> None:
        self._signals, self._known, self._slots, self._until = signals, known, slots, until

    async def deliver(self, rows: Sequence[OutboxRow], listeners: Sequence[Mapping[str, Any]]) -> LaneResult:
        """Deliver the rows of one lane in order. Raises nothing: one lane's failure must not stop the others."""
        result = LaneResult()
        for bundle in _bundles(rows):
            try:
                async with self._slots:
                    if asyncio.get_running_loop().time() > self._until:
                        break
                    await self._bundle(bundle, listeners, result)
            except Exception as error:  # noqa: BLE001 -- it may be any failure of a call, and means the same
                log.warning("relay.lane_rests", lane=bundle[0].recipient, error=type(error).__name__)
                result.error = error
                break
            result.delivered += [row.id for row in bundle]
        return result

    async def _bundle(
        self, bundle: list[OutboxRow], listeners: Sequence[Mapping[str, Any]], result: LaneResult
    ) -> None:
        if bundle[0].kind == "wake":
            await self._wake(bundle[0], result)
            return
        for run in listeners:
            if run["id"] not in result.ended:
                await self._events(run, bundle, result)

    async def _wake(self, row: OutboxRow, result: LaneResult) -> None:
        try:
            await self._signals.wake_outreach(row.recipient, priority=row.priority)
            result.reached = True
        except Exception as error:
            if (refusal := permanent_refusal(error)) is None:
                raise
            self._park(result, [row], "", "refused", refusal)

    async def _events(self, run: Mapping[str, Any], rows: list[OutboxRow], result: LaneResult) -> None:
        """Signal one run with its envelopes of these rows; what it can never get is parked."""
        chart = self._known.charts.get(run["definition"])
        if chart is None:
            why = self._known.faults.get(run["definition"], "it is not published here")
            self._park_all(result, rows, run, "definition", f"its definition cannot be read by this version: {why}")
            return
        if code := self._unopened(run, result):
            self._park_all(result, rows, run, code, "it comes after the row that opens the run, which is parked")
            return
        wanted = list[tuple[OutboxRow, wire.Envelope]]()
        for row in rows:
            try:
                wanted += [(row, item) for item in envelopes_for(chart, listener_in(run), [lane_row_of(row)])]
            except NewerOccurrence as newer:
                self._park(result, [row], run["id"], "version", str(newer), run)
            except Exception as error:  # noqa: BLE001 -- pure code: the same row fails again, whatever the error
                self._park(result, [row], run["id"], "unreadable", f"{type(error).__name__}: {error}", run)
            if code := self._unopened(run, result):
                rest = [later for later in rows if later.seq > row.seq]
                self._park_all(result, rest, run, code, "it comes after the row that opens the run, which is parked")
                return
        await self._send(run, chart.spec.subject, wanted, result)

    async def _send(
        self, run: Mapping[str, Any], subject: str, wanted: list[tuple[OutboxRow, wire.Envelope]], result: LaneResult
    ) -> None:
        """Send the envelopes together; if that is refused for ever one by one, so that only those at fault are parked."""
        if not wanted:
            return
        try:
            await self._signals.send_events(run, subject, [envelope for _, envelope in wanted])
            DELIVERED.inc(len(wanted))
            result.reached = True
        except RunHasEnded:
            result.ended.add(run["id"])
        except Exception as error:
            if (refusal := permanent_refusal(error)) is None:
                raise
            if len(wanted) > 1:
                for one in wanted:
                    await self._send(run, subject, [one], result)
            else:
                self._park(result, [wanted[0][0]], run["id"], "refused", refusal, run)

    def _unopened(self, run: Mapping[str, Any], result: LaneResult) -> ParkedCode | None:
        """Why the row that opens the run is parked; None if it is not."""
        opening = (parked.code for parked in result.parked if parked.run == run["id"] and parked.opens)
        return next(opening, self._known.unopened.get(run["id"]))

    def _park_all(
        self, result: LaneResult, rows: list[OutboxRow], run: Mapping[str, Any], code: ParkedCode, reason: str
    ) -> None:
        """Park rows that may concern a run."""
        listener = listener_in(run)
        of_run = [
            row for row in rows if row.seq >= listener.first(row.recipient) and row.target in (None, listener.run)
        ]
        self._park(result, of_run, run["id"], code, reason, run)

    def _park(
        self,
        result: LaneResult,
        rows: Sequence[OutboxRow],
        identity: str,
        code: ParkedCode,
        reason: str,
        run: Mapping[str, Any] | None = None,
    ) -> None:
        for row in rows:
            result.parked.append(ParkedDelivery(row, identity, code, reason, run is not None and _opens(run, row)))
            PARKED.labels(code).inc()
            log.warning("relay.parked", lane=row.recipient, seq=row.seq, run=identity, code=code)


def _opens(run: Mapping[str, Any], row: OutboxRow) -> bool:
    return listener_in(run).is_opened_by(row.recipient, row.seq)


def _bundles(rows: Sequence[OutboxRow]) -> Iterator[list[OutboxRow]]:
    """Split a lane's rows into signals: events that follow one another together, a wake alone."""
    bundle: list[OutboxRow] = []
    size = 0
    for row in rows:
        if bundle and (row.kind == "wake" or bundle[0].kind == "wake" or size + row.size > MAX_SIGNAL_BYTES):
            yield bundle
            bundle, size = [], 0
        bundle.append(row)
        size += row.size
    if bundle:
        yield bundle
