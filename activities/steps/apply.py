"""Apply one step of a run in one transaction, then make the first attempts.

A step is keyed by run and number. Applied again, it does what was left undone and nothing twice: its rows exist,
attempts in flight are found in the ledger, emitted signals carry the step's key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from activities.delivery import attempts as delivery
from activities.dependencies import Dependencies
from activities.gate import evaluation
from activities.steps.earlier_commit import committed_before
from activities.steps.locking import Recipients, recipients_of, subjects_to_lock
from activities.steps.timers import refuse_if_early_or_behind
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
from journeys.decision.state import state_from_json
from journeys.events.inbound import InboundEvent
from journeys.gate.requests import still_holds
from journeys.gate.status import Status
from journeys.gate.verdicts import Reason
from journeys.protocol import wire
from journeys.protocol.step_outcome import Applied, StepOutcome
from store.consent.suppressions import lock_mailboxes
from store.database import Connection
from store.errors import Contended
from store.events import ingest
from store.exports.audiences import change_audience
from store.locks import Lock, share_until_commit
from store.messages import withdrawals
from store.messages.entries import LedgerEntry, new_entry
from store.messages.ledger import write_message
from store.messages.outcomes import enqueue_outcome
from store.outbox.parked import park_newer
from store.people import subjects
from store.people.subjects import Subject
from store.people.test_clocks import now_for
from store.runs import projection
from store.runs.projection import Run
from store.tasks import requests as task_requests

log = structlog.get_logger()


@dataclass(slots=True)
class AppliedStep:
    """The outcome, and the attempts to make once the transaction is committed, by the clock of the run's person."""

    outcome: StepOutcome = field(default_factory=Applied)
    attempts: list[LedgerEntry] = field(default_factory=list)
    run: Run | None = None
    now: datetime | None = None


async def apply_step(deps: Dependencies, step: wire.StepInput) -> StepOutcome:
    """Apply a step. Raises only errors of the store; Temporal retries until it is applied."""
    if not (step.effects or step.tombstones or step.timer) and await _projected(deps, step):
        return Applied()
    async with deps.database.transaction() as connection:
        applied = await StepTransaction(deps, connection, step).apply()
    if applied.run is not None and applied.now is not None:
        await delivery.attempt_all(deps, applied.attempts, applied.now)
    return applied.outcome


async def _projected(deps: Dependencies, step: wire.StepInput) -> bool:
    """Apply a step that only changes its run: one statement. False if it, or another of its number, was applied before."""
    async with deps.database.reading() as connection:
        state, lines = state_from_json(step.state), log_from_json(step.log)
        return await projection.advance_run(connection, step.run, step.step, state, lines) is not None


