"""One step of a run, applied once: projection, timeline and effects in one transaction, then the first attempts.

A step is keyed by run and number. Applied again, it does what was left undone and nothing twice: rows are there already,
attempts in flight are found in the ledger, emitted signals carry the step's key.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from activities.delivery import attempts as delivery
from activities.dependencies import Dependencies
from activities.gate import evaluation
from journeys.calendar.test_clock import TestClock
from journeys.decision.effects import (
    ChangedAudience,
    ClosedTask,
    Effect,
    EmittedSignal,
    EscalatedTask,
    Finished,
    LogLine,
    OpenedTask,
    SendMessage,
    WithdrawnMessages,
    effects_from_json,
    log_from_json,
    message_key,
)
from journeys.decision.state import state_from_json, state_to_json
from journeys.events.inbound import InboundEvent
from journeys.gate.requests import still_holds
from journeys.gate.status import Status
from journeys.gate.verdicts import Reason
from journeys.protocol import wire
from journeys.protocol.envelope import parse_instant
from store.database import Connection
from store.errors import Contended
from store.events import ingest
from store.exports.audiences import change_audience
from store.messages import withdrawals
from store.messages.entries import LedgerEntry, new_entry, recipients_in_flight
from store.messages.ledger import write_message
from store.messages.outcomes import reads_outcome, tell_outcome
from store.outbox import queue as outbox
from store.outbox.undecided import fields_since, undecided
from store.people import memberships, subjects
from store.people.subjects import Subject
from store.runs import projection
from store.runs.projection import Run, listener_of
from store.tasks import requests as task_requests

log = structlog.get_logger()


@dataclass(slots=True)
class AppliedStep:
    """What is left to do once the transaction is committed."""

    result: wire.StepResult = field(default_factory=wire.StepResult)
    attempts: list[LedgerEntry] = field(default_factory=list)
    run: Run | None = None
    now: datetime | None = None


async def apply_step(deps: Dependencies, step: wire.StepInput) -> wire.StepResult:
    """Apply a step. Raises only what the store raises; Temporal tries again until it is applied."""
    if not (step.effects or step.tombstones or step.timer) and await _projected(deps, step):
        return wire.StepResult()
    async with deps.database.transaction() as connection:
        applied = await _Step(deps, connection, step).apply()
    if applied.run is not None and applied.now is not None:
        await delivery.attempt_all(deps, applied.attempts, applied.now)
    return applied.result


async def _projected(deps: Dependencies, step: wire.StepInput) -> bool:
    """A step that only changes its run is one statement. False when it, or another in its place, was applied before."""
    async with deps.database.reading() as connection:
        state, lines = state_from_json(step.state), log_from_json(step.log)
        return await projection.advance_run(connection, step.run, step.step, state, lines) is not None


Recipients = dict[str, list[str]]


class _Step:
    """The transaction of one step."""

    def __init__(self, deps: Dependencies, connection: Connection, step: wire.StepInput) -> None:
        self.deps, self.connection, self.step = deps, connection, step
        self.effects: tuple[Effect, ...] = effects_from_json(step.effects)
        self.log: list[LogLine] = list(log_from_json(step.log))
        self.state = state_from_json(step.state)
        self.applied = AppliedStep()
        self.trace: str | None = None
        self.passes: dict[str, evaluation.GatePass] = {}
        self.weighed: list[LedgerEntry] = []

    async def apply(self) -> AppliedStep:
        step, connection = self.step, self.connection
        row = await projection.read_run(connection, step.run)
        clock = await self.deps.test_clock(connection, row.clock)
        now = self.deps.now(clock, step.now)
        if self.deps.clock == "workflow" and self.state.last_at is not None:
            now = max(now, self.state.last_at)  # a run that has just begun has not had its clock moved there yet
        self.applied.run, self.applied.now = row, now
        recipients = await self._recipients(row)
        locked = await subjects.lock_subjects(connection, await self._to_lock(row, recipients))
        if recipients and row.subject_kind == "user" and locked[row.lane].account_key not in (None, *locked):
            raise Contended  # they have been put into another account since our look
        if step.timer is not None:
            self.applied.result = await self._may_ring(row, clock, locked, parse_instant(step.timer))
            if self.applied.result.behind or self.applied.result.early_until:
                self.applied.run = None
                return self.applied
        self.trace = await projection.advance_run(
            connection, step.run, step.step, self.state, caused=step.timer is None
        )
        if self.trace is None:
            await self._hand_over()
            self.applied.result = await self._what_stands()
            return self.applied
        structlog.contextvars.bind_contextvars(trace=self.trace)
        for effect in self.effects:
            await self._do(effect, row, recipients, locked, now)
        await self._go(now)
        await projection.write_timeline(connection, step.run, step.step, 0, self.log, self.trace)
        await projection.store_dead_letters(connection, step.run, step.step, step.tombstones)
        await self._emit(row)
        return self.applied

    # -- locks -----------------------------------------------------------------------------------------------------

    async def _recipients(self, row: Run) -> Recipients:
        """By message, who gets it: the person of the run, or the account's people with a role, as of this moment."""
        found: Recipients = {}
        for effect in self.effects:
            if isinstance(effect, SendMessage):
                if row.subject_kind == "user":
                    found[message_key(row.id, effect, "")] = [row.lane]
                else:
                    found[message_key(row.id, effect, "")] = await memberships.members_with_role(
                        self.connection, row.lane, effect.roles
                    )
        return found

    async def _to_lock(self, row: Run, recipients: Recipients) -> set[str]:
        """Everybody whose gate or lane this step touches, at once, so that they are locked in key order."""
        keys = {person for people in recipients.values() for person in people}
        if self.step.timer is not None or (keys and row.subject_kind == "account"):
            keys.add(row.lane)
        if self.step.timer is not None and row.account_key is not None:
            keys.add(row.account_key)
        if keys and row.account_key is not None:
            keys.add(row.account_key)
        keys |= await task_requests.lanes_to_lock_for_tasks(self.connection, row, self.effects)
        if any(isinstance(effect, WithdrawnMessages) for effect in self.effects):
            # Who decides on these at this moment has read that their state holds: they are done before it is left, or see it left.
            keys |= (
                {row.lane}
                if row.subject_kind == "user"
                else await withdrawals.unsettled_recipients(self.connection, row.id)
            )
        for effect in self.effects:
            if isinstance(effect, EmittedSignal):
                keys |= {key for key in (row.lane, row.account_key) if key is not None}
            if isinstance(effect, SendMessage) and await reads_outcome(
                self.connection, self.deps.catalogue, row.definition, effect.action
            ):
                keys.add(row.lane)
        return keys

    # -- time ------------------------------------------------------------------------------------------------------

    async def _may_ring(
        self, row: Run, clock: TestClock | None, locked: dict[str, Subject], due: datetime
    ) -> wire.StepResult:
        """A timer's step waits for a held test clock, and for everything that was accepted before it (design §4)."""
        real = parse_instant(self.step.now) if self.deps.clock == "workflow" else datetime.now(UTC)
        if clock is not None and clock.virtual(real) < due:
            again = max(real + wire.LOOK_AGAIN, clock.real(due))
            return wire.StepResult(early_until=again.isoformat(), held_at=clock.virtual(real).isoformat())
        lanes = [key for key in (row.lane, row.account_key) if key is not None and key in locked]
        behind: list[wire.Envelope] = []
        for lane in lanes:
            reached = self.state.seqs.get(lane, 0)
            if locked[lane].seq > reached:
                chart = await self.deps.catalogue.chart(self.connection, row.definition)
                behind += await undecided(self.connection, chart, listener_of(row), lane, self.state.seqs)
                behind += [] if behind else fields_since(chart, self.state, locked[lane], due)
        if not behind:
            await subjects.decided_until(self.connection, lanes, due)
        return wire.StepResult(behind=behind)

    # -- effects ---------------------------------------------------------------------------------------------------

    async def _do(
        self, effect: Effect, row: Run, recipients: Recipients, locked: dict[str, Subject], now: datetime
    ) -> None:
        match effect:
            case SendMessage():
                await self._send(effect, row, recipients[message_key(row.id, effect, "")], locked, now)
            case OpenedTask() | ClosedTask() | EscalatedTask():
                await task_requests.apply_task_effect(self.connection, row, effect, self.deps.roster)
            case ChangedAudience():
                await change_audience(self.connection, row.lane, row.journey, effect)
            case WithdrawnMessages():
                await self._withdraw(effect, row, now)
            case EmittedSignal() | Finished():
                pass

    async def _send(
        self, effect: SendMessage, row: Run, people: list[str], locked: dict[str, Subject], now: datetime
    ) -> None:
        if not people:
            await self._nobody(effect, row, now)
        for person in people:
            key = message_key(row.id, effect, person)
            entry = new_entry(
                effect, key=key, run=row, step=self.step.step, recipient=person, now=now, trace=self.trace
            )
            # One decision may ask for a message and, catching up with what came meanwhile, leave its state (H7).
            entry.holds, entry.now_in = still_holds(effect, self.state), self.state.state
            await self._pass_of(person, locked, now).weigh(entry)
            self.weighed.append(entry)

    def _pass_of(self, person: str, locked: dict[str, Subject], now: datetime) -> evaluation.GatePass:
        if person not in self.passes:
            self.passes[person] = evaluation.GatePass(self.deps, self.connection, locked[person], locked, now)
        return self.passes[person]

    async def _go(self, now: datetime) -> None:
        """What goes out is known now, person by person; the run's timeline has the verdicts, its lane the outcomes."""
        for each in self.passes.values():
            self.applied.attempts += await each.close()
        for entry in self.weighed:
            self._note(entry, now)
            fate = self.passes[entry.recipient].fate(entry)
            if fate is not None:
                await tell_outcome(self.connection, self.deps.catalogue, entry, fate, now)
        for each in self.passes.values():
            for entry in each.gave_way.values():
                await tell_outcome(self.connection, self.deps.catalogue, entry, Status.REPLACED, now)

    async def _nobody(self, effect: SendMessage, row: Run, now: datetime) -> None:
        key = message_key(row.id, effect, "-")
        entry = new_entry(effect, key=key, run=row, step=self.step.step, recipient="-", now=now, trace=self.trace)
        why = f"nobody in the account is {' or '.join(effect.roles) or 'named as its recipient'}"
        entry.status, entry.settled_at = Status.WITHHELD, now
        entry.reasons = (Reason("no_recipient", why),)
        await write_message(self.connection, entry)
        self._note(entry, now)
        await tell_outcome(self.connection, self.deps.catalogue, entry, entry.status, now)

    async def _withdraw(self, effect: WithdrawnMessages, row: Run, now: datetime) -> None:
        for message in await withdrawals.withdraw_queued(self.connection, row.id, effect, now):
            self.log.append(LogLine(effect.at, "withdrawn", message.action, f"withdrawn: {effect.reason}"))

    def _note(self, entry: LedgerEntry, now: datetime) -> None:
        """The gate's verdict, in the run's own timeline."""
        why = "; ".join(reason.text for reason in entry.reasons)
        words = {Status.SENDING: f"sending by {entry.channel}", Status.SENT: f"sent by {entry.channel}"}
        until = f" until {entry.due_at:%Y-%m-%d %H:%M} UTC" if entry.due_at else ""
        text = words.get(entry.status, entry.status + until) + (f": {why}" if why else "")
        self.log.append(LogLine(now, "gate", entry.action, text))

    async def _emit(self, row: Run) -> None:
        """Signals that the journey sends are events like any other, accepted in the step's own commit."""
        calls = [
            InboundEvent(
                kind="track",
                message_id=f"{self.step.run}#{effect.key}",
                name=effect.name,
                data=effect.data,
                timestamp=effect.at,
                subject_key=row.lane,
                trace=self.trace,
            )
            for effect in self.effects
            if isinstance(effect, EmittedSignal)
        ]
        if calls:
            await ingest.accept_within(self.connection, self.deps.catalogue, calls, source=wire.SOURCE_SELF)
            log.info("step.emitted", signals=len(calls))

    async def _what_stands(self) -> wire.StepResult:
        """A worker died after it had committed this step, and Temporal never knew.

        The second decision may be another one: signals that came in between are read before a timer that had rung
        already. What was committed stands; the run takes that state and decides on it what it does not contain.
        """
        step, memory = await projection.committed_state(self.connection, self.step.run)
        if step == self.step.step and memory == state_to_json(self.state):
            return wire.StepResult()
        log.info("step.committed_before", step=self.step.step, stands=step)
        return wire.StepResult(committed=memory, step=step)

    async def _hand_over(self) -> None:
        """The step was applied before and its worker died: what is in flight becomes the outreach's."""
        for recipient in await recipients_in_flight(self.connection, self.step.run, self.step.step):
            await outbox.wake_outreach(self.connection, recipient)
