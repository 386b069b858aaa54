"""From the outbox to Temporal: woken by NOTIFY, one lane at a time in order, never losing and harmless when it repeats.

A relay that dies between a signal and its commit signals again; the run knows the `seq` and lets it pass. When Temporal
is down the lanes rest, longer each time, and everything waits in the outbox.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any

import asyncpg
import structlog
from prometheus_client import Counter, Gauge
from temporalio.client import Client
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from journeys import wire
from journeys.routing import envelope_for
from store import outbox, runs, subjects
from store.catalogue import Catalogue
from store.clocks import read_clock
from store.database import Connection, Database
from store.pending import addressed

log = structlog.get_logger()

LANES = 64
ROWS_OF_A_LANE = 32
"""What one lane may bring to a batch: the others of the batch wait for it, everybody else for the batch."""
AT_ONCE = 24
"""Signals on their way at the same time; more only queue inside the server."""
RPC_TIMEOUT = timedelta(seconds=10)
ILL_PAUSE = 0.1
"""Seconds to breathe when nobody of many could be reached: Temporal is ill, and not every lane should rest for it."""
BATCH_SECONDS = 20.0
"""After that a lane's rest waits for the next batch: a claim is held no longer than the database lets it be held."""
LOOK_ANYWAY = 5.0
"""Seconds after which the relay looks without being told: a notification may be lost with its connection."""
PRUNE_EVERY = 600.0

DELIVERED = Counter("tenure_relay_signals_total", "Signals delivered to Temporal")
FAILED = Counter("tenure_relay_failures_total", "Lanes that had to rest")
OLDEST = Gauge("tenure_outbox_oldest_seconds", "Age of the oldest outbox row that waits")
WAITING = Gauge("tenure_outbox_waiting", "Outbox rows that wait, counted up to 10,001")


