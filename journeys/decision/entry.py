"""Entry into a journey: cases, epochs, re-entry and guards, as one pure rule.

A run is one epoch of one case: the case is a property of the event (`case: order_id`), the epoch counts the subject's
runs of it. While a run is open, no other begins; after it has ended, the author's `again` decides. Entry is decided on
the runs as they are when the event is accepted, timers due by then included. History opens no run, nor does an event
that comes just after the journey's goal (`lookback`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from journeys.decision.chart import Chart
from journeys.decision.decide import decide
from journeys.decision.occurrences import Facts, Occurrence, TimerDue
from journeys.decision.state import RunState
from journeys.frozen import frozen
from journeys.language.conditions import Lookup
from journeys.language.signal_names import play_signal

MAX_CASE = 200
"""Characters of a case; a longer value is no case."""


@frozen
class PastRun:
    """An earlier run of this subject and case, open or ended."""

    epoch: int
    open: bool
    ended_at: datetime | None = None


@frozen
class EntryAllowed:
    """A new run begins; `case` is empty for a journey without cases."""

    epoch: int
    case: str


@frozen
class EntryRefused:
    """No run begins, for this reason; `guards` are the sources of the entry's conditions that were false."""

    reason: str
    guards: tuple[str, ...] = ()


@frozen
class EarlierSignal:
    """A signal of the subject that was accepted before the entry: `at` is its instant for decisions, `occurred_at` its own."""

    name: str
    data: Mapping[str, Any]
    at: datetime
    occurred_at: datetime


@frozen
class EventTimes:
    """When an event happened and when it was accepted; `historical`: its sender tells it as history."""

    occurred_at: datetime
    accepted_at: datetime
    historical: bool = False


def past_run_as_of(
    chart: Chart, state: RunState, epoch: int, occurrences: Iterable[Occurrence], at: datetime
) -> PastRun:
    """A run as it is at `at`, after the `occurrences` that it has not decided yet and its timers until then."""
    for occurrence in occurrences:
        state = decide(chart, state, occurrence).state
    state = decide(chart, state, TimerDue(at)).state
    return PastRun(epoch, state.is_open, None if state.is_open else state.last_at)


def enters_on(chart: Chart, name: str) -> bool:
    """Whether this signal may open a run."""
    return name == play_signal(chart.key) or any(rule.on == name for rule in chart.entry)


def case_of(chart: Chart, data: Mapping[str, Any]) -> str | None:
    """The case of an event: empty for a journey without cases, None for an event without a valid case."""
    if chart.spec.case is None:
        return ""
    value = data.get(chart.spec.case)
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    case = str(value).strip()
    return case if 0 < len(case) <= MAX_CASE else None


def unusable_case(chart: Chart, data: Mapping[str, Any]) -> str:
    """Why the case in an event can never be one; empty if it can, or if the event has none."""
    name = chart.spec.case
    if name is None or data.get(name) is None or case_of(chart, data) is not None:
        return ""
    return f"{name} is the case of {chart.key}, and must be a text or whole number of 1 to {MAX_CASE} characters"


def may_enter(
    chart: Chart,
    name: str,
    data: Mapping[str, Any],
    facts: Facts | None,
    previous: Sequence[PastRun],
    at: datetime,
    *,
    times: EventTimes | None = None,
    earlier: Sequence[EarlierSignal] = (),
) -> EntryAllowed | EntryRefused:
    """Whether an event opens a run at `at`; `previous` are the subject's runs of its case, in any order.

    `earlier` are the subject's signals that were accepted before it. Without `times` it happened, and was accepted, at `at`.
    A play is refused for neither: an operator decided it.
    """
    if not enters_on(chart, name):
        return EntryRefused(f"{name} does not open {chart.key}")
    case = case_of(chart, data)
    if case is None:
        return EntryRefused(f"the event has no {chart.spec.case}")
    refusal = reentry_refusal(chart, previous, at)
    if not refusal and name != play_signal(chart.key):
        times = times or EventTimes(at, at)
        refusal = _history_refusal(chart, times) or _lookback_refusal(chart, case, earlier, previous, facts, at, times)
    if refusal:
        return EntryRefused(refusal)
    refused = _refused_by_guards(chart, name, data, facts, at)
    return refused or EntryAllowed(max((run.epoch for run in previous), default=0) + 1, case)


