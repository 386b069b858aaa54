"""`decide`: the next state and effects of a run, from its definition, its state and one occurrence. Pure and total.

How it reads an occurrence, always in this order:

1. One already seen (its `seq` is not above the lane's last) or one to a finished run changes nothing.
2. `at` never falls below the run's last, so time in a run only moves forward.
3. Timers due at or before `at` are decided first, by due instant, then by their place in the document; each at its own
   due instant. This is what makes lag, restarts and retries change nothing: the live run and the backtest see the same
   order, whenever the clock really rang.
4. The occurrence itself: the goal before exits, exits before the state's reactions, those before the journey's.
5. Timers that it made due at once, so that no wait is left behind that is over already.

A guard that is not true says why in the log. Nothing here reads a clock, draws a number or touches the world.
"""

from __future__ import annotations

from journeys.decision.chart import Chart
from journeys.decision.effects import Decision
from journeys.decision.interpreter import Interpreter
from journeys.decision.occurrences import (
    Cancelled,
    DeadlineSet,
    Entered,
    Erased,
    FieldsChanged,
    Merged,
    Occurrence,
    OptedOut,
    Paused,
    Resumed,
    Signal,
    TimerDue,
)
from journeys.decision.state import RunState


def decide(chart: Chart, state: RunState, occurrence: Occurrence) -> Decision:
    """What one occurrence changes. Never raises for a chart that compiled; equal inputs give equal decisions."""
    if not state.is_open or _already_seen(state, occurrence):
        return Decision(state)
    turn = Interpreter(chart, state)
    at = occurrence.at if state.last_at is None else max(occurrence.at, state.last_at)
    turn.timers_until(at)
    if turn.is_open and not isinstance(occurrence, TimerDue):
        turn.see(occurrence)
        turn.at = at
        _take(turn, occurrence)
        turn.timers_until(at)
    return turn.decision()


def _already_seen(state: RunState, occurrence: Occurrence) -> bool:
    seq = getattr(occurrence, "seq", 0)
    return seq > 0 and seq <= state.seqs.get(getattr(occurrence, "lane", ""), 0)


def _take(turn: Interpreter, occurrence: Occurrence) -> None:
    match occurrence:
        case Entered():
            turn.read_facts(occurrence.facts)
            turn.begin(occurrence.name, occurrence.data)
        case Signal():
            turn.read_facts(occurrence.facts)
            turn.react(occurrence.name, occurrence.data)
        case FieldsChanged():
            turn.read_facts(occurrence.facts)
        case TimerDue():
            pass
        case DeadlineSet():
            turn.set_deadline(occurrence.task, occurrence.ask, occurrence.due_at)
        case Paused():
            turn.pause(occurrence.by)
        case Resumed():
            turn.resume(occurrence.mode, occurrence.by)
        case Cancelled() | OptedOut() | Merged() | Erased():
            _end(turn, occurrence)


def _end(turn: Interpreter, occurrence: Cancelled | OptedOut | Merged | Erased) -> None:
    match occurrence:
        case Cancelled(by=by, reason=reason):
            turn.finish("cancelled", f"cancelled by {by or 'an operator'}: {reason or 'no reason given'}")
        case OptedOut():
            turn.finish("opted_out", "no channel of this topic is left to them")
        case Merged():
            turn.finish("merged", "they turned out to be somebody who is in this journey already")
        case Erased():
            turn.finish("erased", "the person asked to be forgotten")
            turn.forget()