class StepTransaction:
    """The transaction of one step. A step with a `timer` may be refused, by what was accepted before it."""

    def __init__(self, deps: Dependencies, connection: Connection, step: wire.StepInput) -> None:
        self.deps, self.connection, self.step = deps, connection, step
        self.effects: tuple[Effect, ...] = effects_from_json(step.effects)
        self.log: list[LogLine] = list(log_from_json(step.log))
        self.state = state_from_json(step.state)
        self.applied = AppliedStep()
        self.trace: str | None = None
        self.passes: dict[str, evaluation.GatePass] = {}
        self.requested: list[LedgerEntry] = []

    async def apply(self) -> AppliedStep:
        step, connection = self.step, self.connection
        row = await projection.read_run(connection, step.run)
        now = await now_for(connection, row.clock)
        self.applied.run, self.applied.now = row, now
        recipients = await recipients_of(connection, row, self.effects)
        has_timer = step.timer is not None
        keys = await subjects_to_lock(self.deps, connection, row, self.effects, recipients, timer=has_timer)
        locked = await subjects.lock_subjects(connection, keys)
        if recipients and row.subject_kind == "user" and locked[row.lane].account_key not in (None, *locked):
            raise Contended  # the person was put into another account after the account was read
        if has_timer:
            lane = locked[row.lane]
            refused = await refuse_if_early_or_behind(self.deps, connection, step, self.state, row, now, lane)
            if refused is not None:
                return AppliedStep(refused)
        compared = locked[row.lane].seq if has_timer else None
        self.trace = await projection.advance_run(connection, step.run, step.step, self.state, compared=compared)
        if self.trace is None:
            self.applied.outcome = await committed_before(connection, step, self.state)
            return self.applied
        structlog.contextvars.bind_contextvars(trace=self.trace)
        # What is not a message comes first, whatever the order in the journey: the gate reads its queue before it decides the
        # messages, and what this step withdraws is not in it any more. Tasks lock turns before addresses (`store/locks.py`).
        await task_requests.lock_teams(connection, row, self.effects, self.deps.roster)
        for effect in self.effects:
            await self._do(effect, row, now)
        sends = [effect for effect in self.effects if isinstance(effect, SendMessage)]
        await self._lock_addresses(sends, row, recipients, locked)
        for message in sends:
            await self._send(message, row, recipients[message_key(row.id, message, "")], locked, now)
        await self._decide(now)
        await projection.write_timeline(connection, step.run, step.step, 0, self.log, self.trace)
        unreadable = await park_newer(connection, projection.listener_of(row), step.tombstones)
        await projection.store_dead_letters(connection, step.run, step.step, unreadable)
        await self._emit(row)
        return self.applied

    # -- effects ---------------------------------------------------------------------------------------------------

    async def _do(self, effect: Effect, row: Run, now: datetime) -> None:
        match effect:
            case OpenedTask() | ClosedTask() | EscalatedTask():
                await task_requests.apply_task_effect(self.connection, row, effect, self.deps.roster)
            case ChangedAudience():
                await change_audience(self.connection, row.lane, row.journey, effect)
            case WithdrawnMessages():
                await self._withdraw(effect, row, now)
            case SendMessage() | EmittedSignal() | Finished():
                pass

    async def _lock_addresses(
        self, sends: Sequence[SendMessage], row: Run, recipients: Recipients, locked: dict[str, Subject]
    ) -> None:
        """Lock the addresses of all recipients at once, if there are several: each pass would lock its own.

        The gate shares the lock of the kill switches before any address, so here that lock is shared first.
        """
        people = {person for message in sends for person in recipients[message_key(row.id, message, "")]}
        if len(people) > 1:
            await share_until_commit(self.connection, Lock.STOPS)
            await lock_mailboxes(self.connection, self.deps.catalogue.consent, [locked[key].profile for key in people])

    async def _send(
        self, effect: SendMessage, row: Run, people: list[str], locked: dict[str, Subject], now: datetime
    ) -> None:
        if effect.withheld:
            for person in people:
                await self._withhold(effect, row, person, Reason("paused", effect.withheld), now)
            return
        if not people:
            await self._withhold_without_recipient(effect, row, now)
        for person in people:
            key = message_key(row.id, effect, person)
            entry = new_entry(
                effect, key=key, run=row, step=self.step.step, recipient=person, now=now, trace=self.trace
            )
            # One decision may ask for a message and, by later signals that it also decides, leave its state (H7).
            entry.holds, entry.now_in = still_holds(effect, self.state), self.state.state
            await self._pass_of(person, locked, now).add(entry)
            self.requested.append(entry)

    def _pass_of(self, person: str, locked: dict[str, Subject], now: datetime) -> evaluation.GatePass:
        if person not in self.passes:
            self.passes[person] = evaluation.GatePass(self.deps, self.connection, locked[person], locked, now)
        return self.passes[person]

    async def _decide(self, now: datetime) -> None:
        """Decide the step's messages, person by person; the timeline gets the verdicts, the lanes get the outcomes."""
        for gate_pass in self.passes.values():
            self.applied.attempts += await gate_pass.decide()
        for entry in self.requested:
            self._note(entry, now)
            outcome = self.passes[entry.recipient].outcome(entry)
            if outcome is not None:
                await enqueue_outcome(self.connection, self.deps.catalogue, entry, outcome, now)
        for gate_pass in self.passes.values():
            for entry in gate_pass.gave_way.values():
                await enqueue_outcome(self.connection, self.deps.catalogue, entry, Status.REPLACED, now)

    async def _withhold_without_recipient(self, effect: SendMessage, row: Run, now: datetime) -> None:
        roles = " or ".join(effect.roles)
        why = f"no member of the account is {roles}" if roles else "the message names no recipient"
        entry = await self._withhold(effect, row, "-", Reason("no_recipient", why), now)
        await enqueue_outcome(self.connection, self.deps.catalogue, entry, entry.status, now)

    async def _withhold(
        self, effect: SendMessage, row: Run, recipient: str, reason: Reason, now: datetime
    ) -> LedgerEntry:
        key = message_key(row.id, effect, recipient)
        entry = new_entry(effect, key=key, run=row, step=self.step.step, recipient=recipient, now=now, trace=self.trace)
        entry.status, entry.settled_at, entry.reasons = Status.WITHHELD, now, (reason,)
        await write_message(self.connection, entry)
        self._note(entry, now)
        return entry

    async def _withdraw(self, effect: WithdrawnMessages, row: Run, now: datetime) -> None:
        for message in await withdrawals.withdraw_queued(self.connection, row.id, effect, now):
            self.log.append(LogLine(effect.at, "withdrawn", message.action, f"withdrawn: {effect.reason}"))

    def _note(self, entry: LedgerEntry, now: datetime) -> None:
        """Write the gate's verdict to the run's timeline."""
        why = "; ".join(reason.text for reason in entry.reasons)
        words = {Status.SENDING: f"sending by {entry.channel}", Status.SENT: f"sent by {entry.channel}"}
        until = f" until {entry.due_at:%Y-%m-%d %H:%M} UTC" if entry.due_at else ""
        text = words.get(entry.status, entry.status + until) + (f": {why}" if why else "")
        self.log.append(LogLine(now, "gate", entry.action, text))

    async def _emit(self, row: Run) -> None:
        """Accept the signals that the journey sends as events, in the step's own commit."""
        events = [
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
        if events:
            await ingest.accept_within(self.connection, self.deps.catalogue, events, source=wire.SOURCE_SELF)
            log.info("step.emitted", signals=len(events))
