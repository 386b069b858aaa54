"""Relay: claims lanes and delivers their rows to Temporal in order.

Delivery is at least once: a relay that dies between a signal and its commit signals again, and the run skips a `seq` that it
already has. A lane that cannot be delivered rests, longer each time; while Temporal is down everything waits in the outbox.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import structlog
from prometheus_client import Counter, Gauge
from temporalio.client import Client

from journeys.protocol import wire
from journeys.protocol.routing import envelopes_for
from store.database import Connection, Database
from store.definitions.registry import DefinitionRegistry
from store.outbox import claims
from store.outbox import queue as outbox
from store.outbox.rows import OutboxRow
from store.outbox.undecided import lane_row_of
from store.runs.lanes import listener_in, listeners_of
from worker.relay.listener import NotificationListener
from worker.relay.signals import CALLS_AT_ONCE, WorkflowSignals

log = structlog.get_logger()

LANES: Final = 64
"""Lanes of one batch."""
ROWS_OF_A_LANE: Final = 100
"""Rows that one lane may bring to a batch, so that the batch's other lanes wait no longer."""
MAX_SIGNAL_BYTES: Final = 256 * 1024
"""Size of the events in one signal: an eighth of what the server accepts."""
OUTAGE_PAUSE: Final = 0.1
"""Seconds to wait when none of many lanes was reached: Temporal is down, and not every lane should rest for it."""
BATCHES_AT_ONCE: Final = 4
COPIED_AT_ONCE: Final = 16
"""Lanes delivered at a time where nothing but copies may wait: other lanes find calls to Temporal free."""
SLOW_BATCH_SECONDS: Final = 0.1
"""After this a second batch starts beside the first, so that one busy run does not hold up other lanes."""
BATCH_SECONDS: Final = 20.0
"""After this the rest of a lane waits for the next batch: it stays below the database's limit for idle transactions."""
POLL_SECONDS: Final = 5.0
"""Poll without a notification after this: one may be lost with its connection."""

DELIVERED = Counter("tenure_relay_signals_total", "Signals delivered to Temporal")
FAILED = Counter("tenure_relay_failures_total", "Lanes that rest after a failed delivery")
OLDEST = Gauge("tenure_outbox_oldest_seconds", "Age of the oldest undelivered outbox row")
WAITING = Gauge("tenure_outbox_waiting", "Undelivered outbox rows, counted up to 10,001")


@dataclass
class LanePump:
    """Batches of one kind: of lanes where something other than copies waits (`own`), or of all.

    An account's row is copied to all its members at once. They are delivered one after another, and others' lanes beside them.
    """

    own: bool
    last_lane: str
    """Each relay starts at a random one, so that relays do not claim in step."""
    slots: asyncio.Semaphore
    batches: set[asyncio.Task[bool]] = field(default_factory=set)

    @property
    def payload(self) -> str:
        """What its notifications say."""
        return "" if self.own else outbox.COPIES