def reentry_refusal(chart: Chart, previous: Sequence[PastRun], at: datetime) -> str:
    """Why no run of a case may begin at `at` beside these earlier ones; empty if one may. A merge asks it too (U2)."""
    if not previous:
        return ""
    if any(run.open for run in previous):
        return "a run is open"
    if chart.limits.again is not None:
        ended = max((run.ended_at for run in previous if run.ended_at is not None), default=None)
        allowed_at = chart.limits.again.after(ended) if ended is not None else at
        return "" if allowed_at <= at else f"the last run ended less than {_again_text(chart)} ago"
    return "" if chart.spec.entry.again == "always" else "the person has had a run before, and may enter once only"


def _history_refusal(chart: Chart, times: EventTimes) -> str:
    """Why an event is history for a journey, and so opens no run; empty if it is not."""
    if times.historical:
        return "the event is history: its sender says so"
    if chart.limits.max_age.after(times.occurred_at) < times.accepted_at:
        return f"the event is history: it happened more than {chart.spec.entry.max_age} before it came"
    return ""


def is_history_for(chart: Chart, began_at: datetime, occurred_at: datetime, accepted_at: datetime) -> bool:
    """Whether an old event is history for a run: older than the journey's `max_age`, and from before the run began."""
    return occurred_at < began_at and chart.limits.max_age.after(occurred_at) < accepted_at


def _lookback_refusal(
    chart: Chart,
    case: str,
    earlier: Sequence[EarlierSignal],
    previous: Sequence[PastRun],
    facts: Facts | None,
    at: datetime,
    times: EventTimes,
) -> str:
    """Why a signal that came before the event keeps it from opening a run; empty if none does.

    What came by the end of an earlier run belongs to that run. A signal that can open a run itself keeps none from beginning.
    """
    ended = max((run.ended_at for run in previous if run.ended_at is not None), default=None)
    looked_back = chart.looked_back
    for signal in earlier:
        if signal.name not in looked_back or case_of(chart, signal.data) != case:
            continue
        if ended is not None and signal.at <= ended:
            continue
        for what, rules, limit in (("goal", chart.goal, chart.limits.goal), ("exit", chart.exits, chart.limits.exit)):
            if limit is None or limit.after(signal.occurred_at) < times.occurred_at:
                continue
            lookup = _lookup(signal.data, facts, at)
            if any(rule.on == signal.name and (rule.guard is None or rule.guard.holds(lookup)[0]) for rule in rules):
                return f"its {what} {signal.name} came before it, within the time of `lookback`"
    return ""


def _again_text(chart: Chart) -> str:
    again = chart.spec.entry.again
    return again if isinstance(again, str) else again.after


def _refused_by_guards(
    chart: Chart, name: str, data: Mapping[str, Any], facts: Facts | None, at: datetime
) -> EntryRefused | None:
    """The refusal by the entry's guards, or None. A play has none: an operator decided it."""
    refusals: list[tuple[str, str]] = []
    for rule in chart.entry:
        if rule.on == name:
            if rule.guard is None:
                return None
            holds, reason = rule.guard.holds(_lookup(data, facts, at))
            if holds:
                return None
            refusals.append((rule.guard.source, reason))
    if not refusals:
        return None
    return EntryRefused("; ".join(reason for _, reason in refusals), tuple(source for source, _ in refusals))


def _lookup(data: Mapping[str, Any], facts: Facts | None, at: datetime) -> Lookup:
    """Fields of the event, the profile and the account; there is no run yet, so `journey.*` is unknown."""

    def lookup(field: str) -> Any:
        scope, _, name = field.partition(".")
        if scope == "now":
            return at
        return data.get(name) if scope == "event" else (facts or {}).get(scope, {}).get(name)

    return lookup
