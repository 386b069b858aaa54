"""Rehearsal: a journey on real servers in virtual time.

Each workflow has a clock that the server can move (`TimeSkipper`). The store's test clock is held and moved with them, from one
deadline to the next, so that every decision sees the instant that it would have seen.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import TimeSkipper

from activities.content.templates import template_infos
from journeys.checks.checker import PublishableDefinition, publishable, publishable_definition
from journeys.decision.compiler import load_chart
from journeys.decision.state import RunState, state_from_json
from journeys.decision.timers import jitter
from journeys.events.inbound import InboundEvent
from journeys.events.tracking_plan import TrackingPlan
from journeys.language.parsing import read_journey
from journeys.language.problems import Problem
from journeys.protocol.wire import QUERY_STATE, outreach_id
from store.database import Database
from store.definitions import publishing
from store.events import ingest
from store.people.test_clocks import set_clock
from store.reads import rehearsal as reads
from worker.relay.relay import OutboxRelay
from worker.settings import Settings
from worker.stack.maildir import Maildir

MAIN: Final = "rehearsal"
SETTLE_SECONDS: Final = 30.0
"""Real time within which everything due must be decided."""
SLACK: Final = timedelta(milliseconds=10)
AHEAD: Final = timedelta(days=365_000)
"""The test clock starts this far ahead, so that it always stands at its limit."""


class Unpublishable(AssertionError):
    """The journey fails the checker. The message lists every problem with its place."""


@dataclass
class Rehearsal:
    """Handle of a test: send events, move time, and read what people received and why."""

    database: Database
    client: Client
    skipper: TimeSkipper
    settings: Settings
    relay: OutboxRelay
    mail: Maildir
    plan: TrackingPlan
    clock: str
    now: datetime
    sent_events: int = 0

    def moment(self) -> datetime:
        """The current virtual instant."""
        return self.now

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
            result = (
                publishable(text, self.plan, templates) if checked else publishable_definition(definition, self.plan)
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
        """Accept events as the API does, at this instant, and wait until all their consequences are decided."""
        await ingest.accept(self.database, self.relay.catalogue, list(calls), source=self.clock, clock=self.clock)
        await self.settle()

    async def apart(self, clock: str) -> Rehearsal:
        """A second test clock on the same servers. People first seen through it are on that clock."""
        async with self.database.transaction() as connection:
            await set_clock(connection, clock, self.now + AHEAD, 1.0, self.now)
        return dataclasses.replace(self, clock=clock, sent_events=0)

    # -- time ------------------------------------------------------------------------------------------------------

    async def forward(self, until: datetime | timedelta | None = None, /, *, all: bool = True, **span: float) -> None:
        """Let time pass, as in `forward(days=30)`, or up to an instant, stopping at every deadline on the way.

        With `all=False` the clocks of workflows without a deadline are not moved at the end, which is faster.
        """
        target = until if isinstance(until, datetime) else self.now + (until or timedelta(**span))
        while (due := await self._next_due()) is not None and due <= target:
            await self._reach(due, all=False)
            await self.settle()
        if target > self.now:
            await self._reach(target, all=all)
            await self.settle()

    async def settle(self) -> None:
        """Wait until everything due by now is decided and delivered. Raises AssertionError after SETTLE_SECONDS."""
        deadline = asyncio.get_running_loop().time() + SETTLE_SECONDS
        quiet = 0
        while quiet < 2:
            quiet = 0 if (reason := await self._unsettled()) else quiet + 1
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError(f"not settled after {SETTLE_SECONDS:.0f} s: {reason}")
            await asyncio.sleep(0.005 if reason else 0)

    async def _unsettled(self) -> str:
        """The reason why something due is still undecided; empty if nothing is."""
        async with self.database.reading() as connection:
            if await reads.count_undelivered(connection, self.clock):
                return "rows wait in the outbox"
            unsettled = await reads.people_with_unsettled_messages(connection, self.clock)
            runs = await reads.open_runs(connection, self.clock)
        late = [person for person in unsettled if person["sending"] or (person["due"] and person["due"] <= self.now)]
        if late:
            return f"{len(late)} people have messages due"
        if any((due := self._due(run)) is not None and due <= self.now for run in runs):
            return "a deadline has passed"
        waiting = await asyncio.gather(*(self._waiting_signals(run["id"]) for run in runs))
        return "a run has unread signals" if any(waiting) else ""

    async def _waiting_signals(self, run: str) -> int:
        """Number of signals that wait in a run. The query is answered after the step in hand."""
        try:
            state = await self.client.get_workflow_handle(run).query(QUERY_STATE)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return 1  # it has not started yet
            raise
        return int(state["inbox"])

    def _due(self, run: Mapping[str, Any]) -> datetime | None:
        state = _state(run["memory"])
        due = state.next_due()
        if due is None:
            return None
        return due + jitter(self.relay.catalogue.loaded_charts[run["definition"]], run["id"], state, due)

    async def _next_due(self) -> datetime | None:
        async with self.database.reading() as connection:
            runs = [self._due(run) for run in await reads.open_runs(connection, self.clock)]
            messages = [person["due"] for person in await reads.people_with_unsettled_messages(connection, self.clock)]
        return min((at for at in (*runs, *messages) if at is not None), default=None)

    async def _reach(self, at: datetime, *, all: bool) -> None:
        """Move the test clock, then the clock of every workflow with something due by then, or of all."""
        self.now = max(self.now, at) + SLACK
        async with self.database.transaction() as connection:
            await set_clock(connection, self.clock, self.now, 1.0, self.now)
        async with self.database.reading() as connection:
            runs = [(run["id"], self._due(run)) for run in await reads.open_runs(connection, self.clock)]
            people = await reads.people_with_unsettled_messages(connection, self.clock)
        waiting = [*runs, *((outreach_id(person["recipient"]), person["due"]) for person in people)]
        names = [name for name, due in waiting if all or (due is not None and due <= self.now)]
        await asyncio.gather(*(self._skip(self.client.get_workflow_handle(name)) for name in names))

    async def _skip(self, handle: WorkflowHandle[Any, Any]) -> None:
        """Move one workflow's clock. Continue-as-new on the way resets the target, so the move is repeated."""
        with contextlib.suppress(RPCError):  # it has ended
            while (behind := self.now - await self.skipper.get_current_time(handle)) > timedelta(0):
                with contextlib.suppress(RuntimeError):
                    await self.skipper.fast_forward(handle, behind)

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


def _state(memory: Any) -> RunState:
    value = json.loads(memory) if isinstance(memory, str) else memory
    return state_from_json(value) if value else RunState()
