"""The way from calls to a commit: how many at once, who shares a transaction, and when to say "later".

Calls that come one by one share a transaction while another is on its way: nobody waits for company, and under load a
commit is paid once for many. Each is answered when its own commit is done. What the database refuses in company is
tried again alone, so that no call fails for its neighbour.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from api.http.limits import Limits
from api.http.metrics import Metrics
from api.http.problems import ProblemError
from journeys.consent.statements import statements_in
from journeys.events.segment import InboundEvent
from store.consent.in_flight import WAIT_SECONDS, wait_for
from store.database import Database
from store.definitions.registry import DefinitionRegistry
from store.errors import Contended, is_outage
from store.events.ingest import IngestResult, accept
from store.outbox.queue import backlog
from store.people.identities import identities_of
from store.people.subjects import find_subjects
from store.people.test_clocks import read_clock
from store.reads import traces

BACKLOG_EVERY = 1.0
CLOCK_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"

MergeKey = tuple[str, str | None]
"""Calls may share a transaction when source and test clock are the same."""


@dataclass(slots=True)
class _Waiting:
    call: InboundEvent
    done: asyncio.Future[IngestResult]


@dataclass(slots=True)
class Intake:
    """Accepts calls into the store, for one process."""

    database: Database
    catalogue: DefinitionRegistry
    limits: Limits
    metrics: Metrics
    oldest_seconds: float = 0.0
    _requests: int = 0
    _bytes: int = 0
    _slots: asyncio.Semaphore = field(init=False)
    _alone: asyncio.Lock = field(default_factory=asyncio.Lock)
    _queues: dict[MergeKey, list[_Waiting]] = field(default_factory=dict)
    _clocks: set[str] = field(default_factory=set)
    _drains: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.limits.commits)

    @contextmanager
    def admitted(self, size: int) -> Iterator[None]:
        """Room for one request of `size` bytes. Raises ProblemError when there is none, before its body is read."""
        if self.oldest_seconds > self.limits.backlog_seconds:
            hours = self.oldest_seconds / 3600
            raise ProblemError(
                "overloaded", f"Accepted events wait {hours:.1f} hours for Temporal. Keep yours and send them later."
            )
        if self._requests >= self.limits.in_flight or self._bytes + size > self.limits.in_flight_bytes:
            raise ProblemError(
                "quota-exceeded", f"{self._requests} requests are being accepted. Send it again in a moment."
            )
        self._requests += 1
        self._bytes += size
        try:
            yield
        finally:
            self._requests -= 1
            self._bytes -= size

    async def clock(self, given: str | None) -> str | None:
        """The test clock that new subjects of a request belong to. Raises ProblemError for one that nobody made."""
        if given is None or given in self._clocks:
            return given
        if re.fullmatch(CLOCK_ID, given):
            async with self.database.reading() as connection:
                if await read_clock(connection, given) is not None:
                    self._clocks.add(given)
                    return given
        fault = {"detail": "is no clock: PUT /v1/clocks/{id} makes one", "pointer": "/header/X-Tenure-Clock"}
        raise ProblemError("invalid-request", "Time would pass at the wrong speed. Nothing was stored.", [fault])

    async def batch(self, calls: list[InboundEvent], *, source: str, clock: str | None) -> IngestResult:
        """Commit these together. Raises what the database raises; then none of them is stored."""
        try:
            async with self._slots:
                found = await accept(self.database, self.catalogue, calls, source=source, clock=clock)
        except Contended:
            async with self._nobody_else():
                found = await accept(self.database, self.catalogue, calls, source=source, clock=clock)
        self.metrics.accepted(found)
        return found

    @asynccontextmanager
    async def _nobody_else(self) -> AsyncIterator[None]:
        """Every slot: when several transactions would each make the same people known, one of them must have its way."""
        taken = 0
        async with self._alone:
            try:
                for _ in range(self.limits.commits):
                    await self._slots.acquire()
                    taken += 1
                yield
            finally:
                for _ in range(taken):
                    self._slots.release()

    async def one(self, call: InboundEvent, *, source: str, clock: str | None) -> None:
        """Commit this one, perhaps with others. Raises what the database raises; then it is not stored."""
        waiting = _Waiting(call, asyncio.get_running_loop().create_future())
        queue = self._queues.setdefault((source, clock), [])
        queue.append(waiting)
        if len(queue) == 1:
            drain = asyncio.create_task(self._drain((source, clock)))
            self._drains.add(drain)
            drain.add_done_callback(self._drains.discard)
        await waiting.done

    async def _drain(self, lane: MergeKey) -> None:
        """Take what waits, and whatever more comes until there is a slot."""
        async with self._slots:
            queue = self._queues.pop(lane)
        for start in range(0, len(queue), self.limits.merged):
            await self._together(queue[start : start + self.limits.merged], lane)

    async def _together(self, group: list[_Waiting], lane: MergeKey) -> None:
        source, clock = lane
        try:
            calls = [waiting.call for waiting in group]
            found = await self.batch(calls, source=source, clock=clock)
        except Exception as error:  # noqa: BLE001 -- handed to whoever waits
            if len(group) == 1 or is_outage(error):
                _settle(group, error)
                return
            for waiting in group:
                await self._together([waiting], lane)
        else:
            _settle(group, found)

    async def trace(self, call: InboundEvent, source: str) -> str | None:
        """The trace of a call that was committed, also when it had been before; None for what is in quarantine."""
        if call.number:
            return call.traced(source)
        if call.faults:
            return None
        async with self.database.reading() as connection:
            return await traces.stored_event(connection, source, call.message_id)

    async def silenced(self, calls: Sequence[InboundEvent]) -> list[dict[str, Any]]:
        """After the commit of calls that take a consent back: what was under way and still is, after up to 5 s."""
        book = self.catalogue.consent
        speaking = [
            call
            for call in calls
            if not call.faults and any(said.granted is not True for said in statements_in(book.rules, call))
        ]
        if not speaking:
            return []
        async with self.database.reading() as connection:
            known = await find_subjects(connection, [name for call in speaking for name in identities_of(call)])
        people = {key for key, _ in known.values()}
        # A request's patience covers both its commit and this.
        seconds = min(WAIT_SECONDS, self.limits.patience_seconds / 2)
        return [asdict(each) for each in await wait_for(self.database, book.policy, people, seconds=seconds)]

    async def watch(self) -> None:
        """Look at the outbox's age for ever: it is a metric, and a reason to say no."""
        while True:
            try:
                async with self.database.reading() as connection:
                    self.oldest_seconds, waiting = await backlog(connection)
                self.metrics.outbox(self.oldest_seconds, waiting)
            except Exception as error:  # noqa: BLE001 -- an outage is told by the requests themselves
                self.metrics.watch_failed(error)
            await asyncio.sleep(BACKLOG_EVERY)


def _settle(group: list[_Waiting], result: IngestResult | Exception) -> None:
    """Answer those who still wait; who has gone away is answered by the idempotency of sending it again."""
    for waiting in group:
        if waiting.done.done():
            continue
        if isinstance(result, Exception):
            waiting.done.set_exception(result)
        else:
            waiting.done.set_result(result)
