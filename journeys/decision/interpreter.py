"""One turn of `decide`: a private working copy of a run's state while a single occurrence is decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from journeys.decision.chart import ChartTransition, CompiledAction, EndRule, StateNode
from journeys.decision.effects import (
    ClosedTask,
    Effect,
    EscalatedTask,
    Finished,
    OpenedTask,
    WithdrawnMessages,
    effects_from_json,
    effects_to_json,
    variables_asked_in,
)
from journeys.decision.perform import perform
from journeys.decision.state import OpenTask, UnconsumedSignal
from journeys.decision.timers import Waiting
from journeys.language.actions import Task
from journeys.language.conditions import Condition

MOST_FIRINGS = 1_000
"""Timers decided in one turn before repeats are moved past `at`; as many again, and a spinning chart is stopped."""
MOST_MISSED = 16


class Interpreter(Waiting):
    """Reads like the semantics of design §2: enter, leave, react, fire, finish."""

    # -- time ----------------------------------------------------------------------------------------------------

    def timers_until(self, until: datetime) -> None:
        """Decide every timer due at or before `until`, by due instant, then document order."""
        for count in range(2 * MOST_FIRINGS):
            timer_id = None if self.paused_at is not None else self.first_due(until)
            if timer_id is None:
                return
            due = self.timers[timer_id]
            self.at = due if self.last_at is None else max(due, self.last_at)
            self.ring(timer_id, due)
            if count == MOST_FIRINGS:
                self.pass_over(until)
        self.let_go(until)

    def ring(self, timer_id: str, due: datetime) -> None:
        """One timer's due instant has come."""
        if timer_id == "goal":
            del self.timers[timer_id]
            self.finish("missed", "the goal's time has passed")
        elif timer_id.startswith("t:"):
            self.overdue(timer_id[2:])
        else:
            timer = self.timer(timer_id)
            self.spend(timer, due)
            if not self.take_first(timer.moves, timer.label):
                self.note("spent", timer.label, f"{timer.label}: nothing, as {self.refusal}")

    def overdue(self, name: str) -> None:
        """A task's deadline passed: escalate it, and let the chart react to `<task>.overdue`."""
        del self.timers[f"t:{name}"]
        task, act = self.tasks[name], self.task_act(name)
        chain = act.spec.escalate if act and isinstance(act.spec, Task) else ()
        level = task.level + 1
        if level <= len(chain):
            due, _ = act.sla.after(self.at, self.lookup) if act and act.sla else (None, "")
            self.tasks = {**self.tasks, name: OpenTask(chain[level - 1], level)}
            if due is not None and level < len(chain):
                self.timers[f"t:{name}"] = due
            self.emit(EscalatedTask(name, chain[level - 1], level, self.at, due))
            self.note("acted", name, f"task {name} is overdue: escalated to {chain[level - 1]}")
        else:
            self.note("acted", name, f"task {name} is overdue")
        self.react(f"{name}.overdue", {"owner": task.owner, "level": task.level})

    def set_deadline(self, name: str, ask: str, due: datetime) -> None:
        """Somebody outside knows when a task is due: arm it, unless that task is over or has nowhere to go any more."""
        task, act = self.tasks.get(name), self.task_act(name)
        if task is None or ask != variables_asked_in(self.state, self.visit, name, self.firings.get(name, 0)):
            return
        chain = act.spec.escalate if act and isinstance(act.spec, Task) else ()
        if task.level == 0 or task.level < len(chain):
            self.timers[f"t:{name}"] = due
            self.note("armed", name, f"task {name} is due on {due:%Y-%m-%d %H:%M} UTC")

    def task_act(self, name: str) -> CompiledAction | None:
        """The action that opened a task of this visit, the state's own first."""
        return self.chart.tasks.get((self.state, name)) or self.chart.tasks.get(("", name))

    # -- signals -------------------------------------------------------------------------------------------------

    def react(self, name: str, data: Mapping[str, Any]) -> None:
        """Goal, then exits, then the state's own reactions, then the journey's; else remember it if one looks back."""
        if not self.state:
            self.note("ignored", name, f"{name}: came before the run began")
            return
        self.event = data
        self.settle_task(name)
        if self.stops(self.chart.goal, name):
            self.finish("reached", f"goal reached: {name}")
        elif self.stops(self.chart.exits, name):
            self.finish("exited", f"left on {name}")
        elif not self.moved_by(name) and name in self.chart.looked_back:
            self.remember(name, data)
        self.event = {}

    def remember(self, name: str, data: Mapping[str, Any]) -> None:
        """Keep a signal that moved nothing for as long as some state may look back at it."""
        longest = self.chart.looked_back
        useful = [other for other in self.missed if other.at + longest.get(other.name, timedelta(0)) >= self.at]
        self.missed = (*useful, UnconsumedSignal(name, self.at, self.chart.kept(name, data)))[-MOST_MISSED:]

    def moved_by(self, name: str) -> bool:
        refusals = []
        for place in (self.here, self.chart.everywhere):
            moves = place.on.get(name)
            if moves is None:
                continue
            if self.take_first(moves, f"on {name}"):
                return True
            refusals.append(self.refusal)
        if refusals:
            self.note("guard", name, f"on {name}: nothing, as {'; '.join(refusals)}")
        return False

    def stops(self, stops: tuple[EndRule, ...], name: str) -> bool:
        for stop in stops:
            if stop.on == name:
                if self.allows(stop.guard):
                    return True
                self.note("guard", name, f"{name} does not end the run, as {self.refusal}")
        return False

    def settle_task(self, name: str) -> None:
        task, _, word = name.rpartition(".")
        if word == "closed" and task in self.tasks:
            self.tasks = {key: value for key, value in self.tasks.items() if key != task}
            self.timers.pop(f"t:{task}", None)
            self.note("acted", task, f"task {task} was closed")

    def take_first(self, moves: tuple[ChartTransition, ...], cause: str) -> bool:
        """The first move whose guard is true; leaves the reasons of the others in `refusal`."""
        refusals = []
        for move in moves:
            if self.allows(move.guard):
                self.take(move, cause)
                return True
            refusals.append(self.refusal)
        self.refusal = "; ".join(refusals)
        return False

    def take(self, move: ChartTransition, cause: str) -> None:
        if move.to is None:
            self.note("fired", self.state, f"{cause}, in {self.state}")
            self.run(move.do)
        else:
            self.enter(move.to, cause, move.do)

    def allows(self, guard: Condition | None) -> bool:
        if guard is None:
            return True
        true, self.refusal = guard.holds(self.lookup)
        return true

    # -- states --------------------------------------------------------------------------------------------------

    def begin(self, name: str, data: Mapping[str, Any]) -> None:
        """The run's first moment: the goal's window and the journey's own timers start here."""
        if self.state:
            self.note("ignored", name, f"{name}: the run has begun already")
            return
        self.started_at = self.at
        self.event = data
        self.note("entered", self.chart.key, f"entered on {name}")
        if self.chart.within is not None:
            self.timers["goal"] = self.chart.within.after(self.at)
        self.enter(self.chart.spec.start, f"on {name}", ())
        if self.is_open:
            self.arm(self.chart.everywhere)
        self.event = {}

    def enter(self, to: str, cause: str, do: tuple[CompiledAction, ...]) -> None:
        """Leave where we are, then be in `to`: its visit, timers and firings start anew; `do` belongs to the new visit."""
        came_from = self.state
        if came_from:
            self.leave(f"{came_from} was left for {to} {cause}")
        self.state, self.entered_at = to, self.at
        self.visits = {**self.visits, to: self.visits.get(to, 0) + 1}
        self.visit = self.visits[to]
        self.note("moved", to, f"{cause}: now in {to}" + (f", from {came_from}" if came_from else ""))
        place = self.here
        self.run(do)
        self.run(place.do)
        if place.final is not None:
            self.finish(place.final, f"{to} is final: {place.final}", stand=True)
        else:
            self.arm(place)
            self.look_back(place)

    def leave(self, reason: str) -> None:
        """What was queued or opened for this visit is no longer true."""
        if any(name in self.chart.sends for name in self.firings):
            self.emit(WithdrawnMessages(reason, self.at, self.state, self.visit))
        self.close_tasks(reason)
        self.drop_held(reason, self.state, self.visit)
        self.firings = {}
        self.drop_visit_timers()

    def look_back(self, place: StateNode) -> None:
        """A place may take what came before it was entered and moved nothing, oldest first, until that moves the run."""
        here = (self.state, self.visit)
        for missed in self.missed:
            for moves in (place.on.get(missed.name, ()), self.chart.everywhere.on.get(missed.name, ())):
                recent = [move for move in moves if move.lookback and move.lookback.after(missed.at) >= self.at]
                if recent and self.take_back(missed, tuple(recent)):
                    break
            if not self.is_open or (self.state, self.visit) != here:
                return

    def take_back(self, missed: UnconsumedSignal, moves: tuple[ChartTransition, ...]) -> bool:
        before, kept = self.event, self.missed
        self.event = missed.data
        self.missed = tuple(other for other in kept if other is not missed)
        taken = self.take_first(moves, f"looking back at {missed.name}")
        if not taken:
            self.missed = kept
            self.note("guard", missed.name, f"looking back at {missed.name}: nothing, as {self.refusal}")
        self.event = before
        return taken

    def finish(self, outcome: str, why: str, *, stand: bool = False) -> None:
        """The run ends at once; what is queued goes, save what a final state's entry asked for."""
        self.outcome = outcome
        if not stand:
            self.close_tasks(why)
        self.emit(WithdrawnMessages(why, self.at))
        self.emit(Finished(outcome, self.at))
        self.drop_held("the run ended while paused")
        self.timers, self.missed = {}, ()
        self.note("finished", outcome, why)

    def close_tasks(self, reason: str) -> None:
        for name in self.tasks:
            self.emit(ClosedTask(name, reason, self.at))
            self.timers.pop(f"t:{name}", None)
        self.tasks = {}

    def forget(self) -> None:
        """Nothing personal stays in the state of a run whose person is erased."""
        self.facts, self.variables = {}, {}

    def run(self, acts: tuple[CompiledAction, ...]) -> None:
        for act in acts:
            if not self.allows(act.guard):
                self.note("guard", act.name, f"{act.name}: not done, as {self.refusal}")
            else:
                perform(self, act)

    # -- operators -----------------------------------------------------------------------------------------------

    def pause(self, by: str) -> None:
        if self.paused_at is None:
            self.paused_at = self.at
            self.note("paused", self.state, f"paused by {by or 'an operator'}")

    def resume(self, mode: str, by: str) -> None:
        """Time that stood still is added (`shift`), made up for (`catch_up`) or let go (`expire`)."""
        if self.paused_at is None:
            return
        since, self.paused_at = self.paused_at, None
        if mode == "shift":
            self.shift(since)
        elif mode == "expire":
            self.expire()
        self.note("resumed", self.state, f"resumed by {by or 'an operator'} ({mode})")
        held, self.held = self.held, ()
        for effect in effects_from_json(list(held)):
            self.emit(self.shifted(effect) if mode == "shift" else effect)

    def shifted(self, effect: Effect) -> Effect:
        """A task that nobody saw while it was held has its whole time yet."""
        if not isinstance(effect, OpenedTask) or effect.due_at is None:
            return effect
        due = effect.due_at + (self.at - effect.at)
        self.timers[f"t:{effect.action}"] = due
        return replace(effect, due_at=due)

    def drop_held(self, reason: str, state: str | None = None, visit: int | None = None) -> None:
        """What was held for a visit that is over (or for the run, without one) is asked of nobody."""
        kept = []
        for item in self.held:
            if state is not None and (item.get("state"), item.get("visit")) != (state, visit):
                kept.append(item)
            else:
                about = str(item.get("action") or item.get("name") or item["kind"])
                self.note("held", about, f"{about}: held while paused, and dropped: {reason}")
        self.held = tuple(kept)

    # -- results -------------------------------------------------------------------------------------------------

    def emit(self, effect: Effect) -> None:
        """Ask the world for something; a paused run holds it back, unless it only takes things away."""
        if self.paused_at is not None and not isinstance(effect, Finished | WithdrawnMessages | ClosedTask):
            self.held = (*self.held, *effects_to_json((effect,)))
            self.note("held", effect.kind, f"{effect.kind} held while paused")
        else:
            self.effects.append(effect)