class Relay:
    """One of any number of relays over one outbox."""

    def __init__(self, database: Database, client: Client, catalogue: Catalogue, task_queue: str) -> None:
        self.database, self.client, self.catalogue, self.task_queue = database, client, catalogue, task_queue
        self.told = asyncio.Event()
        self.gate = asyncio.Semaphore(AT_ONCE)
        self.reached = f"u_{secrets.token_hex(2)}"
        """The last lane that was claimed. Relays start somewhere, so that they do not go round in step."""
        self.clocks: dict[str, wire.ClockSpec] = {}
        self.clock_of: dict[str, str | None] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until told to stop; then finish the batch in hand."""
        pruned = asyncio.get_running_loop().time()
        async with self._listening():
            while not stop.is_set():
                self.told.clear()
                try:
                    while not stop.is_set() and await self.deliver_batch():
                        pass
                    pause = await self._measure()
                    if asyncio.get_running_loop().time() - pruned > PRUNE_EVERY:
                        pruned = asyncio.get_running_loop().time()
                        async with self.database.transaction() as connection:
                            await outbox.prune(connection)
                except Exception as fault:  # noqa: BLE001 -- whatever is down comes back; the outbox keeps everything
                    log.warning("relay.store_unreachable", error=type(fault).__name__)
                    pause = 1.0
                await self._wait(stop, pause)

    async def deliver_batch(self) -> bool:
        """Claim lanes, deliver each in order, mark what arrived in the same transaction. Whether there was any."""
        async with self.database.transaction() as connection:
            waiting = await outbox.claim(connection, self.reached, LANES, ROWS_OF_A_LANE)
            if not waiting:
                return False
            self.reached = next(reversed(waiting))
            hearing = await runs.listeners(connection, list(waiting))
            await self._prepare(connection, waiting, hearing)
            until = asyncio.get_running_loop().time() + BATCH_SECONDS
            lanes = [self._lane(found, hearing[lane], until) for lane, found in waiting.items()]
            done = await asyncio.gather(*lanes)
            ids = [identity for arrived, _ in done for identity in arrived]
            await outbox.delivered(
                connection, ids, [lane for lane, (_, fault) in zip(waiting, done, strict=True) if not fault]
            )
            for lane, (_, fault) in zip(waiting, done, strict=True):
                if fault:
                    FAILED.inc()
                    await outbox.rest(connection, lane, fault)
        if not ids and len(waiting) > AT_ONCE:
            await asyncio.sleep(ILL_PAUSE)
        return bool(ids)

    async def _lane(
        self, waiting: list[outbox.Row], hearing: list[Mapping[str, Any]], until: float
    ) -> tuple[list[int], str]:
        """Deliver one lane until its first failure, or its time is over: the ids that arrived, and the failure's name."""
        arrived: list[int] = []
        for item in waiting:
            if asyncio.get_running_loop().time() > until:
                break
            try:
                await self._row(item, hearing)
            except Exception as fault:  # noqa: BLE001 -- one lane's trouble is not its neighbours'
                log.warning("relay.lane_rests", lane=item.recipient, error=type(fault).__name__)
                return arrived, f"{type(fault).__name__}: {fault}"
            arrived.append(item.id)
        return arrived, ""

    async def _row(self, item: outbox.Row, hearing: list[Mapping[str, Any]]) -> None:
        if item.kind == "wake":
            await self._wake(item.recipient)
            return
        row = addressed(item)
        for run in hearing:
            chart = self.catalogue.seen[run["definition"]]
            envelope = envelope_for(chart, runs.listener_in(run), row)
            # A field alone decides nothing unless a date moves by it: it comes with the next signal, or a timer asks for it.
            if envelope is not None and (envelope.kind != "facts" or chart.has_anchors):
                await self._signal(run, chart.spec.subject, envelope)

    async def _signal(self, run: Mapping[str, Any], subject: str, envelope: wire.Envelope) -> None:
        await self.start_run(run, subject, wire.SIGNAL_EVENT, envelope)
        DELIVERED.inc()

    async def start_run(self, run: Mapping[str, Any], subject: str, signal: str, argument: object) -> None:
        """Signal a run, and start it where there is none: from nothing, or from what the store has kept."""
        start = wire.RunInput(
            run=run["id"],
            definition=run["definition"],
            subject_kind=subject,
            subject_key=run["subject_key"],
            entered_at=run["started_at"].isoformat(),
            clock=self.clocks.get(run["clock"] or ""),
            carried=wire.RESUMES if run["resumes"] else None,
        )
        await self._start(wire.JOURNEY_WORKFLOW, run["id"], start, signal, argument, closed_for_good=True)

    async def _wake(self, person: str) -> None:
        start = wire.OutreachInput(person, self.clocks.get(self.clock_of.get(person) or ""))
        await self._start(
            wire.OUTREACH_WORKFLOW, wire.outreach_id(person), start, wire.SIGNAL_WAKE, None, closed_for_good=False
        )

    async def _start(
        self, workflow: str, identity: str, start: object, signal: str, argument: object, *, closed_for_good: bool
    ) -> None:
        """Signal-with-start: one call whether it runs or not. A journey's id that has closed is never opened again."""
        reuse = WorkflowIDReusePolicy.REJECT_DUPLICATE if closed_for_good else WorkflowIDReusePolicy.ALLOW_DUPLICATE
        async with self.gate:
            with contextlib.suppress(WorkflowAlreadyStartedError):
                await self.client.start_workflow(
                    workflow,
                    start,
                    id=identity,
                    task_queue=self.task_queue,
                    id_reuse_policy=reuse,
                    start_signal=signal,
                    start_signal_args=[] if argument is None else [argument],
                    rpc_timeout=RPC_TIMEOUT,
                )

    async def _prepare(
        self,
        connection: Connection,
        waiting: Mapping[str, list[outbox.Row]],
        hearing: Mapping[str, list[Mapping[str, Any]]],
    ) -> None:
        """Read what delivering needs beforehand: lanes are delivered side by side, a connection serves one at a time."""
        listening = [run for runs_of_lane in hearing.values() for run in runs_of_lane]
        for definition in {run["definition"] for run in listening}:
            await self.catalogue.chart(connection, definition)
        woken = [lane for lane, found in waiting.items() if any(item.kind == "wake" for item in found)]
        self.clock_of = await subjects.clocks_of(connection, woken) if woken else {}
        await self.learn_clocks(connection, {run["clock"] for run in listening} | set(self.clock_of.values()))

    async def learn_clocks(self, connection: Connection, names: set[str | None]) -> None:
        """Read the test clocks that a start will name."""
        for name in names:
            clock = await read_clock(connection, name) if name and name not in self.clocks else None
            if clock is not None:
                self.clocks[clock.id] = wire.ClockSpec(
                    clock.id, clock.origin.isoformat(), clock.started.isoformat(), clock.speed
                )

    # -- waiting ---------------------------------------------------------------------------------------------------

    async def _measure(self) -> float:
        """Publish the backlog; how long to wait when nobody tells us anything."""
        async with self.database.reading() as connection:
            seconds, waiting = await outbox.backlog(connection)
            OLDEST.set(seconds)
            WAITING.set(waiting)
            ready = await outbox.next_ready(connection) if waiting else None
        return LOOK_ANYWAY if ready is None else min(LOOK_ANYWAY, ready + 0.01)

    async def _wait(self, stop: asyncio.Event, pause: float) -> None:
        waits = [asyncio.create_task(self.told.wait()), asyncio.create_task(stop.wait())]
        _, left = await asyncio.wait(waits, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
        for task in left:
            task.cancel()

    @contextlib.asynccontextmanager
    async def _listening(self) -> AsyncIterator[None]:
        """Hold a connection that listens, and open it again when it is lost."""
        task = asyncio.create_task(self._listen())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _listen(self) -> None:
        while True:
            lost = asyncio.Event()
            try:
                connection = await asyncpg.connect(self.database.url.replace("+asyncpg", "", 1))
            except (OSError, asyncpg.PostgresError):
                await asyncio.sleep(1.0)
                continue
            try:
                connection.add_termination_listener(lambda _, lost=lost: lost.set())
                await connection.add_listener(outbox.CHANNEL, lambda *_: self.told.set())
                self.told.set()
                await lost.wait()
            finally:
                await connection.close(timeout=1)
