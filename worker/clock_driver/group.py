"""Settlement of one group of a clock, one item at a time (record 0016).

| order | item | it ends when |
|---|---|---|
| 0 | an account's rows that its members' lanes lack (record 0015) | they are copied |
| 1 | an unfinished attempt, or one to repeat at the same instant | no message of its person is in flight |
| 2 | the oldest outbox row, a copy in its account's place, to one run after another in the order of their opening | each run has committed a step with it |
| 3 | the run with the earliest deadline that has come | its next deadline has moved |
| 4 | the person whose deferred message has waited longest | that message is not due any more |
| 5 | reminders and escalations of tasks | none is due |

A signal is sent again until the store shows its effect, so another driver can go on after any crash.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from journeys.protocol import wire
from journeys.protocol.routing import envelopes_for
from journeys.tasks.assignment import Roster
from store.clocks import progress
from store.clocks.due import FirstDue, first_of_group
from store.clocks.groups import Group
from store.database import Connection, Database
from store.definitions.registry import DefinitionRegistry
from store.outbox.fan_out import fan_out
from store.outbox.rows import OutboxRow
from store.outbox.undecided import lane_row_of
from store.people.subjects import account_in
from store.people.test_clocks import TestClock
from store.runs.lanes import listener_in, listeners_of
from store.tasks.escalation import escalate_late
from worker.clock_driver.other_caches import OtherCaches
from worker.clock_driver.waits import Waits
from worker.loops.reminders import ReminderResult, Reminders
from worker.relay.ended_runs import EndedRuns
from worker.relay.failures import RunHasEnded
from worker.relay.signals import WorkflowSignals

P = ParamSpec("P")
T = TypeVar("T")
SENT: Final = (ReminderResult.SENT, ReminderResult.UNREACHABLE)
"""Results after which the next reminder is sent."""


@dataclass(frozen=True, slots=True)
class DriverParts:
    """The parts of a driver; `chain` is the escalation chain of the policy for tasks of conversations."""

    database: Database
    catalogue: DefinitionRegistry
    signals: WorkflowSignals
    caches: OtherCaches
    reminders: Reminders
    roster: Roster
    chain: tuple[str, ...]
    ended: EndedRuns


class GroupSettlement:
    """Settles the due work of a group at its clock's now."""

    def __init__(self, parts: DriverParts, clock: TestClock, group: Group, waits: Waits) -> None:
        self.parts, self.clock, self.group, self.waits = parts, clock, group, waits

    async def settle(self) -> int:
        """Settle one item after another until none is due; how many there were."""
        count = 0
        while await self._settle_first(await self._first()):
            count += 1
        return count

    async def _first(self) -> FirstDue:
        return await self._read(first_of_group, self.clock, self.group, len(self.parts.chain))

    async def _settle_first(self, due: FirstDue) -> bool:
        """Settle the first due item; False if none is due."""
        if due.account is not None:
            await fan_out(self.parts.database, due.account)
        elif due.attempting is not None:
            await self._end_attempts(due.attempting)
        elif due.row is not None:
            await self._deliver(await self._read(progress.read_row, due.row))
        elif due.run is not None:
            await self._tick(await self._read(progress.read_listener, due.run))
        elif due.person is not None and due.message is not None:
            await self._settle_messages(due.person, due.message)
        elif due.reminder or due.escalation:
            await self._settle_tasks()
        else:
            return False
        return True

    async def _read(
        self,
        read: Callable[Concatenate[Connection, P], Awaitable[T]],
        *arguments: P.args,
        **options: P.kwargs,
    ) -> T:
        async with self.parts.database.reading() as connection:
            return await read(connection, *arguments, **options)

    # -- rows --------------------------------------------------------------------------------------------------------

    async def _deliver(self, row: OutboxRow) -> None:
        """Deliver a row to its runs in order. The attempts of one run's step end before the next run gets the row."""
        listeners = (await self._read(listeners_of, [row.recipient]))[row.recipient]
        for run in sorted(listeners, key=lambda run: run["number"]):
            await self._deliver_to(run, row)
        await self._read(progress.mark_row_delivered, row.id)

    async def _deliver_to(self, run: Mapping[str, Any], row: OutboxRow) -> None:
        chart = await self._read(self.parts.catalogue.chart, run["definition"])
        envelopes = envelopes_for(chart, listener_in(run), [lane_row_of(row)])
        if not envelopes:
            return

        async def send() -> None:
            now = await self._read(progress.read_listener, run["id"])
            await self.parts.caches.free(run["id"], begun=now["resumes"])
            await self._unless_ended(run["id"], self.parts.signals.send_events(now, chart.spec.subject, envelopes))

        decided = partial(self._read, progress.has_decided, run["id"], row.recipient, row.seq)
        await self.waits.until(run["id"], decided, send, self._undecided(run["id"], row.name or row.kind))
        while (person := (await self._first()).attempting) is not None:
            await self._end_attempts(person)

    # -- deadlines -----------------------------------------------------------------------------------------------------

    async def _tick(self, run: Mapping[str, Any]) -> None:
        due, subject = run["next_due_at"], "account" if account_in(run["subject_key"]) else "user"

        async def passed() -> bool:
            return not await self._read(progress.waits_for, run["id"], due)

        async def send() -> None:
            await self.parts.caches.free(run["id"])
            await self._unless_ended(run["id"], self.parts.signals.send_tick(run, subject, due))

        await self.waits.until(
            run["id"], passed, send, self._undecided(run["id"], f"its deadline of {due.isoformat()}")
        )

    async def _unless_ended(self, run: str, signal: Awaitable[None]) -> None:
        """Await a signal to a run. If its workflow has ended, somebody ended it by hand, and its row is closed too."""
        try:
            await signal
        except RunHasEnded:
            await self.parts.ended.close(run)

    def _undecided(self, run: str, what: str) -> Callable[[], Awaitable[str]]:
        async def explain() -> str:
            return f"run {run} does not decide {what}"

        return explain

    # -- messages ------------------------------------------------------------------------------------------------------

    async def _end_attempts(self, person: str) -> None:
        async def ended() -> bool:
            return not await self._read(progress.is_attempted, person)

        await self._wake_until(person, ended)

    async def _settle_messages(self, person: str, message: int) -> None:
        """Settle what is due with the message that has waited longest, in one pass."""

        async def settled() -> bool:
            return not await self._read(progress.is_due, message, self.clock.now)

        await self._wake_until(person, settled, message)

    async def _wake_until(self, person: str, done: Callable[[], Awaitable[bool]], message: int | None = None) -> None:
        async def wake() -> None:
            await self.parts.caches.free(wire.outreach_id(person))
            await self.parts.signals.wake_outreach(person, message)

        explain = partial(self._read, progress.describe_unended, person, self.clock.now)
        await self.waits.until(f"messages for {person}", done, wake, explain)

    # -- tasks ---------------------------------------------------------------------------------------------------------

    async def _settle_tasks(self) -> None:
        clock, now, scopes = self.clock.id, self.clock.now, self.group

        async def settle() -> None:
            while await self.parts.reminders.send_next(now, clock=clock, scopes=scopes) in SENT:
                pass
            await escalate_late(
                self.parts.database, self.parts.chain, self.parts.roster, now, clock=clock, scopes=scopes
            )

        async def settled() -> bool:
            due = await self._first()
            return not (due.reminder or due.escalation)

        async def explain() -> str:
            return f"the owner of a task of {', '.join(scopes)} cannot be reminded"

        await self.waits.until(f"tasks of {scopes[0]}", settled, settle, explain)
