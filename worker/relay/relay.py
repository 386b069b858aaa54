"""From the outbox to Temporal: woken by NOTIFY, one lane at a time in order, never losing and harmless when it repeats.

A relay that dies between a signal and its commit signals again; the run knows the `seq` and lets it pass. When Temporal
is down the lanes rest, longer each time, and everything waits in the outbox.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import structlog
from prometheus_client import Counter, Gauge
from temporalio.client import Client
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from journeys.protocol import wire
from journeys.protocol.routing import envelope_for
from store.database import Connection, Database
from store.definitions.registry import DefinitionRegistry
from store.outbox import claims
from store.outbox.rows import OutboxRow
from store.outbox.undecided import recipients_of_row
from store.people import subjects
from store.people.test_clocks import read_clock
from store.runs import projection
from worker.relay.listener import OutboxListener

log = structlog.get_logger()

LANES = 64
ROWS_OF_A_LANE = 100
"""What one lane may bring to a batch: the others of the batch wait for it, everybody else for the batch."""
MOST_BYTES = 256 * 1024
"""Of what one signal carries: a lane's events go together, up to an eighth of what the server takes."""
AT_ONCE = 24
"""Signals on their way at the same time; more only queue inside the server."""
RPC_TIMEOUT = timedelta(seconds=10)
ILL_PAUSE = 0.1
"""Seconds to breathe when nobody of many could be reached: Temporal is ill, and not every lane should rest for it."""
SIDE_BY_SIDE = 4
HELD_UP = 0.1
"""Seconds after which a batch that waits for one busy run gets company: the others' lanes do not wait with it."""
BATCH_SECONDS = 20.0
"""After that a lane's rest waits for the next batch: a claim is held no longer than the database lets it be held."""
LOOK_ANYWAY = 5.0
"""Seconds after which the relay looks without being told: a notification may be lost with its connection."""
PRUNE_EVERY = 600.0

DELIVERED = Counter("tenure_relay_signals_total", "Signals delivered to Temporal")
FAILED = Counter("tenure_relay_failures_total", "Lanes that had to rest")
OLDEST = Gauge("tenure_outbox_oldest_seconds", "Age of the oldest outbox row that waits")
WAITING = Gauge("tenure_outbox_waiting", "Outbox rows that wait, counted up to 10,001")


