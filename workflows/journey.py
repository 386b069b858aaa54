"""One journey of one subject: it waits, asks `decide`, has the step applied, and waits again. Nothing is decided here.

How it stays alive for years, and where to look:

- everything that arrives goes through one append-only handler (`receive`) and is read in the main loop (`_next`);
- one timer, for the earliest deadline (`DurableTimer`);
- what is there when it wakes is a batch, and nothing that a replay may tell at another time counts before the next (`_wake`);
- one activity a step (`_apply`), keyed by run and step; a timer's step may come back with what was accepted before it;
- decisions that only change the run share a step with what waits behind them (`_save`), so a burst costs one;
- continue-as-new when quiet at 60 events (`_renew`), because history length is what a cold signal costs.

Only a decision ends a run: `workflow_failure_exception_types` stays empty, so a bug blocks the task until code mends it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue

with workflow.unsafe.imports_passed_through():
    from journeys.decision.chart import Chart
    from journeys.decision.compiler import load_chart
    from journeys.decision.decide import decide
    from journeys.decision.effects import Effect, LogLine, effects_to_json, log_to_json
    from journeys.decision.occurrences import Cancelled, Occurrence, Paused, Resumed, TimerDue
    from journeys.decision.state import RunState, state_from_json, state_to_json
    from journeys.decision.timers import jitter
    from journeys.protocol import wire
    from journeys.protocol.envelope import Unreadable, occurrence_of, parse_instant
    from workflows.inbox import MOST_SHOWN, TIMER_FIRED, Arrival, Inbox
    from workflows.invocations import (
        EVENTS_A_MINUTE,
        EVENTS_QUEUED,
        RefusedByActivity,
        clock_without_limit,
        queue_of,
        run_local,
        run_step,
    )
    from workflows.limits import BUSY_EVENTS, MOST_LINES, MOST_SIGNALS, OLDEST, QUIET_EVENTS
    from workflows.operator_commands import OperatorCommands
    from workflows.timer import DurableTimer


@workflow.defn(name=wire.JOURNEY_WORKFLOW)
class JourneyWorkflow(OperatorCommands):
    """The durable half of a run; the other half is its row in Postgres."""

    @workflow.init
    def __init__(self, start: wire.RunInput) -> None:
        carried = start.carried or {}
        self.start = start
        self.clock = clock_without_limit(start.clock)
        self.state = state_from_json(carried["state"]) if "state" in carried else RunState()
        self.steps = int(carried.get("step", 0))
        self.inbox = Inbox(carried.get("inbox", ()), carried.get("ids", ()), int(carried.get("plain", _first(start))))
        self.alarm = DurableTimer(parse_instant(carried["reached"]) if "reached" in carried else None, self.inbox.ring)
        self.not_before: datetime | None = None
        self.started = workflow.now()
        self.wakes = 1 if carried else 0
        self.length = 0
        self.calls = 0
        self.unsaved: list[Occurrence] = []
        self.lines: list[LogLine] = []
        self.chart: Chart | None = None
        self.queues: dict[str, str] = {}

    @workflow.run
    async def run(self, start: wire.RunInput) -> str:
        """Decide until the journey ends; its outcome."""
        load = wire.LoadInput(start.definition, start.run, self.inbox.heard(self.state.seqs))
        loaded = await run_local(wire.LOAD_DEFINITION, load, wire.LoadResult)
        self.queues = loaded.queues
        self.chart = chart = load_chart(loaded.artifact)
        # A task that answered a query may end a run by the result of a call before it is told what came beside that.
        self.inbox.put_last(wire.SIGNAL_EVENT, loaded.behind)
        if start.carried == wire.RESUMES:
            await self._take_over(chart)
        while self.state.is_open:
            occurrence = await self._next(chart)
            if occurrence is not None:
                await self._decide(chart, occurrence)
            self._renew()
        self.inbox.close()
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self.state.outcome or ""

    # -- in ------------------------------------------------------------------------------------------------------

    @workflow.signal(dynamic=True)
    def receive(self, name: str, args: Sequence[RawValue]) -> None:
        """Every signal of every name and shape; only kept here, so that nothing it holds can raise."""
        self.inbox.add(name, args)

    async def _next(self, chart: Chart) -> Occurrence | None:
        """The next thing to decide: what has arrived, before any timer; None when there is nothing yet."""
        letter = self.inbox.take()
        if letter is not None:
            return await self._read(chart, letter)
        if self.lines:
            await self._stand(chart)
            return None
        due = self.state.next_due()
        if due is not None and self._has_come(due):
            return TimerDue(due)
        if due is not None:
            self.alarm.arm(self._rings_at(due))
        self.unsaved.clear()
        await workflow.wait_condition(lambda: bool(self.inbox.arrived))
        self._wake()
        return None

    def _wake(self) -> None:
        """What a workflow task brings is one batch; what comes meanwhile is seen when it is done.

        A replay does not tell everything when it was told. A task that answers a query, or that only kept a slow activity
        waiting, is completed before we hear of what it recorded: a replay tells that one task earlier, or what came before
        it one task later. So between two waits nobody asks the clock, the history's length, or what has arrived meanwhile.
        """
        self.wakes += 1
        self.inbox.open()
        self.length = 3 * self.wakes + self.inbox.events + self.calls + self.alarm.events

    async def _read(self, chart: Chart, letter: Arrival) -> Occurrence | None:
        """A letter as an occurrence; what cannot be read or is not known is kept for a person to see."""
        if letter.value is TIMER_FIRED:
            self.alarm.look()
            return None
        if isinstance(letter.value, Occurrence):
            return letter.value
        if letter.name == wire.SIGNAL_NUDGE:
            if not self.state.state:
                await self._take_over(chart)
            return None
        try:
            if letter.name == wire.SIGNAL_EVENT:
                return occurrence_of(letter.envelope())
            if letter.name.startswith(wire.RESERVED) or letter.name not in chart.signals:
                raise Unreadable(f"{letter.name} is not known to {chart.key}")
            await self._accept_plain(letter)
        except Unreadable as fault:
            await self._bury(chart, letter, str(fault))
        return None

    async def _accept_plain(self, letter: Arrival) -> None:
        """A signal that came past the front door is stored like any other, and decided in its place."""
        data = letter.data()
        identity = self.inbox.identity(data)
        if identity is None:
            return
        plain = wire.PlainSignal(
            self.start.run,
            self.start.definition,
            f"{self.start.run}!{identity}",
            letter.name,
            data,
            dict(self.state.seqs),
            workflow.now().isoformat(),
        )
        self.calls += 1
        try:
            accepted = await run_local(wire.ACCEPT_PLAIN, plain, list[wire.Envelope])
        except RefusedByActivity as fault:
            raise Unreadable(str(fault)) from None
        self.inbox.put_back(wire.SIGNAL_EVENT, accepted)

    async def _bury(self, chart: Chart, letter: Arrival, reason: str) -> None:
        stone = {"name": letter.name, "reason": reason, "payload": letter.shown()}
        tombstone = {key: value.replace("\x00", "�")[:MOST_SHOWN] for key, value in stone.items()}
        while (await self._stand(chart, tombstones=[tombstone])).committed is not None:
            pass

    # -- time ----------------------------------------------------------------------------------------------------

    def _rings_at(self, due: datetime) -> datetime:
        """The real instant of a deadline: jittered where many share a date, scaled on a test clock, not before a hold ends."""
        real = self._real(due + jitter(self.start.run, self.state, due))
        return real if self.not_before is None else max(real, self.not_before)

    def _real(self, at: datetime) -> datetime:
        return at if self.clock is None else self.clock.real(at)

    def _has_come(self, due: datetime) -> bool:
        """Whether it is as late as that, by what has rung and what was decided."""
        known = [self.alarm.reached, self._real(self.state.last_at) if self.state.last_at else None]
        at = self._rings_at(due)
        return any(each is not None and at <= each for each in known)

    # -- out -----------------------------------------------------------------------------------------------------

    async def _decide(self, chart: Chart, occurrence: Occurrence) -> None:
        """One decision, applied before it is believed: time's and operators' may learn what was accepted before them.

        One that only changes the run waits for the others that have arrived: they share a step.
        """
        asks = isinstance(occurrence, TimerDue | Paused | Resumed | Cancelled)
        decision = decide(chart, self.state, occurrence)
        if decision.effects or (asks and decision.log) or not decision.state.is_open:
            asked = occurrence.at.isoformat() if asks else None
            result = await self._apply(decision.state, (*self.lines, *decision.log), decision.effects, timer=asked)
            if result.behind or result.early_until:
                await self._look_again(occurrence, result)
                return
            if result.committed is not None:
                await self._adopt(chart, result.step, result.committed, occurrence)
                return
        else:
            self.unsaved.append(occurrence)
            self.lines += decision.log
        self.not_before = None
        self.state = decision.state
        if len(self.lines) >= MOST_LINES:
            await self._stand(chart)

    async def _adopt(self, chart: Chart, step: int, committed: dict[str, Any], *decided: Occurrence) -> None:
        """A step was committed and Temporal never knew: it stands, and what it does not contain is decided on it.

        Signals know by their `seq` whether it does. Those that are in no step since the last wait, which is the last
        that Temporal knows, are decided again as well.
        """
        again = [*self.unsaved, *decided]
        self._saved(step)
        self.state = state_from_json(committed)
        for occurrence in again:
            await self._decide(chart, occurrence)

    def _saved(self, step: int) -> None:
        self.steps = step
        self.unsaved.clear()
        self.lines.clear()

    async def _look_again(self, occurrence: Occurrence, result: wire.StepResult) -> None:
        """Nothing was applied: first what was accepted before. On a clock that is held a timer waits, an operator does not."""
        if isinstance(occurrence, TimerDue):
            self.not_before = parse_instant(result.early_until) if result.early_until else None
        else:
            asked: Any = occurrence
            self.inbox.put_back_command(
                replace(asked, at=parse_instant(result.held_at)) if result.held_at else occurrence
            )
        self.inbox.put_back(wire.SIGNAL_EVENT, result.behind)

    async def _stand(self, chart: Chart, **asks: Any) -> wire.StepResult:
        """A step that decides nothing more. What comes back may be a committed one that it then stands on, or what comes first."""
        result = await self._apply(self.state, self.lines, (), **asks)
        if result.committed is not None:
            await self._adopt(chart, result.step, result.committed)
        return result

    async def _take_over(self, chart: Chart) -> None:
        """Temporal has lost the workflow before this one: its row's last step stands, then comes what was accepted since."""
        await self._stand(chart)
        if self.state.is_open:
            asked = (self.state.last_at or parse_instant(self.start.entered_at)).isoformat()
            self.inbox.put_back(wire.SIGNAL_EVENT, (await self._stand(chart, timer=asked)).behind)

    async def _apply(
        self, state: RunState, lines: Sequence[LogLine], effects: tuple[Effect, ...], **asks: Any
    ) -> wire.StepResult:
        """The next step, in the store; counted unless something comes before it or stands in its place."""
        self.calls += 1
        step = wire.StepInput(
            self.start.run, self.steps + 1, self.start.definition, state_to_json(state), log_to_json(tuple(lines)),
            effects_to_json(effects), workflow.now().isoformat(), **asks,
        )  # fmt: skip
        queue = queue_of(step, self.queues)
        result = await run_step(step, queue)
        self.calls += EVENTS_QUEUED * (queue is not None) + EVENTS_A_MINUTE * result.waited // 60
        if not (result.behind or result.early_until) and result.committed is None:
            self._saved(self.steps + 1)
        return result

    # -- for ever ------------------------------------------------------------------------------------------------

    def _renew(self) -> None:
        """Continue as new when it costs least: quiet, or between two steps when it never gets quiet.

        An inbox too large for one payload is decided first, until what is left can be carried: each letter makes it
        smaller, and what the server allows a history is far more than what it allows an inbox.
        """
        if self.lines or not self.state.is_open or not workflow.all_handlers_finished():
            return
        moved = workflow.info().is_target_worker_deployment_version_changed()
        # As of the task's start; what this task has called since is on its way there.
        length = max(self.length, self.calls)
        grown = (
            length >= QUIET_EVENTS
            or self.inbox.received >= MOST_SIGNALS
            or workflow.now() - self.started >= OLDEST  # once a month: what a replay may take it for is seconds away
            or moved
        )
        if ((grown and not self.inbox.letters) or length >= BUSY_EVENTS) and self.inbox.fits():
            carried = {"state": state_to_json(self.state), "step": self.steps} | self.inbox.carried()
            if self.alarm.reached is not None:
                carried["reached"] = self.alarm.reached.isoformat()
            workflow.continue_as_new(
                replace(self.start, carried=carried),
                initial_versioning_behavior=workflow.ContinueAsNewVersioningBehavior.AUTO_UPGRADE if moved else None,
            )


def _first(start: wire.RunInput) -> int:
    """Where plain signals without an id are numbered from: one that resumes may not use its predecessor's numbers again."""
    return int(workflow.info().start_time.timestamp() * 1000) if start.carried == wire.RESUMES else 0