class OutboxRelay:
    """One of any number of relays over one outbox."""

    def __init__(self, database: Database, client: Client, catalogue: DefinitionRegistry, task_queue: str) -> None:
        self.database, self.catalogue = database, catalogue
        self.signals = WorkflowSignals(client, task_queue)
        start = f"u_{secrets.token_hex(2)}"
        self.own = LanePump(True, start, asyncio.Semaphore(CALLS_AT_ONCE))
        self.all = LanePump(False, start, asyncio.Semaphore(COPIED_AT_ONCE))
        payloads = (self.own.payload, self.all.payload)
        self.listener = NotificationListener(database.url, outbox.CHANNEL, payloads)

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until `stop` is set, then finish the batches in hand. An outage of the database is waited for."""
        async with self.listener.listening():
            await asyncio.gather(self._run(self.own, stop), self._run(self.all, stop))

    async def _run(self, pump: LanePump, stop: asyncio.Event) -> None:
        while not stop.is_set():
            self.listener.notified[pump.payload].clear()
            try:
                await self._deliver(pump, stop)
                pause = await self._measure()
            except Exception as error:  # noqa: BLE001 — an outage ends, and the outbox keeps everything
                log.warning("relay.store_unreachable", error=type(error).__name__)
                pause = 1.0
            await self.listener.wait(stop, pause, pump.payload)
        await asyncio.gather(*pump.batches, return_exceptions=True)

    async def _deliver(self, pump: LanePump, stop: asyncio.Event) -> None:
        """Batch after batch until no lane waits; several at once only while one is slow."""
        pump.batches = {batch for batch in pump.batches if not batch.done()}
        more = True
        while more and not stop.is_set():
            if len(pump.batches) < BATCHES_AT_ONCE:
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
            claimed = await claims.claim_lanes(connection, pump.last_lane, LANES, ROWS_OF_A_LANE, own=pump.own)
            if not claimed:
                return False
            pump.last_lane = next(reversed(claimed))
            listeners = await listeners_of(connection, list(claimed))
            await self._read_definitions(connection, listeners)
            until = asyncio.get_running_loop().time() + BATCH_SECONDS
            lanes = [self._lane(rows, listeners[lane], until, pump.slots) for lane, rows in claimed.items()]
            results = dict(zip(claimed, await asyncio.gather(*lanes), strict=True))
            ids = [row_id for delivered, _ in results.values() for row_id in delivered]
            await claims.mark_delivered(connection, ids, [lane for lane, (_, error) in results.items() if not error])
            for lane, (_, error) in results.items():
                if error:
                    FAILED.inc()
                    await claims.rest_lane(connection, lane, error)
        if not ids and len(claimed) > CALLS_AT_ONCE:
            await asyncio.sleep(OUTAGE_PAUSE)
        return bool(ids)

    async def _lane(
        self, rows: list[OutboxRow], listeners: list[Mapping[str, Any]], until: float, slots: asyncio.Semaphore
    ) -> tuple[list[int], str]:
        """Deliver one lane up to its first failure or the instant `until`: ids of delivered rows, and the failure."""
        delivered: list[int] = []
        for bundle in _bundles(rows):
            try:
                async with slots:
                    if asyncio.get_running_loop().time() > until:
                        break
                    if bundle[0].kind == "wake":
                        await self.signals.wake_outreach(bundle[0].recipient)
                    else:
                        await self._events(bundle, listeners)
            except Exception as error:  # noqa: BLE001 — one lane's failure must not stop the others
                log.warning("relay.lane_rests", lane=bundle[0].recipient, error=type(error).__name__)
                return delivered, f"{type(error).__name__}: {error}"
            delivered += [row.id for row in bundle]
        return delivered, ""

    async def _events(self, rows: list[OutboxRow], listeners: list[Mapping[str, Any]]) -> None:
        """Signal every run that listens with its envelopes of these rows."""
        for run in listeners:
            chart = self.catalogue.loaded_charts[run["definition"]]
            wanted = envelopes_for(chart, listener_in(run), map(lane_row_of, rows))
            if wanted:
                await self._signal(run, chart.spec.subject, wanted)

    async def _signal(self, run: Mapping[str, Any], subject: str, envelopes: list[wire.Envelope]) -> None:
        await self.signals.send_events(run, subject, envelopes)
        DELIVERED.inc(len(envelopes))

    async def _read_definitions(self, connection: Connection, listeners: Mapping[str, list[Mapping[str, Any]]]) -> None:
        """Read definitions first: lanes are delivered concurrently, and a connection serves one at a time."""
        for definition in {run["definition"] for runs in listeners.values() for run in runs}:
            await self.catalogue.chart(connection, definition)

    async def _measure(self) -> float:
        """Publish the backlog; seconds until the next poll without a notification."""
        async with self.database.reading() as connection:
            seconds, waiting = await claims.backlog(connection)
            OLDEST.set(seconds)
            WAITING.set(waiting)
            ready = await claims.next_ready(connection) if waiting else None
        return POLL_SECONDS if ready is None else min(POLL_SECONDS, ready + 0.01)


def _bundles(rows: list[OutboxRow]) -> Iterator[list[OutboxRow]]:
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
