"""Screening of requests with events: quotas, test clocks, traces, claims.

A public key is in the hands of strangers: its events are about visitors who are no known users, or about users with their
hash (`journeys/access/claimed_identities.py`), and what they claim is counted by key, network, person and address.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

from starlette.requests import Request

from api.events.intake import Intake
from api.events.network_lines import NetworkLines
from api.events.permissions import UNPROVEN_VISITOR, EventPermissions
from api.events.quotas import QuotaKeeper
from api.events.reader import ParsedBatch, RefusedCall
from api.http.body import declared_size
from api.http.networks import network_of, site_of
from api.http.problems import ProblemError
from journeys.access.callers import ApiKey, CallerKind
from journeys.access.claimed_identities import own_visitor_of, placed_event
from journeys.access.claims import KnownPerson, PersonIdentity, claims_of, identities_in
from journeys.events.inbound import InboundEvent, ReceivedEvent, RejectedEvent
from journeys.events.segment import FieldFault
from journeys.events.tracing import trace_id_of
from store.access.visitors import find_people
from store.events.message_ids import known_contents, other_contents
from store.events.quarantine import refused_event
from store.people.padded_ids import known_padded

SEGMENT: Final = "segment"
"""The interface of the Segment spec, in the namespace of message ids: public keys have no other."""
REFUSAL_SECONDS: Final = (0.25, 0.75)
"""Shortest and longest delay of a refusal. Equal delays would bring the next requests all at the same moment."""
MOST_DELAYED: Final = 2_000
"""Refusals that wait at the same time in one process; more are answered at once."""
PADDED: Final = "has outer blanks, and somebody is known by it with them: trimmed it is another person's or account's"
_FIELDS: Final = {"user_id": "userId", "anonymous_id": "anonymousId", "account_id": "groupId"}
"""The field that most calls name an identity in."""


class EventScreening:
    """Screens requests by their key. Each method raises ProblemError for a request that may not pass."""

    def __init__(self, intake: Intake, permissions: EventPermissions, quotas: QuotaKeeper) -> None:
        self._intake, self._permissions, self._quotas = intake, permissions, quotas
        self._delayed = 0
        self._lines = NetworkLines(intake.limits.network_in_flight)

    async def refuse_early(self, request: Request, key: ApiKey) -> None:
        """Refuse a request before its body is read, if no event is taken now or a quota is known to be used up.

        Only for routes that read their body themselves: FastAPI has read that of a signal before its handler is called, and
        `entered` refuses it.
        """
        self._intake.admission.refuse_in_backlog()
        async with self._delaying_refusals(contextlib.AsyncExitStack()):
            self._quotas.refuse_used_up(key, network_of(request), declared_size(request))

    @asynccontextmanager
    async def entered(self, request: Request, key: ApiKey, size: int, clock: str | None) -> AsyncIterator[str | None]:
        """Let a request in whose body of `size` bytes has arrived; the test clock for its new subjects.

        A body that arrives slowly takes no place. Raises ProblemError (429, 503).
        """
        network, is_public = network_of(request), key.kind is CallerKind.PUBLIC
        async with contextlib.AsyncExitStack() as stack:
            async with self._delaying_refusals(stack):
                self._quotas.refuse_used_up(key, network, size)
                # Bodies that wait in a line are in memory: the quota of bytes limits them.
                await self._quotas.charge_bytes(key, network, size)
                if is_public:
                    await stack.enter_async_context(self._lines.place(site_of(network) or network))
                await self._quotas.charge_request(key, network)
            self._permissions.check_clock(key, clock)
            known_clock = await self._intake.clock(clock)
            with self._intake.admission.admitted(size, by_public_key=is_public):
                yield known_clock

    @asynccontextmanager
    async def _delaying_refusals(self, places: contextlib.AsyncExitStack) -> AsyncIterator[None]:
        """Delay refusals, which give their places back before they wait."""
        try:
            yield
        except ProblemError:
            await places.aclose()
            await self._delay_refusal()
            raise

    async def _delay_refusal(self) -> None:
        """Wait before a 429: who sends on and on over few connections is answered rarely, and costs little."""
        if self._delayed >= MOST_DELAYED:
            return
        self._delayed += 1
        try:
            await asyncio.sleep(random.uniform(*REFUSAL_SECONDS))  # noqa: S311 -- no secret
        finally:
            self._delayed -= 1

    def trace(self, request: Request, key: ApiKey) -> str | None:
        """The sender's trace; None for a stranger's, which could be that of somebody else's request."""
        return None if key.kind is CallerKind.PUBLIC else trace_id_of(request.headers.get("traceparent"))

    async def refuse_padded(self, batch: ParsedBatch) -> None:
        """Quarantine events whose trimmed ids are known with their blanks: two people are listed, never merged.

        An opt-out in such an event counts for whom its sender has named, with the blanks (C5).
        """
        padded = [event for event in batch.events if isinstance(event, InboundEvent) and event.padded]
        if not padded:
            return
        async with self._intake.database.reading() as connection:
            known = await known_padded(connection, padded)
        for index, event in enumerate(batch.events):
            if isinstance(event, InboundEvent) and (conflicts := sorted(known.intersection(event.padded))):
                field = _FIELDS[conflicts[0][0]]
                written: dict[str, Any] = dict(conflicts)
                named = replace(event, **written)
                rejected = refused_event(named, field, PADDED, self._intake.catalogue.consent.rules).rejected
                if batch.key.kind is CallerKind.PUBLIC:
                    rejected = replace(rejected, opt_out=None)
                batch.reject(index, rejected, [FieldFault(field, PADDED)])

    async def without_padding(self, key: ApiKey, event: ReceivedEvent) -> ReceivedEvent:
        """The one event of a call, rejected as `refuse_padded` does it."""
        if isinstance(event, RejectedEvent) or not event.padded:
            return event
        batch = ParsedBatch(key, [event.raw], [event])
        await self.refuse_padded(batch)
        return batch.events[0]

    async def screen(self, request: Request, key: ApiKey, event: ReceivedEvent) -> ReceivedEvent:
        """The one event of a call, screened as `screen_batch` does it."""
        batch = ParsedBatch(key, [event.raw], [event])
        await self.screen_batch(request, key, batch)
        return batch.events[0]

    async def screen_batch(self, request: Request, key: ApiKey, batch: ParsedBatch) -> None:
        """Charge what a public key's events claim. Those of a visitor's id that a known user has get a visitor of their own."""
        if key.kind is not CallerKind.PUBLIC or not batch.events:
            return
        network, received = network_of(request), len(batch.events)
        await self._quotas.charge_events(key, network, received)
        events = [event for event in batch.events if isinstance(event, InboundEvent)]
        people = await self._people(events)
        for index, event in enumerate(batch.events):
            if isinstance(event, InboundEvent) and (placed := placed_event(event, people)) is not event:
                if placed is None:
                    batch.refuse(index, RefusedCall.of([UNPROVEN_VISITOR]))
                else:
                    batch.events[index] = placed
        events = [event for event in batch.events if isinstance(event, InboundEvent)]
        async with self._intake.database.reading() as connection:
            known = await known_contents(connection, key.namespace(SEGMENT), [event.message_id for event in events])
        claims = claims_of(self._intake.catalogue.consent.rules, events, people)
        claims.held = received - len(events) + len(other_contents(events, known))
        claims.held += sum(event.held is not None for event in events)
        await self._quotas.charge_claims(key, network, claims)

    async def place(self, key: ApiKey, event: InboundEvent) -> InboundEvent | None:
        """An event from quarantine, placed as `screen_batch` does it; None if it has no place."""
        if key.kind is not CallerKind.PUBLIC:
            return event
        return placed_event(event, await self._people([event]))

    async def _people(self, events: Sequence[InboundEvent]) -> dict[PersonIdentity, KnownPerson]:
        """The people whom the events name, or may be placed with."""
        named = [name for event in events for name in (*identities_in(event), *own_visitor_of(event))]
        async with self._intake.database.reading() as connection:
            return await find_people(connection, named)
