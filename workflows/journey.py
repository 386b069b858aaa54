"""One journey of one subject: it waits, asks `decide`, has the step applied, and waits again. Nothing is decided here.

How it stays alive for years, and where to look:

- everything that arrives goes through one append-only handler (`receive`) and is read in the main loop (`_next`);
- one timer, for the earliest deadline (`_arm`); a stale one fires for nothing rather than being cancelled;
- one activity a step (`_step`), keyed by run and step; a timer's step may come back with what was accepted before it;
- continue-as-new when quiet at about 100 events (`_renew`), because history length is what a cold signal costs.

Only a decision ends a run: `workflow_failure_exception_types` stays empty, so a bug blocks the task until code mends it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from journeys import wire
    from journeys.chart import Chart, load_chart
    from journeys.decide import decide
    from journeys.effects import effects_to_json, log_to_json
    from journeys.envelope import Unreadable, instant, occurrence_of
    from journeys.explain import explain
    from journeys.jitter import jitter
    from journeys.occurrences import Cancelled, Occurrence, Paused, Resumed, TimerDue
    from journeys.state import RunState, state_from_json, state_to_json
    from workflows.calls import Refused, clock_of, run_local, run_step
    from workflows.inbox import MOST_SHOWN, Inbox, Letter
    from workflows.options import BUSY_EVENTS, MOST_SIGNALS, OLDEST, QUIET_EVENTS


@workflow.defn(name=wire.JOURNEY_WORKFLOW)
class JourneyWorkflow:
    """The durable half of a run; the other half is its row in Postgres."""

    @workflow.init
    def __init__(self, start: wire.RunInput) -> None:
        carried = start.carried or {}
        self.start = start
        self.clock = clock_of(start.clock)
        self.state = state_from_json(carried["state"]) if "state" in carried else RunState()
        self.steps = int(carried.get("step", 0))
        self.inbox = Inbox(carried.get("inbox", ()), carried.get("ids", ()), int(carried.get("plain", _first(start))))
        self.started = workflow.now()
        self.timer: asyncio.TimerHandle | None = None
        self.armed: datetime | None = None
        self.not_before: datetime | None = None
        self.rung = False
        self.calls = 0
        self.unsaved: list[Occurrence] = []
        self.chart: Chart | None = None
        self.queues: dict[str, str] = {}

    @workflow.run
    async def run(self, start: wire.RunInput) -> str:
        """Decide until the journey ends; its outcome."""
        loaded = await run_local(wire.LOAD_DEFINITION, start.definition, wire.Loaded)
        self.queues = loaded.queues
        self.chart = chart = load_chart(loaded.artifact)
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
        due = self.state.next_due()
        if due is not None and self._rings_at(due) <= workflow.now():
            return TimerDue(due)
        self._arm(due)
        self.unsaved.clear()
        await workflow.wait_condition(lambda: self.rung or self.inbox.waiting)
        self.rung = False
        return None

    async def _read(self, chart: Chart, letter: Letter) -> Occurrence | None:
        """A letter as an occurrence; what cannot be read or is not known is kept for a person to see."""
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

    async def _accept_plain(self, letter: Letter) -> None:
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
        except Refused as fault:
            raise Unreadable(str(fault)) from None
        self.inbox.put_back(wire.SIGNAL_EVENT, accepted)

    async def _bury(self, chart: Chart, letter: Letter, reason: str) -> None:
        stone = {"name": letter.name, "reason": reason, "payload": letter.shown()}
        tombstone = {key: value.replace("\x00", "�")[:MOST_SHOWN] for key, value in stone.items()}
        while (await self._stand(chart, tombstones=[tombstone])).committed is not None:
            pass

    # -- time ----------------------------------------------------------------------------------------------------

    def _rings_at(self, due: datetime) -> datetime:
        """The real instant of a deadline: jittered where many share a date, scaled on a test clock, not before a hold ends."""
        late = due + jitter(self.start.run, self.state, due)
        real = late if self.clock is None else self.clock.real(late)
        return real if self.not_before is None else max(real, self.not_before)

    def _arm(self, due: datetime | None) -> None:
        """One timer, for the earliest deadline; armed anew only when that is earlier than the one that runs."""
        if due is None:
            return
        at = self._rings_at(due)
        if self.timer is not None and self.armed is not None and self.armed <= at:
            return
        if self.timer is not None:
            self.timer.cancel()
        delay = max(timedelta(milliseconds=1), at - workflow.now())
        self.armed = at
        self.timer = asyncio.get_running_loop().call_later(delay.total_seconds(), self._ring)

    def _ring(self) -> None:
        self.timer, self.armed, self.rung = None, None, True

    # -- out -----------------------------------------------------------------------------------------------------

    async def _decide(self, chart: Chart, occurrence: Occurrence) -> None:
        """One decision, applied before it is believed: time's and operators' may learn what was accepted before them."""
        decision = decide(chart, self.state, occurrence)
        if decision.effects or decision.log:
            asks = isinstance(occurrence, TimerDue | Paused | Resumed | Cancelled)
            result = await self._apply(wire.StepInput(
                self.start.run, self.steps + 1, self.start.definition, state_to_json(decision.state),
                log_to_json(decision.log), effects_to_json(decision.effects), workflow.now().isoformat(),
                occurrence.at.isoformat() if asks else None,
            ))  # fmt: skip
            if result.behind or result.early_until:
                await self._look_again(occurrence, result)
                return
            if result.committed is not None:
                await self._adopt(chart, result.step, result.committed, occurrence)
                return
            self.steps += 1
            self.unsaved.clear()
        else:
            self.unsaved.append(occurrence)
        self.not_before = None
        self.state = decision.state

    async def _adopt(self, chart: Chart, step: int, committed: dict[str, Any], *decided: Occurrence) -> None:
        """A step was committed and Temporal never knew: it stands, and what it does not contain is decided on it.

        Signals know by their `seq` whether it does. Those that changed nothing worth a step since the last wait, which
        is the last that Temporal knows, are decided again as well.
        """
        again = [*self.unsaved, *decided]
        self.unsaved.clear()
        self.steps, self.state = step, state_from_json(committed)
        for occurrence in again:
            await self._decide(chart, occurrence)

    async def _look_again(self, occurrence: Occurrence, result: wire.StepResult) -> None:
        """Nothing was applied: first what was accepted before. On a clock that is held a timer waits, an operator does not."""
        if isinstance(occurrence, TimerDue):
            self.not_before = instant(result.early_until) if result.early_until else None
        else:
            asked: Any = occurrence
            self.inbox.put_back_command(replace(asked, at=instant(result.held_at)) if result.held_at else occurrence)
        self.inbox.put_back(wire.SIGNAL_EVENT, result.behind)

    async def _stand(self, chart: Chart, **asks: Any) -> wire.StepResult:
        """A step that decides nothing. What comes back may be a committed one that it then stands on, or what comes first."""
        result = await self._apply(wire.StepInput(
            self.start.run, self.steps + 1, self.start.definition, state_to_json(self.state), [], [],
            workflow.now().isoformat(), **asks,
        ))  # fmt: skip
        if result.committed is not None:
            await self._adopt(chart, result.step, result.committed)
        elif not result.behind and result.early_until is None:
            self.steps += 1
            self.unsaved.clear()
        return result

    async def _take_over(self, chart: Chart) -> None:
        """Temporal has lost the workflow before this one: its row's last step stands, then comes what was accepted since."""
        await self._stand(chart)
        if self.state.is_open:
            asked = (self.state.last_at or instant(self.start.entered_at)).isoformat()
            self.inbox.put_back(wire.SIGNAL_EVENT, (await self._stand(chart, timer=asked)).behind)

    async def _apply(self, step: wire.StepInput) -> wire.StepResult:
        self.calls += 1
        return await run_step(step, self.queues)

    # -- for ever ------------------------------------------------------------------------------------------------

    def _renew(self) -> None:
        """Continue as new when it costs least: quiet, or between two steps when it never gets quiet.

        An inbox too large for one payload is decided first, until what is left can be carried: each letter makes it
        smaller, and what the server allows a history is far more than what it allows an inbox.
        """
        if not self.state.is_open or not workflow.all_handlers_finished():
            return
        info = workflow.info()
        moved = info.is_target_worker_deployment_version_changed()
        # The history's length is as of the task's start; what this task has called since is on its way there.
        length = max(info.get_current_history_length(), self.calls)
        grown = (
            length >= QUIET_EVENTS
            or self.inbox.received >= MOST_SIGNALS
            or workflow.now() - self.started >= OLDEST
            or moved
        )
        if (grown and not self.inbox.waiting) or (length >= BUSY_EVENTS and self.inbox.fits()):
            carried = {"state": state_to_json(self.state), "step": self.steps} | self.inbox.carried()
            workflow.continue_as_new(
                replace(self.start, carried=carried),
                initial_versioning_behavior=workflow.ContinueAsNewVersioningBehavior.AUTO_UPGRADE if moved else None,
            )

    # -- operators -----------------------------------------------------------------------------------------------

    @workflow.update(name=wire.UPDATE_PAUSE)
    async def pause(self, request: dict[str, Any]) -> str:
        """Hold effects and timers; keep listening."""
        return await self._command(Paused(self._asked_at(request), str(request.get("by", ""))))

    @pause.validator
    def _may_pause(self, request: dict[str, Any]) -> None:
        self._refuse_unless(self.state.is_open and self.state.paused_at is None, "it is paused already, or has ended")
        self._asked_at(request)

    @workflow.update(name=wire.UPDATE_RESUME)
    async def resume(self, request: dict[str, Any]) -> str:
        """Go on, and say what becomes of the time that stood still."""
        mode = request.get("mode", "shift")
        return await self._command(Resumed(self._asked_at(request), mode, str(request.get("by", ""))))

    @resume.validator
    def _may_resume(self, request: dict[str, Any]) -> None:
        # A run that is being revived has not got its state back yet: what it is asked waits behind that.
        self._refuse_unless(self.state.paused_at is not None or not self.state.state, "it is not paused")
        known = request.get("mode", "shift") in {"shift", "catch_up", "expire"}
        self._refuse_unless(known, "mode must be shift, catch_up or expire")
        self._asked_at(request)

    @workflow.update(name=wire.UPDATE_CANCEL)
    async def cancel(self, request: dict[str, Any]) -> str:
        """End the run, with who and why."""
        return await self._command(
            Cancelled(self._asked_at(request), str(request.get("by", "")), str(request.get("reason", "")))
        )

    @cancel.validator
    def _may_cancel(self, request: dict[str, Any]) -> None:
        self._refuse_unless(self.state.is_open, "it has ended")
        self._asked_at(request)

    async def _command(self, occurrence: Occurrence) -> str:
        """Queue an operator's wish behind what has arrived, and answer once it is decided."""
        ticket = self.inbox.command(occurrence)
        await workflow.wait_condition(lambda: self.inbox.done >= ticket)
        return self.state.outcome or ("paused" if self.state.paused_at else "running")

    def _asked_at(self, request: dict[str, Any]) -> datetime:
        """When it was asked, never later than now: nobody decides timers ahead of their time."""
        at = request.get("at")
        now = workflow.now() if self.clock is None else self.clock.virtual(workflow.now())
        return now if at is None else min(instant(at), now)

    def _refuse_unless(self, allowed: bool, why: str) -> None:
        if not allowed:
            raise ApplicationError(f"run {self.start.run}: {why}", type="tenure.Refused", non_retryable=True)

    @workflow.query(name=wire.QUERY_STATE)
    def query_state(self) -> dict[str, Any]:
        """The run's state as it is here, before any projection."""
        return {
            "run": self.start.run,
            "definition": self.start.definition,
            "step": self.steps,
            "state": state_to_json(self.state),
            "inbox": self.inbox.length,
        }

    @workflow.query(name=wire.QUERY_EXPLAIN)
    def query_explain(self) -> list[str]:
        """What it waits for, in sentences."""
        return explain(self.chart, self.state) if self.chart else ["it is being loaded"]


def _first(start: wire.RunInput) -> int:
    """Where plain signals without an id are numbered from: one that resumes may not use its predecessor's numbers again."""
    return int(workflow.info().start_time.timestamp() * 1000) if start.carried == wire.RESUMES else 0
