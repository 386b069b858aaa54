"""Relay: claims lanes and delivers their rows to Temporal in order.

Delivery is at least once: a relay that dies between a signal and its commit signals again, and the run skips a `seq` that it
already has. A lane whose delivery fails rests, longer each time; what can never be delivered is parked, and its lane goes on
(`delivery.py`). While Temporal is down no lane rests for it: everything waits in the outbox, and the relay asks for Temporal's
health. The first success after failures ends all rests (record 0019).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import structlog
from prometheus_client import Counter, Gauge
from temporalio.client import Client

from journeys.decision.chart import Chart
from store.availability import log_outage
from store.database import Connection, Database
from store.definitions.registry import DefinitionRegistry
from store.errors import is_outage
from store.outbox import claims, parked
from store.outbox import queue as outbox
from store.outbox.backlog import Backlog, read_backlog
from store.outbox.rows import LEAST_URGENCY, PRESSING_URGENCY, USUAL_URGENCY
from store.runs.lanes import listeners_of
from worker.relay.delivery import KnownDefinitions, LaneDelivery, LaneResult
from worker.relay.ended_runs import EndedRuns
from worker.relay.listener import NotificationListener
from worker.relay.signals import CALLS_AT_ONCE, WorkflowSignals

log = structlog.get_logger()

LANES: Final = 64
"""Lanes of one batch."""
ROWS_OF_A_LANE: Final = 100
"""Rows that one lane may bring to a batch, so that the batch's other lanes wait no longer."""
OUTAGE_PAUSE: Final = 0.5
"""Seconds between two questions for Temporal's health while it is down."""
MEASURE_SECONDS: Final = 1.0
"""Least time between two measures of the backlog."""
BATCHES_AT_ONCE: Final = 4
USUAL_AT_ONCE: Final = 12
COPIED_AT_ONCE: Final = 8
"""Lanes that a pump for less urgent rows delivers at a time. Together they leave calls to Temporal free for pressing ones."""
SLOW_BATCH_SECONDS: Final = 0.1
"""After this a second batch starts beside the first, so that one busy run does not hold up other lanes."""
BATCH_SECONDS: Final = 20.0
"""After this the rest of a lane waits for the next batch: it stays below the database's limit for idle transactions."""
POLL_SECONDS: Final = 5.0
"""Poll without a notification after this: one may be lost with its connection."""

FAILED = Counter("tenure_relay_failures_total", "Lanes that rest after a failed delivery")
OLDEST = Gauge("tenure_outbox_oldest_seconds", "Age of the oldest undelivered outbox row")
WAITING = Gauge("tenure_outbox_waiting", "Undelivered outbox rows, counted up to 10,001")
MEDIAN = Gauge("tenure_outbox_median_seconds", "Median age of lanes that wait and do not rest, of a sample")
LATE = Gauge(
    "tenure_outbox_late_share", "Share of lanes that wait for more than a minute, of those that wait and do not rest"
)
RESTING = Gauge("tenure_lanes_resting", "Lanes that rest after a failed delivery, counted up to 10,001")
HELD = Gauge("tenure_parked_rows", "Parked rows that nobody has replayed or discarded")


@dataclass
class LanePump:
    """Batches of lanes up to an `urgency`, beside those of the pumps for more urgent ones (record 0034).

    `payload` is of the notifications that wake it, `slots` limits the lanes that it delivers at a time. The one for `rested`
    lanes also claims those whose rest has ended.
    """

    urgency: int
    payload: str
    slots: asyncio.Semaphore
    rested: bool = False
    batches: set[asyncio.Task[bool]] = field(default_factory=set)


