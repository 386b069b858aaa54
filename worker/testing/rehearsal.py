"""Rehearsal: a journey on real servers, on a test clock that the test advances.

The clock's driver decides everything that is due on the way, each at its own instant, as it does for any test clock.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from temporalio.client import Client

from activities.content.templates import template_infos
from api.events.tracking_plan import EventCheck
from journeys.checks.checker import PublishableDefinition, publishable, publishable_definition
from journeys.decision.compiler import load_chart
from journeys.events.inbound import InboundEvent
from journeys.events.tracking_plan import TrackingPlan
from journeys.events.validation import InvalidEvent
from journeys.language.parsing import read_journey
from journeys.language.problems import Problem
from store.clocks import control
from store.clocks.due import read_state
from store.database import Database
from store.definitions import publishing
from store.definitions.registry import DefinitionRegistry
from store.events import ingest
from store.people.test_clocks import ClockStatus
from store.reads import rehearsal as reads
from worker.settings import Settings
from worker.stack.maildir import Maildir

MAIN: Final = "rehearsal"
SILENT_SECONDS: Final = 60.0
"""Real time after which a clock that does not move has no driver any more."""
FIRST_LOOK_SECONDS, LAST_LOOK_SECONDS = 0.005, 0.04
"""Pauses between two looks at the clock. They grow: worker and driver often run in the same process."""


class Unpublishable(AssertionError):
    """The journey fails the checker. The message lists every problem with its place."""


class NotPlanned(AssertionError):
    """An event fails the tracking plan, or cannot be accepted. The message lists every fault."""


@dataclass
class Rehearsal:
    """Handle of a test: send events, advance time, and read what people received and why."""

    database: Database
    client: Client
    settings: Settings
    catalogue: DefinitionRegistry
    mail: Maildir
    plan: TrackingPlan
    check: EventCheck
    clock: str
    now: datetime
    levels: int
    """Length of the policy's chain of escalation."""
    sent_events: int = 0

    # -- events ----------------------------------------------------------------------------------------------

    async def publish(self, journey: str | Path, *, checked: bool = True) -> str:
        """Check and publish a journey, given as YAML text or as its file; returns its hash.

        With `checked=False` the checker is skipped, for fragments. Raises Unpublishable.
        """
        text = journey.read_text("utf-8") if isinstance(journey, Path) else journey
        definition, source = read_journey(text)
        templates = template_infos(self.settings.catalog / "templates")
        result: PublishableDefinition | list[Problem] = source.problems
        if definition is not None:
            policy = self.catalogue.consent.policy
            result = (
                publishable(text, self.plan, templates, policy=policy)
                if checked
                else publishable_definition(definition, self.plan)
            )
        if isinstance(result, list):
            raise Unpublishable("\n".join(str(problem) for problem in result))
        chart = load_chart(result.artifact_text)
        await publishing.publish_definition(self.database, chart, result.artifact_text, text, "rehearsal")
        return result.hash

    async def signal(
        self, user: str | None, name: str, *, account: str | None = None, id: str = "", **data: Any
    ) -> None:
        """Send a signal of a user, or of an account if `user` is None. The same `id` again is a duplicate."""
        self.sent_events += 1
        call = InboundEvent(
            "track", id or f"event-{self.sent_events}", name, user_id=user, account_id=account, data=data
        )
        await self.accept(call)

    async def identify(self, user: str, **traits: Any) -> None:
        """Set traits of a user."""
        self.sent_events += 1
        await self.accept(
            InboundEvent("identify", f"event-{self.sent_events}", "identify", user_id=user, traits=traits)
        )

    async def group(self, user: str, account: str, **traits: Any) -> None:
        """Put a user into an account, and set traits of the account."""
        self.sent_events += 1
        call = InboundEvent(
            "group", f"event-{self.sent_events}", "group", user_id=user, account_id=account, traits=traits
        )
        await self.accept(call)

    async def accept(self, *calls: InboundEvent) -> None:
        """Accept events as the API does, at this instant, and wait until all their consequences are decided.

        Raises NotPlanned for events that fail the tracking plan; then none of them is accepted.
        """
        await self.accept_as_is(*(self._planned(call) for call in calls))

    async def accept_as_is(self, *calls: InboundEvent) -> None:
        """The same for signals by their own names, which are not checked. Raises NotPlanned for people on several clocks."""
        result = await ingest.accept(self.database, self.catalogue, list(calls), source=self.clock, clock=self.clock)
        if result.refused:
            raise NotPlanned("; ".join(fault for event in result.refused for fault in event.rejected.faults))
        await self.settle()

    def _planned(self, call: InboundEvent) -> InboundEvent:
        """A call by the tracking plan: its signal, and the properties with their declared types."""
        planned = self.check.planned(call.kind, call.name, dict(call.data))
        if isinstance(planned, InvalidEvent):
            raise NotPlanned(f"{call.name}: {'; '.join(fault.what for fault in planned.faults)}")
        event = dataclasses.replace(call, name=planned.signal, data=planned.properties)
        faults = self.check.faults(event)
        if faults:
            raise NotPlanned(f"{call.name}: {'; '.join(faults)}")
        return event

    async def apart(self, clock: str) -> Rehearsal:
        """A second test clock on the same servers. People first seen through it are on that clock."""
        async with self.database.transaction() as connection:
            await control.create_clock(connection, clock, self.now)
        return dataclasses.replace(self, clock=clock, sent_events=0)

    # -- time ------------------------------------------------------------------------------------------------------

    async def forward(self, until: datetime | timedelta | None = None, /, **span: float) -> None:
        """Let time pass, as in `forward(days=30)`, or up to an instant; everything due on the way is decided."""
        target = until if isinstance(until, datetime) else self.now + (until or timedelta(**span))
        async with self.database.transaction() as connection:
            await control.advance_clock(connection, self.clock, max(target, self.now))
        await self.settle()
        self.now = max(target, self.now)

    async def settle(self) -> None:
        """Wait until everything due by now is decided and delivered. Raises AssertionError for what does not end."""
        time = asyncio.get_running_loop().time
        moved, deadline, pause = None, time() + SILENT_SECONDS, FIRST_LOOK_SECONDS
        while True:
            async with self.database.reading() as connection:
                state = await read_state(connection, self.clock, self.levels)
            assert state is not None, "a rehearsal makes its clocks"
            clock, has_work = state
            if clock.status is ClockStatus.READY and not has_work:
                return
            if clock.error is not None:
                raise AssertionError(f"not settled: {clock.error}")
            if clock.progressed_at != moved:
                moved, deadline = clock.progressed_at, time() + SILENT_SECONDS
            if time() > deadline:
                raise AssertionError(f"not settled: the clock {clock.id} does not move on from {clock.now.isoformat()}")
            await asyncio.sleep(pause)
            pause = min(pause * 1.3, LAST_LOOK_SECONDS)

    # -- results -------------------------------------------------------------------------------------------

    async def messages(self, user: str | None = None, status: str | None = "sent") -> list[Mapping[str, Any]]:
        """Messages with their reasons, in the order of sending; of one status, or of all with `status=None`."""
        async with self.database.reading() as connection:
            messages = await reads.all_messages(connection)
        return [item for item in messages if user in {None, item["recipient"]} and status in {None, item["status"]}]

    async def sent(self, user: str | None = None) -> list[str]:
        """Templates of the sent messages, in order."""
        return [message["template"] for message in await self.messages(user)]

    async def lines(self, user: str | None = None) -> Sequence[Mapping[str, Any]]:
        """Lines of the timeline: journey, at, kind, about, text."""
        async with self.database.reading() as connection:
            return await reads.all_timelines(connection, user)

    async def timeline(self, user: str | None = None) -> list[str]:
        """The timeline as text: date, decision and reason."""
        return [f"{line['at']:%Y-%m-%d} {line['text']}" for line in await self.lines(user)]

    async def runs(self, user: str | None = None) -> Sequence[Mapping[str, Any]]:
        """Runs with state, outcome and next deadline."""
        async with self.database.reading() as connection:
            return await reads.all_runs(connection, user)
