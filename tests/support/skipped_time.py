"""A rehearsal in skipped time: production's timers on a Temporal server that skips time.

Runs start without a clock, so they arm their own timers; the server gives each workflow a clock of its own, which the
test moves. For acceptance and gate the people are on a test clock in the store, which no driver drives: the test moves
it with the workflows' clocks, and triggers of this database give their rows to the relay.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from temporalio.client import Client, Interceptor, OutboundInterceptor, StartWorkflowInput, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import TimeSkipper, TimeSkippingConfig

from activities.channels.allow_list import AllowListedChannel
from activities.dependencies import CurrentDependencies, Dependencies
from activities.outgoing.guarded_channel import GuardedChannel
from activities.ports import Channel
from api.events.tracking_plan import EventCheck
from journeys.decision.state import RunState, state_from_json
from journeys.decision.timers import jitter
from journeys.events.inbound import InboundEvent
from journeys.protocol import wire
from journeys.protocol.envelope import parse_instant
from store.clocks import control
from store.database import fetch_all, sql
from store.events import ingest
from store.messages.entries import LedgerEntry
from worker.composition import worker as composition
from worker.composition.catalog import tracking_plan
from worker.composition.clients import connect_temporal, open_database
from worker.composition.dependencies import dependencies
from worker.provider_settings import ProviderSettings
from worker.relay.relay import OutboxRelay
from worker.settings import ROOT
from worker.stack.mail_sink import MailFaults
from worker.stack.maildir import Maildir
from worker.testing.rehearsal import MAIN, Rehearsal
from worker.testing.stage import close_staged, staged

SETTLE_SECONDS = 30.0
SLACK = timedelta(milliseconds=10)
SOON = timedelta(milliseconds=50)
TRIGGERS = """
CREATE FUNCTION for_the_relay() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.clock := NULL; RETURN NEW; END $$;
CREATE TRIGGER for_the_relay BEFORE INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION for_the_relay();
CREATE TRIGGER on_no_clock BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION for_the_relay();
CREATE FUNCTION wake_by_the_relay() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO outbox (recipient, seq, kind, event_id, at)
  VALUES (NEW.recipient, -nextval(pg_get_serial_sequence('outbox', 'id')), 'wake', '', clock_timestamp());
  PERFORM pg_notify('tenure_outbox', '');
  RETURN NULL;
END $$;
CREATE TRIGGER wake_by_the_relay AFTER INSERT OR UPDATE OF due_at, lease_until ON messages FOR EACH ROW
  WHEN (NEW.status = 'deferred' OR (NEW.status = 'sending' AND NEW.detail IS NOT NULL)) EXECUTE FUNCTION wake_by_the_relay();