class OutboxRelay:
    """One of any number of relays over one outbox."""

    def __init__(self, database: Database, client: Client, catalogue: DefinitionRegistry, task_queue: str) -> None:
        self.database, self.catalogue = database, catalogue
        self.signals = WorkflowSignals(client, task_queue)
        self.pressing = LanePump(PRESSING_URGENCY, outbox.PRESSING_ROWS, asyncio.Semaphore(CALLS_AT_ONCE))
        self.usual = LanePump(USUAL_URGENCY, "", asyncio.Semaphore(USUAL_AT_ONCE))
        self.all = LanePump(LEAST_URGENCY, outbox.COPIES, asyncio.Semaphore(COPIED_AT_ONCE), rested=True)
        self.pumps = (self.pressing, self.usual, self.all)
        payloads = [pump.payload for pump in self.pumps]
        self.listener = NotificationListener(database.url, outbox.CHANNEL, payloads)
        self.ended = EndedRuns(database, client)
        self.is_failing = False
        """The last batch that called Temporal had failures only."""
        self.is_outage = False
        """Temporal does not answer: nothing is claimed until it does."""
        self._outage_began = 0.0
        self._measured_at = -MEASURE_SECONDS

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until `stop` is set, then finish the batches in hand. An outage of the database is waited for."""
        async with self.listener.listening():
            await asyncio.gather(*(self._run(pump, stop) for pump in self.pumps))

    async def _run(self, pump: LanePump, stop: asyncio.Event) -> None:
        while not stop.is_set():
            self.listener.notified[pump.payload].clear()
            try:
                await self._wait_for_temporal(stop)
                await self._deliver(pump, stop)
                pause = await self._measure()
            except Exception as error:  # noqa: BLE001 — an outage ends, and the outbox keeps everything
                log_outage("relay.store_unreachable", error)
                pause = 1.0
            await self.listener.wait(stop, pause, pump.payload)
        await asyncio.gather(*pump.batches, return_exceptions=True)

    async def _wait_for_temporal(self, stop: asyncio.Event) -> None:
        """In an outage, until Temporal answers: new events would only be more calls that fail."""
        while self.is_outage and not stop.is_set():
            if await self.signals.is_reachable():
                self._end_outage()
            else:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), OUTAGE_PAUSE)

    def _begin_outage(self, lanes: int) -> None:
        """One line per outage: both kinds of batches find it."""
        if not self.is_outage:
            self.is_outage, self._outage_began = True, asyncio.get_running_loop().time()
            log.warning("relay.temporal_unreachable", lanes=lanes)

    def _end_outage(self) -> None:
        if self.is_outage:
            self.is_outage = False
            seconds = asyncio.get_running_loop().time() - self._outage_began
            log.warning("relay.temporal_reachable", after_seconds=round(seconds, 1))

    async def _deliver(self, pump: LanePump, stop: asyncio.Event) -> None:
        """Batch after batch until no lane waits; several at once only while one is slow and leaves slots free."""
        pump.batches = {batch for batch in pump.batches if not batch.done()}
        more = True
        while more and not stop.is_set():
            if len(pump.batches) < BATCHES_AT_ONCE and not pump.slots.locked():
                pump.batches.add(asyncio.create_task(self.deliver_batch(pump)))
            done, pump.batches = await asyncio.wait(
                pump.batches, timeout=SLOW_BATCH_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            more = not done or max(batch.result() for batch in done)
        for batch in pump.batches:
            batch.add_done_callback(partial(self._poll_after, pump))

    def _poll_after(self, pump: LanePump, batch: asyncio.Task[bool]) -> None:
        """Poll again once a slow batch has delivered something: its lanes may hold more."""
        if not batch.cancelled() and (batch.exception() is not None or batch.result()):
            self.listener.notified[pump.payload].set()

    async def deliver_batch(self, pump: LanePump) -> bool:
        """Claim lanes, deliver each in order, and mark the delivered rows in the same transaction.

        Whether anything was delivered. Raises the database's errors.
        """
        async with self.database.transaction() as connection:
            claimed = await claims.claim_lanes(connection, pump.urgency, LANES, ROWS_OF_A_LANE, rested=pump.rested)
            if not claimed:
                return False
            listeners = await listeners_of(connection, list(claimed))
            known = await self._known(connection, listeners)
            until = asyncio.get_running_loop().time() + BATCH_SECONDS
            delivery = LaneDelivery(self.signals, known, pump.slots, until)
            lanes = [delivery.deliver(rows, listeners[lane]) for lane, rows in claimed.items()]
            results = dict(zip(claimed, await asyncio.gather(*lanes), strict=True))
            delivered = await self._record(connection, results)
        await self._close_ended(set[str]().union(*(result.ended for result in results.values())))
        return delivered

    async def _record(self, connection: Connection, results: Mapping[str, LaneResult]) -> bool:
        """Mark what left its lane, park what never can, and let lanes rest; whether anything left its lane."""
        ids = [row_id for result in results.values() for row_id in result.delivered]
        reached = any(result.reached for result in results.values())
        failed = {lane: result.error for lane, result in results.items() if result.error is not None}
        await parked.park(connection, [row for result in results.values() for row in result.parked])
        await claims.mark_delivered(connection, ids, [lane for lane in results if lane not in failed])
        if reached and self.is_failing:
            await claims.end_rests(connection)
        if failed and not reached and not await self.signals.is_reachable():
            self._begin_outage(len(failed))
        else:
            for lane, error in failed.items():
                FAILED.inc()
                await claims.rest_lane(connection, lane, f"{type(error).__name__}: {error}")
        if reached or failed:
            self.is_failing = not reached
        return bool(ids)

    async def _close_ended(self, runs: set[str]) -> None:
        """Close the rows of runs whose workflow has ended. The hourly sweep finds those that are not closed now."""
        for run in runs:
            try:
                await self.ended.close(run)
            except Exception as error:  # noqa: BLE001 -- the row stays open, and the sweep tries again
                log.warning("relay.ended_run_open", run=run, error=type(error).__name__)

    async def _known(
        self, connection: Connection, listeners: Mapping[str, list[Mapping[str, Any]]]
    ) -> KnownDefinitions:
        """Read the batch's definitions first: lanes are delivered concurrently, and a connection serves one at a time."""
        runs = [run for of_lane in listeners.values() for run in of_lane]
        charts, faults = dict[str, Chart](), dict[str, str]()
        for definition in {run["definition"] for run in runs}:
            try:
                charts[definition] = await self.catalogue.chart(connection, definition)
            except Exception as error:
                if is_outage(error):
                    raise
                faults[definition] = f"{type(error).__name__}: {error}"
        unbegun = [run["id"] for run in runs if not run["resumes"]]
        return KnownDefinitions(charts, faults, await parked.unopened_runs(connection, unbegun))

    async def _measure(self) -> float:
        """Publish the backlog, once a second at most; seconds until the next poll without a notification."""
        async with self.database.reading() as connection:
            if (now := asyncio.get_running_loop().time()) - self._measured_at >= MEASURE_SECONDS:
                self._measured_at = now
                _publish(await read_backlog(connection))
                HELD.set(await parked.count_parked(connection))
            ready = await claims.next_ready(connection)
        return POLL_SECONDS if ready is None else min(POLL_SECONDS, ready + 0.01)


def _publish(backlog: Backlog) -> None:
    OLDEST.set(backlog.oldest_seconds)
    WAITING.set(backlog.waiting)
    MEDIAN.set(backlog.median_seconds)
    LATE.set(backlog.late_share)
    RESTING.set(backlog.resting)
