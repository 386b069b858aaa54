"""Intake: events of requests, committed on their test clocks."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from typing import Any

from api.events.admission_control import AdmissionControl
from api.events.group_commit import GroupCommit, MergeKey
from api.http.limits import Limits
from api.http.metrics import Metrics
from api.http.problems import ProblemError
from journeys.consent.statements import statements_in
from journeys.events.inbound import InboundEvent, ReceivedEvent, RejectedEvent
from store.consent.in_flight import WAIT_SECONDS, wait_for
from store.database import Database
from store.definitions.registry import DefinitionRegistry
from store.errors import Contended
from store.events.ingest import IngestResult, accept
from store.people.identities import find_subjects, identities_of
from store.people.test_clocks import read_clock
from store.reads import traces

CLOCK_HEADER = "X-Tenure-Clock"
CLOCK_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


class Intake:
    """Accepts events into the store, for one process."""

    def __init__(self, database: Database, catalogue: DefinitionRegistry, limits: Limits, metrics: Metrics) -> None:
        self.database, self.catalogue, self.limits = database, catalogue, limits
        self.admission = AdmissionControl(limits, metrics)
        self._metrics = metrics
        self._slots = asyncio.Semaphore(limits.commits)
        self._alone = asyncio.Lock()
        self._group = GroupCommit(self._commit, self._slots, limits.merged)
        self._clocks: set[str] = set()

    async def watch(self) -> None:
        """Read the outbox's age every second, and first the definitions, which the first events are checked by."""
        with suppress(Exception):  # during an outage the requests themselves read them
            async with self.database.reading() as connection:
                await self.catalogue.current(connection)
        await self.admission.watch(self.database)

    async def clock(self, clock_id: str | None) -> str | None:
        """The test clock for new subjects of a request. Raises ProblemError if it does not exist."""
        if clock_id is None or clock_id in self._clocks:
            return clock_id
        if re.fullmatch(CLOCK_ID, clock_id):
            async with self.database.reading() as connection:
                if await read_clock(connection, clock_id) is not None:
                    self._clocks.add(clock_id)
                    return clock_id
        fault = {
            "detail": "is not a test clock; create it with PUT /v1/clocks/{id}",
            "pointer": f"/header/{CLOCK_HEADER}",
        }
        raise ProblemError("invalid-request", "The test clock does not exist. Nothing was stored.", [fault])

    async def batch(self, events: Sequence[ReceivedEvent], *, source: str, clock: str | None) -> IngestResult:
        """Commit these events together. Raises the database's error; then none of them is stored."""
        try:
            async with self._slots:
                result = await accept(self.database, self.catalogue, events, source=source, clock=clock)
        except Contended:
            async with self._exclusively():
                result = await accept(self.database, self.catalogue, events, source=source, clock=clock)
        self._metrics.accepted(result)
        return result

    async def one(self, event: ReceivedEvent, *, source: str, clock: str | None) -> IngestResult:
        """Commit this event, perhaps with others. Raises the database's error; then it is not stored."""
        return await self._group.one(event, (source, clock))

    async def _commit(self, events: Sequence[ReceivedEvent], key: MergeKey) -> IngestResult:
        source, clock = key
        return await self.batch(events, source=source, clock=clock)

    @asynccontextmanager
    async def _exclusively(self) -> AsyncIterator[None]:
        """Hold every slot: of several transactions that create the same people, one must run alone to succeed."""
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

    async def trace(self, event: ReceivedEvent, source: str, result: IngestResult) -> str | None:
        """The trace of a committed event, duplicates included; None for a quarantined one."""
        if isinstance(event, RejectedEvent):
            return None
        trace = next((stored.trace for stored in result.stored if stored.event.message_id == event.message_id), None)
        if trace is not None:
            return trace
        async with self.database.reading() as connection:
            return await traces.stored_event(connection, source, event.message_id)

    async def in_flight_after(self, events: Sequence[ReceivedEvent]) -> list[dict[str, Any]]:
        """Messages still in flight up to 5 s after the commit of events that withdraw consent; none for other events."""
        rule_set = self.catalogue.consent
        withdrawing = [
            event
            for event in events
            if isinstance(event, InboundEvent)
            and any(statement.granted is not True for statement in statements_in(rule_set.rules, event))
        ]
        if not withdrawing:
            return []
        async with self.database.reading() as connection:
            known = await find_subjects(connection, [name for event in withdrawing for name in identities_of(event)])
        people = {subject.key for subject in known.values()}
        # The request's time limit covers its commit and this wait.
        seconds = min(WAIT_SECONDS, self.limits.patience_seconds / 2)
        return [asdict(message) for message in await wait_for(self.database, rule_set, people, seconds=seconds)]