"""
UNDELIVERED = sql("SELECT count(*) AS n FROM outbox WHERE delivered_at IS NULL")
OPEN_RUNS = sql("SELECT id, definition, memory FROM runs WHERE status = 'open' ORDER BY id")
UNSETTLED = sql(
    """
    SELECT recipient, min(due_at) FILTER (WHERE status = 'deferred') AS due, bool_or(status = 'sending') AS sending
    FROM messages WHERE status IN ('deferred', 'sending') GROUP BY recipient
    """
)
MOVE = sql("UPDATE clocks SET now = :now, target = :now WHERE id = :id")


class SkippingDependencies(Dependencies):
    """Outreaches wait in the time of their own workflow, where a lease, which is real, lasts as long."""

    def clock_of(self, entry: LedgerEntry) -> str | None:
        return None

    def settle_at(
        self, request: wire.SettleInput, clock: str | None, due: datetime | None, lease: datetime | None
    ) -> datetime | None:
        left = lease - datetime.now(UTC) if lease is not None else None
        instants = (due, parse_instant(request.now) + max(left, SOON) if left is not None else None)
        return min((at for at in instants if at is not None), default=None)


class OwnClocks(Interceptor):
    """Starts runs without the store's test clock: the server's time is skipped instead."""

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        return _WithoutClock(next)


class _WithoutClock(OutboundInterceptor):
    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
        input.args = [
            dataclasses.replace(arg, clock=None) if isinstance(arg, wire.RunInput) else arg for arg in input.args
        ]
        return await super().start_workflow(input)


@dataclass
class SkippedTime(Rehearsal):
    """A rehearsal whose workflows keep their own timers. Events are not checked by the tracking plan."""

    skipper: TimeSkipper = dataclasses.field(kw_only=True)

    def moment(self) -> datetime:
        return self.now

    async def accept(self, *calls: InboundEvent) -> None:
        await ingest.accept(self.database, self.catalogue, list(calls), source=self.clock, clock=self.clock)
        await self.settle()

    async def forward(self, until: datetime | timedelta | None = None, /, **span: float) -> None:
        """Let time pass, stopping at every deadline on the way."""
        target = until if isinstance(until, datetime) else self.now + (until or timedelta(**span))
        while (due := await self._next_due()) is not None and due <= target:
            await self._reach(due)
            await self.settle()
        if target > self.now:
            await self._reach(target)
            await self.settle()

    async def settle(self) -> None:
        deadline = asyncio.get_running_loop().time() + SETTLE_SECONDS
        quiet = 0
        while quiet < 2:
            quiet = 0 if (reason := await self._unsettled()) else quiet + 1
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError(f"not settled after {SETTLE_SECONDS:.0f} s: {reason}")
            await asyncio.sleep(0.005 if reason else 0)

    async def _unsettled(self) -> str:
        if (await self._rows(UNDELIVERED))[0]["n"]:
            return "rows wait in the outbox"
        unsettled, runs = await self._rows(UNSETTLED), await self._rows(OPEN_RUNS)
        late = [person for person in unsettled if person["sending"] or (person["due"] and person["due"] <= self.now)]
        if late:
            return f"{len(late)} people have messages due"
        if any((due := self._due(run)) is not None and due <= self.now for run in runs):
            return "a deadline has passed"
        waiting = await asyncio.gather(*(self._waiting_signals(run["id"]) for run in runs))
        return "a run has unread signals" if any(waiting) else ""

    async def _waiting_signals(self, run: str) -> int:
        try:
            state = await self.client.get_workflow_handle(run).query(wire.QUERY_STATE)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return 1  # it has not started yet
            raise
        return int(state["inbox"])

    def _due(self, run: Mapping[str, Any]) -> datetime | None:
        value = json.loads(run["memory"])
        state = state_from_json(value) if value else RunState()
        due = state.next_due()
        if due is None:
            return None
        return due + jitter(self.catalogue.loaded_charts[run["definition"]], run["id"], state, due)

    async def _next_due(self) -> datetime | None:
        runs = [self._due(run) for run in await self._rows(OPEN_RUNS)]
        messages = [person["due"] for person in await self._rows(UNSETTLED)]
        return min((at for at in (*runs, *messages) if at is not None), default=None)

    async def _reach(self, at: datetime) -> None:
        """Move the store's clock, then those of all workflows."""
        self.now = max(self.now, at) + SLACK
        await self._rows(MOVE, now=self.now, id=self.clock)
        people = [wire.outreach_id(person["recipient"]) for person in await self._rows(UNSETTLED)]
        names = [*(run["id"] for run in await self._rows(OPEN_RUNS)), *people]
        await asyncio.gather(*(self._skip(self.client.get_workflow_handle(name)) for name in names))

    async def _skip(self, handle: WorkflowHandle[Any, Any]) -> None:
        """Move one workflow's clock. Continue-as-new on the way resets the target, so the move is repeated."""
        with contextlib.suppress(RPCError):  # it has ended
            while (behind := self.now - await self.skipper.get_current_time(handle)) > timedelta(0):
                with contextlib.suppress(RuntimeError):
                    await self.skipper.fast_forward(handle, behind)

    async def _rows(self, statement: Any, **values: Any) -> Sequence[Mapping[str, Any]]:
        async with self.database.reading() as connection:
            return await fetch_all(connection, statement, **values)


def _guards(channels: Iterable[Channel]) -> Iterator[GuardedChannel]:
    """The guard of each channel, also behind its allow-list."""
    for channel in channels:
        inner = channel.channel if isinstance(channel, AllowListedChannel) else channel
        if isinstance(inner, GuardedChannel):
            yield inner


@contextlib.asynccontextmanager
async def skipped_time(
    database_url: str,
    temporal_address: str,
    folder: Path,
    *,
    catalog: Path = ROOT / "catalog",
    cached: int = 100,
    faults: MailFaults = MailFaults(),
    providers: ProviderSettings | None = None,
) -> AsyncIterator[SkippedTime]:
    """A rehearsal in skipped time while the body runs."""
    async with staged(
        database_url, temporal_address, folder, catalog=catalog, cached=cached, faults=faults
    ) as settings:
        database, client = open_database(settings), await connect_temporal(settings)
        made = dependencies(settings, database, providers=providers)
        deps = SkippingDependencies(*(getattr(made, field.name) for field in dataclasses.fields(made)))
        now = datetime.now(UTC)
        async with database.transaction() as connection:
            await connection.execute(TRIGGERS)
            await control.create_clock(connection, MAIN, now)
        starting = Client(**{**client.config(), "interceptors": [OwnClocks()]})  # type: ignore[arg-type]
        relay = OutboxRelay(database, starting, deps.catalogue, settings.task_queue)
        skipper = TimeSkipper(client, config=TimeSkippingConfig(enabled=False))
        stop, plan = asyncio.Event(), tracking_plan(catalog)
        async with composition.worker(client, settings, CurrentDependencies(deps)):
            relaying = asyncio.create_task(relay.run(stop))
            try:
                stage = SkippedTime(
                    database, client, settings, deps.catalogue, Maildir(folder / "mail"), plan,
                    EventCheck(plan, deps.catalogue.consent.rules), MAIN, now, 0, skipper=skipper,
                )  # fmt: skip
                for guard in _guards(deps.channels.values()):
                    guard.clock = stage.moment  # a circuit stays open for virtual minutes
                yield stage
            finally:
                stop.set()
                await relaying
        await close_staged(deps, database)
