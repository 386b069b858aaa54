"""A journey lived through on the real server: virtual months in milliseconds, through store, relay, workflow and gate.

Each workflow has a clock of its own that the server can move (`TimeSkipper`). The store's clock is held and moved with
them, from one deadline to the next, so every decision and every verdict of the gate sees the instant it would have seen.
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
PATIENCE: Final = 30.0
"""Real seconds in which everything that is due must have been decided."""
SLACK: Final = timedelta(milliseconds=10)
AHEAD: Final = timedelta(days=365_000)
"""The store's clock begins this far ahead, so that it always stands at its limit."""


class Unpublishable(AssertionError):
    """The journey does not pass the checker; the message is every problem with its place."""


@dataclass
class Rehearsal:
    """What a test holds: tell it what happens, move time, and look at what people received and why."""

    database: Database
    client: Client
    skipper: TimeSkipper
    settings: Settings
    relay: OutboxRelay
    mail: Maildir
    plan: TrackingPlan
    clock: str
    now: datetime
    said: int = 0

    def moment(self) -> datetime:
        """The virtual now."""
        return self.now

    # -- what happens ----------------------------------------------------------------------------------------------

    async def publish(self, journey: str | Path, *, checked: bool = True) -> str:
        """Check and publish a journey, YAML text or its file; its hash. Raises Unpublishable with every problem.

        With `checked=False` only what cannot be read is refused: for trying out a fragment.
        """
        text = journey.read_text("utf-8") if isinstance(journey, Path) else journey
        read, source = read_journey(text)
        templates = template_infos(self.settings.catalog / "templates")
        found: PublishableDefinition | list[Problem] = source.problems
        if read is not None:
            found = publishable(text, self.plan, templates) if checked else publishable_definition(read, self.plan)
        if isinstance(found, list):
            raise Unpublishable("\n".join(str(problem) for problem in found))
        chart = load_chart(found.artifact_text)
        await publishing.publish_definition(self.database, chart, found.artifact_text, text, "rehearsal")
        return found.hash

    async def signal(
        self, user: str | None, name: str, *, account: str | None = None, id: str = "", **data: Any
    ) -> None:
        """Something happened to a user, or to an account when `user` is None; `id` again is a duplicate."""
        self.said += 1
        event = InboundEvent("track", id or f"said-{self.said}", name, user_id=user, account_id=account, data=data)
        await self.accept(event)

    async def identify(self, user: str, **traits: Any) -> None:
        """What is known of a person now."""
        self.said += 1
        await self.accept(InboundEvent("identify", f"said-{self.said}", "identify", user_id=user, traits=traits))

    async def group(self, user: str, account: str, **traits: Any) -> None:
        """A person belongs to an account, and what is known of the account now."""
        self.said += 1
        event = InboundEvent("group", f"said-{self.said}", "group", user_id=user, account_id=account, traits=traits)
        await self.accept(event)

    async def accept(self, *events: InboundEvent) -> None:
        """Accept events as the API does, at this instant, and wait until everything they cause is decided."""
        await ingest.accept(self.database, self.relay.catalogue, list(events), source=self.clock, clock=self.clock)
        await self.settle()

    async def apart(self, clock: str) -> Rehearsal:
        """Another clock on the same stage: people told of there live beside these, each at their own pace."""
        async with self.database.transaction() as connection:
            await set_clock(connection, clock, self.now + AHEAD, 1.0, self.now)
        return dataclasses.replace(self, clock=clock, said=0)

    # -- time ------------------------------------------------------------------------------------------------------

    async def forward(self, until: datetime | timedelta | None = None, /, *, all: bool = True, **span: float) -> None:
        """Let time pass, `forward(days=30)` or up to an instant: every deadline on the way at its own instant.

        `all=False` moves at the end only the store's clock: quicker, where nobody asks a workflow for its own.
        """
        target = until if isinstance(until, datetime) else self.now + (until or timedelta(**span))
        while (due := await self._next_due()) is not None and due <= target:
            await self._reach(due, all=False)
            await self.settle()
        if target > self.now:
            await self._reach(target, all=all)
            await self.settle()

    async def settle(self) -> None:
        """Wait until all that is due by now is decided, delivered and told."""
        deadline = asyncio.get_running_loop().time() + PATIENCE
        quiet = 0
        while quiet < 2:
            quiet = 0 if (why := await self._unsettled()) else quiet + 1
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError(f"not settled after {PATIENCE:.0f} s: {why}")
            await asyncio.sleep(0.005 if why else 0)

    async def _unsettled(self) -> str:
        async with self.database.reading() as connection:
            if await reads.count_undelivered(connection, self.clock):
                return "rows wait in the outbox"
            owed = await reads.people_with_unsettled_messages(connection, self.clock)
            opened = await reads.open_runs(connection, self.clock)
        late = [item for item in owed if item["sending"] or (item["due"] and item["due"] <= self.now)]
        if late:
            return f"{len(late)} people are owed a message"
        if any((rings := self._rings(item)) is not None and rings <= self.now for item in opened):
            return "a deadline is past"
        shown = await asyncio.gather(*(self._letters(item["id"]) for item in opened))
        return "a run has letters to read" if any(shown) else ""

    async def _letters(self, run: str) -> int:
        """How many letters wait in a run; asking also waits for the step in hand."""
        try:
            shown = await self.client.get_workflow_handle(run).query(QUERY_STATE)
        except RPCError as fault:
            if fault.status is RPCStatusCode.NOT_FOUND:
                return 1  # its start is on the way
            raise
        return int(shown["inbox"])

    def _rings(self, run: Mapping[str, Any]) -> datetime | None:
        state = _state(run["memory"])
        due = state.next_due()
        return None if due is None else due + jitter(run["id"], state, due)

    async def _next_due(self) -> datetime | None:
        async with self.database.reading() as connection:
            rung = [self._rings(item) for item in await reads.open_runs(connection, self.clock)]
            owed = [item["due"] for item in await reads.people_with_unsettled_messages(connection, self.clock)]
        return min((at for at in (*rung, *owed) if at is not None), default=None)

    async def _reach(self, at: datetime, *, all: bool) -> None:
        """Move the store's clock, then that of every workflow that has something due by then, or of all."""
        self.now = max(self.now, at) + SLACK
        async with self.database.transaction() as connection:
            await set_clock(connection, self.clock, self.now, 1.0, self.now)
        async with self.database.reading() as connection:
            opened = [(item["id"], self._rings(item)) for item in await reads.open_runs(connection, self.clock)]
            owed = await reads.people_with_unsettled_messages(connection, self.clock)
        waiting = [*opened, *((outreach_id(item["recipient"]), item["due"]) for item in owed)]
        names = [name for name, due in waiting if all or (due is not None and due <= self.now)]
        await asyncio.gather(*(self._skip(self.client.get_workflow_handle(name)) for name in names))

    async def _skip(self, handle: WorkflowHandle[Any, Any]) -> None:
        """Move one workflow's clock; again, when it continued as new on the way and forgot where it was to go."""
        with contextlib.suppress(RPCError):  # it has ended meanwhile
            while (behind := self.now - await self.skipper.get_current_time(handle)) > timedelta(0):
                with contextlib.suppress(RuntimeError):
                    await self.skipper.fast_forward(handle, behind)

    # -- what came of it -------------------------------------------------------------------------------------------

    async def messages(self, user: str | None = None, status: str | None = "sent") -> list[Mapping[str, Any]]:
        """Messages in the order in which they were sent; of one status, or with None of any, with their reasons."""
        async with self.database.reading() as connection:
            every = await reads.all_messages(connection)
        return [m for m in every if user in {None, m["recipient"]} and status in {None, m["status"]}]

    async def sent(self, user: str | None = None) -> list[str]:
        """The templates that went out, in order."""
        return [message["template"] for message in await self.messages(user)]

    async def lines(self, user: str | None = None) -> Sequence[Mapping[str, Any]]:
        """The timeline, line by line: journey, at, kind, about, text."""
        async with self.database.reading() as connection:
            return await reads.all_timelines(connection, user)

    async def timeline(self, user: str | None = None) -> list[str]:
        """What was decided and why, as a person reads it."""
        return [f"{item['at']:%Y-%m-%d} {item['text']}" for item in await self.lines(user)]

    async def runs(self, user: str | None = None) -> Sequence[Mapping[str, Any]]:
        """Every run with its state, outcome and next deadline."""
        async with self.database.reading() as connection:
            return await reads.all_runs(connection, user)


def _state(memory: Any) -> RunState:
    known = json.loads(memory) if isinstance(memory, str) else memory
    return state_from_json(known) if known else RunState()
