"""`decide`: the next state, effects and log of a run after one occurrence.

Pure and total. An occurrence is always decided in this order:

1. One already seen (its `seq` is not above the lane's last), or one to a finished run, changes nothing.
2. `at` never falls below the run's last, so time in a run only moves forward.
3. Timers due at or before `at` are decided first, by due instant, then by their position in the document; each at its
   own due instant. So lag, restarts and retries change nothing: the live run and the backtest have the same order,
   however late the clock fires.
4. The occurrence itself: the goal before exits, exits before the state's transitions, those before the journey's.
5. Timers that it made due at once, so that no due timer is left.

Effects that wait for a step come before all of it: a decision has at most `MOST_EFFECTS`, and the next is due at once.

A guard that is not true has its reason in the log. There is no clock, no random number and no I/O.
"""

from __future__ import annotations

from journeys.decision.chart import Chart
from journeys.decision.draft import RunDraft
from journeys.decision.effects import Decision
from journeys.decision.interpreter import begin, erase_fields, finish, fire_due_timers, react
from journeys.decision.occurrences import (
    Cancelled,
    DeadlineSet,
    Entered,
    Erased,
    FieldsChanged,
    LaneOccurrence,
    Merged,
    Occurrence,
    OptedOut,
    Paused,
    Resumed,
    Signal,
    TimerDue,
)
from journeys.decision.operator import pause, resume
from journeys.decision.perform import set_deadline
from journeys.decision.state import RunState
from journeys.decision.timers import apply_facts


def decide(chart: Chart, state: RunState, occurrence: Occurrence) -> Decision:
    """Decide one occurrence. Never raises for a chart that compiled; equal inputs give equal decisions."""
    draft = RunDraft(chart, state)
    return draft.decision() if decide_in(draft, occurrence) else Decision(state)


def decide_in(draft: RunDraft, occurrence: Occurrence) -> bool:
    """Decide one occurrence in a draft, which keeps effects and log; False if the occurrence changes nothing."""
    if not draft.is_open or _already_seen(draft, occurrence):
        return False
    at = occurrence.at if draft.last_at is None else max(occurrence.at, draft.last_at)
    draft.release_slice()
    fire_due_timers(draft, at)
    if draft.outcome is None and not isinstance(occurrence, TimerDue):
        draft.last_at = at
        _take(draft, occurrence)
        fire_due_timers(draft, at)
    return True


def _already_seen(draft: RunDraft, occurrence: Occurrence) -> bool:
    return isinstance(occurrence, LaneOccurrence) and 0 < occurrence.seq <= draft.seqs.get(occurrence.lane, 0)


def _take(draft: RunDraft, occurrence: Occurrence) -> None:
    if isinstance(occurrence, LaneOccurrence):
        draft.mark_seen(occurrence)
    match occurrence:
        case Entered():
            apply_facts(draft, occurrence.facts)
            begin(draft, occurrence.name, occurrence.data)
        case Signal():
            apply_facts(draft, occurrence.facts)
            react(draft, occurrence.name, occurrence.data)
        case FieldsChanged():
            apply_facts(draft, occurrence.facts)
        case TimerDue():
            pass
        case DeadlineSet():
            set_deadline(draft, occurrence.task, occurrence.request, occurrence.due_at)
        case Paused():
            pause(draft, occurrence.by)
        case Resumed():
            resume(draft, occurrence.mode, occurrence.by)
        case Cancelled() | OptedOut() | Merged() | Erased():
            _end(draft, occurrence)


def _end(draft: RunDraft, occurrence: Cancelled | OptedOut | Merged | Erased) -> None:
    match occurrence:
        case Cancelled(by=by, reason=reason):
            finish(draft, "cancelled", f"cancelled by {by or 'an operator'}: {reason or 'no reason given'}")
        case OptedOut():
            finish(draft, "opted_out", "no channel of this topic is left to them")
        case Merged():
            finish(draft, "merged", "they turned out to be somebody who is in this journey already")
        case Erased():
            finish(draft, "erased", "the person asked to be forgotten")
            erase_fields(draft)