class OutboxRelay:
    """One of any number of relays over one outbox."""

    def __init__(self, database: Database, client: Client, catalogue: DefinitionRegistry, task_queue: str) -> None:
        self.database, self.client, self.catalogue, self.task_queue = database, client, catalogue, task_queue
        self.bell = OutboxListener(database.url)
        self.gate = asyncio.Semaphore(AT_ONCE)
        self.reached = f"u_{secrets.token_hex(2)}"
        """The last lane that was claimed. Relays start somewhere, so that they do not go round in step."""
        self.clocks: dict[str, wire.ClockSpec] = {}
        self.batches: set[asyncio.Task[bool]] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until told to stop; then finish the batches in hand."""
        pruned = asyncio.get_running_loop().time()
        async with self.bell.listening():
            while not stop.is_set():
                self.bell.told.clear()
                try:
                    await self._deliver(stop)
                    pause = await self._measure()
                    if asyncio.get_running_loop().time() - pruned > PRUNE_EVERY:
                        pruned = asyncio.get_running_loop().time()
                        async with self.database.transaction() as connection:
                            await claims.prune_delivered(connection)
                except Exception as fault:  # noqa: BLE001 -- whatever is down comes back; the outbox keeps everything
                    log.warning("relay.store_unreachable", error=type(fault).__name__)
                    pause = 1.0
                await self.bell.wait(stop, pause)
            await asyncio.gather(*self.batches, return_exceptions=True)

    async def _deliver(self, stop: asyncio.Event) -> None:
        """Batch after batch until nothing waits; side by side only while one is held up."""
        self.batches = {batch for batch in self.batches if not batch.done()}
        more = True
        while more and not stop.is_set():
            if len(self.batches) < SIDE_BY_SIDE:
                self.batches.add(asyncio.create_task(self.deliver_batch()))
            done, self.batches = await asyncio.wait(self.batches, timeout=HELD_UP, return_when=asyncio.FIRST_COMPLETED)
            more = not done or max(batch.result() for batch in done)
        for batch in self.batches:
            batch.add_done_callback(self._look_again)

    def _look_again(self, batch: asyncio.Task[bool]) -> None:
        """A batch that was left behind has delivered something: its lanes may hold more."""
        if not batch.cancelled() and (batch.exception() is not None or batch.result()):
            self.bell.told.set()

    async def deliver_batch(self) -> bool:
        """Claim lanes, deliver each in order, mark what arrived in the same transaction. Whether there was any."""
        async with self.database.transaction() as connection:
            waiting = await claims.claim_lanes(connection, self.reached, LANES, ROWS_OF_A_LANE)
            if not waiting:
                return False
            self.reached = next(reversed(waiting))
            hearing = await projection.listeners(connection, list(waiting))
            woken = await self._prepare(connection, waiting, hearing)
            until = asyncio.get_running_loop().time() + BATCH_SECONDS
            lanes = [self._lane(found, hearing[lane], woken, until) for lane, found in waiting.items()]
            done = await asyncio.gather(*lanes)
            ids = [identity for arrived, _ in done for identity in arrived]
            await claims.mark_delivered(
                connection, ids, [lane for lane, (_, fault) in zip(waiting, done, strict=True) if not fault]
            )
            for lane, (_, fault) in zip(waiting, done, strict=True):
                if fault:
                    FAILED.inc()
                    await claims.rest_lane(connection, lane, fault)
        if not ids and len(waiting) > AT_ONCE:
            await asyncio.sleep(ILL_PAUSE)
        return bool(ids)

    async def _lane(
        self,
        waiting: list[OutboxRow],
        hearing: list[Mapping[str, Any]],
        woken: Mapping[str, str | None],
        until: float,
    ) -> tuple[list[int], str]:
        """Deliver one lane until its first failure, or its time is over: the ids that arrived, and the failure's name."""
        arrived: list[int] = []
        for bundle in _bundles(waiting):
            if asyncio.get_running_loop().time() > until:
                break
            try:
                if bundle[0].kind == "wake":
                    await self._wake(bundle[0].recipient, woken.get(bundle[0].recipient))
                else:
                    await self._events(bundle, hearing)
            except Exception as fault:  # noqa: BLE001 -- one lane's trouble is not its neighbours'
                log.warning("relay.lane_rests", lane=bundle[0].recipient, error=type(fault).__name__)
                return arrived, f"{type(fault).__name__}: {fault}"
            arrived += [item.id for item in bundle]
        return arrived, ""

    async def _events(self, bundle: list[OutboxRow], hearing: list[Mapping[str, Any]]) -> None:
        for run in hearing:
            chart, listener = self.catalogue.seen[run["definition"]], projection.listener_in(run)
            found = [envelope_for(chart, listener, recipients_of_row(item)) for item in bundle]
            # A field alone decides nothing unless a date moves by it: it comes with the next signal, or a timer asks for it.
            heard = [each for each in found if each is not None and (each.kind != "facts" or chart.has_anchors)]
            if heard:
                await self._signal(run, chart.spec.subject, heard)

    async def _signal(self, run: Mapping[str, Any], subject: str, envelopes: list[wire.Envelope]) -> None:
        """A run that has made a step is running, all but always: a plain signal costs a third less than one that may start."""
        if not (run["resumes"] and await self._signalled(run["id"], envelopes)):
            await self.start_run(run, subject, wire.SIGNAL_EVENT, envelopes)
        DELIVERED.inc(len(envelopes))

    async def _signalled(self, identity: str, envelopes: list[wire.Envelope]) -> bool:
        """Whether there was a workflow to take it."""
        async with self.gate:
            try:
                await self.client.get_workflow_handle(identity).signal(
                    wire.SIGNAL_EVENT, args=envelopes, rpc_timeout=RPC_TIMEOUT
                )
            except RPCError as fault:
                if fault.status is not RPCStatusCode.NOT_FOUND:
                    raise
                return False
        return True

    async def start_run(self, run: Mapping[str, Any], subject: str, signal: str, arguments: Sequence[object]) -> None:
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
        await self._start(wire.JOURNEY_WORKFLOW, run["id"], start, signal, arguments, closed_for_good=True)

    async def _wake(self, person: str, clock: str | None) -> None:
        start = wire.OutreachInput(person, self.clocks.get(clock or ""))
        await self._start(
            wire.OUTREACH_WORKFLOW, wire.outreach_id(person), start, wire.SIGNAL_WAKE, (), closed_for_good=False
        )

    async def _start(
        self,
        workflow: str,
        identity: str,
        start: object,
        signal: str,
        arguments: Sequence[object],
        *,
        closed_for_good: bool,
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
                    start_signal_args=arguments,
                    rpc_timeout=RPC_TIMEOUT,
                )

    async def _prepare(
        self,
        connection: Connection,
        waiting: Mapping[str, list[OutboxRow]],
        hearing: Mapping[str, list[Mapping[str, Any]]],
    ) -> Mapping[str, str | None]:
        """Read what delivering needs beforehand: lanes are delivered side by side, a connection serves one at a time.

        Answers with the test clock, if any, of each lane whose outreach is to be woken.
        """
        listening = [run for runs_of_lane in hearing.values() for run in runs_of_lane]
        for definition in {run["definition"] for run in listening}:
            await self.catalogue.chart(connection, definition)
        woken = [lane for lane, found in waiting.items() if any(item.kind == "wake" for item in found)]
        clock_of = await subjects.clock_names_of(connection, woken) if woken else {}
        await self.learn_clocks(connection, {run["clock"] for run in listening} | set(clock_of.values()))
        return clock_of

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
            seconds, waiting = await claims.backlog(connection)
            OLDEST.set(seconds)
            WAITING.set(waiting)
            ready = await claims.next_ready(connection) if waiting else None
        return LOOK_ANYWAY if ready is None else min(LOOK_ANYWAY, ready + 0.01)


def _bundles(waiting: list[OutboxRow]) -> Iterator[list[OutboxRow]]:
    """A lane's rows in order, events that follow one another together; a wake is alone."""
    bundle: list[OutboxRow] = []
    size = 0
    for item in waiting:
        if bundle and (item.kind == "wake" or bundle[0].kind == "wake" or size + item.size > MOST_BYTES):
            yield bundle
            bundle, size = [], 0
        bundle.append(item)
        size += item.size
    if bundle:
        yield bundle
