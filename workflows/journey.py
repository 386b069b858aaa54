"""Workflow of one run of a journey: wait, decide, apply the step, wait again.

`decide` is pure; a step's activity compares, applies and delivers. The methods call each other so:

    receive ─▶ inbox     each signal, unread; all signals of one workflow task are one batch
    _next                the next occurrence: an arrival, else a deadline that has come, else wait for a batch
    _decide              one decision; one that only changes the run is kept for the next step, so that a burst costs one
      └─ _apply          the step, keyed by run and number, in the store (record 0002). It continues by the outcome:
           Applied            the decision is final
           Behind, TooEarly   nothing was applied: `put_behind_accepted` puts first what was accepted before it
           AlreadyCommitted   a worker committed a step of this number and died before Temporal recorded it: `_adopt`
                              takes its state and decides again what is in no step: `unsaved`, and this occurrence
    _renew               continue as new, if quiet at 60 events (record 0010)

`_save_or_adopt` is a step without a decision: it stores kept lines and dead letters, or adopts. A run that Temporal has
lost begins with it (`_resume_from_store`), and so takes the state of its row and what was accepted since.

In a replay a result may arrive in another workflow task than it did live (record 0013). So between two waits the clock,
the length of the history and new arrivals are not read; `open_batch` alone reads them. The timer fires into a batch
like a signal. A run on a test clock arms none: the clock's driver sends a tick for each deadline (record 0016).
Only a decision ends a run (`workflow_failure_exception_types` is empty): a bug blocks the workflow task until it is fixed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue

with workflow.unsafe.imports_passed_through():
    from journeys.decision.chart import Chart
    from journeys.decision.compiler import load_chart
    from journeys.decision.decide import decide
    from journeys.decision.effects import Effect, LogLine, effects_to_json, log_to_json
    from journeys.decision.occurrences import Occurrence, TimerDue
    from journeys.decision.state import RunState, state_from_json, state_to_json
    from journeys.language.signal_names import RESERVED_PREFIX
    from journeys.protocol import wire
    from journeys.protocol.envelope import Unreadable, decidable_occurrence, parse_instant, read_tick
    from journeys.protocol.step_outcome import AlreadyCommitted, Applied, Behind, StepOutcome, TooEarly, outcome_of
    from workflows import invocations, limits
    from workflows.arrivals import Arrival
    from workflows.cancellation import uninterrupted
    from workflows.inbox import Inbox, OperatorCommand, OperatorOccurrence, TimerFired
    from workflows.operator_commands import OperatorCommands
    from workflows.postponement import put_behind_accepted
    from workflows.skipped_rows import SkippedRows
    from workflows.timer import DurableTimer


@workflow.defn(name=wire.JOURNEY_WORKFLOW)
class JourneyWorkflow(OperatorCommands):
    """The durable half of a run; the other half is its row in Postgres."""

    @workflow.init
    def __init__(self, start: wire.RunInput) -> None:
        carried = start.carried or {}
        self.start = start
        self.state = state_from_json(carried["state"]) if "state" in carried else RunState()
        self.steps = int(carried.get("step", 0))
        self.inbox = Inbox(start)
        self.meter = limits.HistoryMeter(tasks=1 if carried else 0)
        self.timer = DurableTimer(start, self.inbox.add_timer, self.meter)
        self.skipped = SkippedRows(start, self.meter)
        self.started = workflow.now()
        self.unsaved: list[Occurrence] = []  # decided since the last wait, and in no step yet
        self.lines: list[LogLine] = []  # their explanations
        self.chart: Chart | None = None
        self.queues: dict[str, str] = {}

    @workflow.run
    async def run(self, start: wire.RunInput) -> str:
        """Decide until the run ends; its outcome. A cancel request in Temporal is a command."""
        return await uninterrupted(self._decide_to_end(start), self.cancel_from_temporal)

    async def _decide_to_end(self, start: wire.RunInput) -> str:
        loaded = await invocations.load_definition(start, self.inbox.last_seqs(self.state.seqs))
        self.queues = loaded.queues
        self.chart = chart = load_chart(loaded.artifact)
        # After a query, the previous workflow may have ended without what arrived beside its last result (record 0013).
        self.inbox.put_last(wire.SIGNAL_EVENT, loaded.behind)
        if start.carried == wire.RESUMES:
            await self._resume_from_store(chart)
        while self.state.is_open:
            occurrence = await self._next(chart)
            if occurrence is not None:
                await self._decide(chart, occurrence)
            self._renew()
        self.inbox.close()
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self.state.outcome or ""

    @workflow.signal(dynamic=True)
    def receive(self, name: str, args: Sequence[RawValue]) -> None:
        """Keep a signal of any name and shape unread, so that no content can raise an error here."""
        self.inbox.add(name, args)

    async def _next(self, chart: Chart) -> Occurrence | None:
        """The next occurrence to decide, or None when there is none yet."""
        match self.inbox.take():
            case Arrival() as arrival:
                return await self._read(chart, arrival)
            case OperatorCommand(occurrence):
                return await self._by_clock(occurrence)
            case None:
                return await self._wait_or_due(chart)
            case TimerFired(at):
                self.timer.note_fired(at)
                return None

    async def _wait_or_due(self, chart: Chart) -> Occurrence | None:
        """With an empty inbox: save what is in no step, else return a deadline that has come, else wait for a batch."""
        if self.lines or (self.unsaved and self.start.clock is not None):  # its driver waits for the step
            await self._save_or_adopt(chart)
            return None
        due = self.state.next_due()
        if due is not None and (self.start.clock is None or self.state.waiting):  # a slice needs no tick
            if self.timer.has_come(chart, self.state, due):
                return TimerDue(due)
            self.timer.arm(chart, self.state, due)
        self.unsaved.clear()
        await workflow.wait_condition(lambda: bool(self.inbox.batches))
        self.meter.count_task(self.inbox.open_batch())
        return None

    async def _read(self, chart: Chart, arrival: Arrival) -> Occurrence | None:
        """The occurrence in an arrival; one that cannot be read, or of an unknown name, becomes a dead letter, or is parked."""
        if arrival.name == wire.SIGNAL_NUDGE:
            if not self.state.state:
                await self._resume_from_store(chart)
            return None
        try:
            if arrival.name == wire.SIGNAL_EVENT:
                if not self.skipped.may_precede(envelope := arrival.envelope(), self.state):
                    return decidable_occurrence(self.state, envelope)
                self.inbox.put_first(wire.SIGNAL_EVENT, await self.skipped.read(envelope, self.state))
            elif arrival.name == wire.SIGNAL_TICK and self.start.clock is not None:
                due = read_tick(arrival.data())
                return TimerDue(due) if due == self.state.next_due() else None
            elif arrival.name.startswith(RESERVED_PREFIX) or arrival.name not in chart.signals:
                raise Unreadable(f"{arrival.name} is not known to {chart.key}")
            else:
                await self._accept_plain(arrival.name, arrival.data())
        except (Unreadable, invocations.RefusedByActivity) as fault:
            await self._dead_letter(chart, arrival.tombstone(fault))
        return None

    async def _dead_letter(self, chart: Chart, tombstone: dict[str, Any]) -> None:
        """Store a dead letter, or park an occurrence of a newer version, by a step; one that is adopted does not contain it."""
        while isinstance(await self._save_or_adopt(chart, tombstones=[tombstone]), AlreadyCommitted):
            pass

    async def _accept_plain(self, name: str, data: dict[str, Any]) -> None:
        """Store a signal that bypassed the API; it returns as an event, behind those accepted before it."""
        if (identity := self.inbox.identity(data)) is None:
            return
        self.meter.count_call()
        accepted = await invocations.accept_plain(self.start, identity, name, data, self.state.seqs)
        self.inbox.put_first(wire.SIGNAL_EVENT, accepted)

    async def _decide(self, chart: Chart, occurrence: Occurrence) -> None:
        """Make one decision and apply it. Events accepted before a timer or a command must be decided first."""
        may_be_behind = isinstance(occurrence, TimerDue | OperatorOccurrence)
        decision = decide(chart, self.state, occurrence)
        asks = may_be_behind and (decision.log or self.start.clock is not None)
        if decision.effects or asks or not decision.state.is_open:
            at = occurrence.at.isoformat() if may_be_behind else None
            lines, is_deadline = (*self.lines, *decision.log), isinstance(occurrence, TimerDue)
            match await self._apply(decision.state, lines, decision.effects, timer=at, is_deadline=is_deadline):
                case Behind() | TooEarly() as refused:
                    put_behind_accepted(self.start, self.inbox, self.timer, occurrence, refused)
                    return
                case AlreadyCommitted() as committed:
                    await self._adopt(chart, committed, occurrence)
                    return
                case Applied():
                    pass
        else:
            self.unsaved.append(occurrence)
            self.lines += decision.log
        self.timer.not_before = None
        self.state = decision.state
        if len(self.lines) >= limits.MOST_LINES:
            await self._save_or_adopt(chart)

    async def _apply(
        self, state: RunState, lines: Sequence[LogLine], effects: tuple[Effect, ...], **more: Any
    ) -> StepOutcome:
        """Apply the next step in the store; its number is used only if it was applied."""
        step = wire.StepInput(
            self.start.run, self.steps + 1, self.start.definition, state_to_json(state), log_to_json(tuple(lines)),
            effects_to_json(effects), workflow.now().isoformat(), **more,
        )  # fmt: skip
        queue = invocations.queue_of(step, self.queues)
        self.meter.count_call()
        result = await invocations.run_step(step, queue)
        self.meter.count_wait(result.waited, queued=queue is not None)
        outcome = outcome_of(result)
        if isinstance(outcome, Applied):
            self._saved(self.steps + 1)
        return outcome

    async def _adopt(self, chart: Chart, committed: AlreadyCommitted, *undecided: Occurrence) -> None:
        """Take the state of a step that Temporal has no record of, and decide what it does not contain.

        Occurrences since the last wait are decided again; `decide` skips, by `seq`, the events that the step contains.
        """
        again = [*self.unsaved, *undecided]
        self._saved(committed.step)
        self.state = state_from_json(committed.state)
        for occurrence in again:
            await self._decide(chart, occurrence)

    def _saved(self, step: int) -> None:
        self.steps, self.unsaved, self.lines = step, [], []

    async def _save_or_adopt(self, chart: Chart, **more: Any) -> StepOutcome:
        """A step without a decision: it stores what is kept, or adopts a step that was committed before a crash."""
        outcome = await self._apply(self.state, self.lines, (), **more)
        if isinstance(outcome, AlreadyCommitted):
            await self._adopt(chart, outcome)
        return outcome

    async def _resume_from_store(self, chart: Chart) -> None:
        """Resume a run that Temporal has lost: adopt its row's last step, then decide what was accepted since."""
        await self._save_or_adopt(chart)
        if self.state.is_open:
            at = (self.state.last_at or parse_instant(self.start.entered_at)).isoformat()
            outcome = await self._save_or_adopt(chart, timer=at)
            if isinstance(outcome, Behind):
                self.inbox.put_first(wire.SIGNAL_EVENT, outcome.occurrences)

    def _renew(self) -> None:
        """Continue as new when it costs least: when quiet, or between two steps if the run is never quiet.

        An inbox too large for one payload is first decided until the rest fits: a history may be larger than a payload.
        """
        if self.lines or not self.state.is_open or self.inbox.has_commands or not workflow.all_handlers_finished():
            return
        newer = invocations.is_newer_version_current()
        grown = newer or limits.is_grown(self.meter.length, self.inbox.received, workflow.now() - self.started)
        due = (grown and not self.inbox.items) or self.meter.length >= limits.BUSY_EVENTS
        if due and self.inbox.fits_in_payload():
            carried = (
                {"state": state_to_json(self.state), "step": self.steps} | self.inbox.carried() | self.timer.carried()
            )
            invocations.continue_as_new(replace(self.start, carried=carried), on_newer_version=newer)
