"""Anchors: timers at dates of the subject that move with the date.

`RunState.anchors` remembers, over all visits, the date for which an anchor has acted and the one that it has skipped. A window
acts at most once for a date, whatever other dates come between. A date within the anchor's `tolerance` of the one it has acted for is the
same date, and so is another hour of a day that was given without an hour. A window already past follows the author's
`past`: `act` fires now, once; `skip` and `next` wait for the next repetition (`every`), if there is one.
"""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import Final

from journeys.calendar.durations import parse_duration
from journeys.decision.chart import Timer
from journeys.decision.draft import RunDraft
from journeys.language.definition import Anchor

TOLERANCE: Final = timedelta(days=2)
"""By how much a date may be corrected after its timer has acted, where the author does not say."""
SKIPPED: Final = "skipped:"
"""Prefix of the keys in `RunState.anchors` for dates whose window had passed when they became known."""
MIDNIGHT: Final = time()
"""A date that was given without an hour, in UTC."""


def tolerance_of(anchor: Anchor) -> timedelta:
    """The declared tolerance. By default a window within a day of its date has none: its date is an appointment."""
    if anchor.tolerance is not None:
        return parse_duration(anchor.tolerance).roughly()
    shift = anchor.before or anchor.after
    is_appointment = shift is not None and timedelta() < parse_duration(shift).roughly() < timedelta(days=1)
    return timedelta() if is_appointment else TOLERANCE


def follow_dates(draft: RunDraft, scopes: tuple[str, ...]) -> None:
    """Arm again every anchor whose date reads a field of one of these scopes."""
    for timer in (*draft.node.timers, *draft.chart.root.timers):
        if timer.date is not None and any(field.startswith(scopes) for field, _ in timer.date.reads):
            arm_anchor(draft, timer)


def arm_anchor(draft: RunDraft, timer: Timer) -> None:
    """Set or move an anchor to the date as it is known now."""
    assert timer.date is not None
    evaluation = timer.date.evaluate(draft.lookup)
    if not evaluation.ok:
        if draft.timers.pop(timer.id, None) is not None:
            draft.note("armed", timer.label, f"{timer.label}: waits for no date now, as {evaluation.reason}")
        return
    date: datetime = evaluation.value
    acted_for = draft.anchors.get(_memory_key(draft, timer))
    due = _window(timer, date)
    if acted_for is not None and _is_same_date(timer, datetime.fromisoformat(acted_for), date):
        _drop_other_window(draft, timer, date, due)
        _wait_for_next(draft, timer, due)
    elif due >= draft.at:
        _move_to(draft, timer, due)
    else:
        _past_window(draft, timer, date, due, acted=acted_for is not None)


def spend_anchor(draft: RunDraft, timer: Timer) -> None:
    """Remember the date that an anchor has fired for; a repeating one waits for its next window."""
    evaluation = timer.date.evaluate(draft.lookup) if timer.date else None
    if evaluation is not None and evaluation.ok:
        draft.anchors = {**draft.anchors, _memory_key(draft, timer): evaluation.value.isoformat()}
        _wait_for_next(draft, timer, _window(timer, evaluation.value))


def _is_same_date(timer: Timer, acted_for: datetime, date: datetime) -> bool:
    """Whether the anchor has acted for this date: within its tolerance, or on the same day if one of them has no hour."""
    if abs(date - acted_for) <= timer.tolerance:
        return True
    return acted_for.date() == date.date() and MIDNIGHT in (acted_for.time(), date.time())


def _drop_other_window(draft: RunDraft, timer: Timer, date: datetime, due: datetime) -> None:
    """Drop the timer of another date, which the subject had meanwhile; a repetition of this date stays armed."""
    armed = draft.timers.get(timer.id)
    if armed is not None and not _repeats_at(timer, due, armed):
        del draft.timers[timer.id]
        draft.note("armed", timer.label, f"{timer.label}: dropped, as its window for {date.date()} is over")


def _repeats_at(timer: Timer, due: datetime, at: datetime) -> bool:
    """Whether an instant is a repetition of the window that is due at `due`."""
    if timer.every is None or not timer.every.at_most() or at <= due:
        return False
    count = max(1, (at - due) // timer.every.at_most())
    while (following := timer.every.times(count).after(due)) < at:
        count += 1
    return following == at


def _move_to(draft: RunDraft, timer: Timer, due: datetime) -> None:
    before = draft.timers.get(timer.id)
    if before != due:
        draft.timers[timer.id] = due
        draft.note("armed", timer.label, f"{timer.label}: {'moved to' if before else 'due'} {due.isoformat()}")


def _wait_for_next(draft: RunDraft, timer: Timer, due: datetime) -> None:
    following = _following_window(draft, timer, due)
    if following is not None and timer.id not in draft.timers:
        _move_to(draft, timer, following)


def _past_window(draft: RunDraft, timer: Timer, date: datetime, due: datetime, *, acted: bool) -> None:
    skipped = SKIPPED + _memory_key(draft, timer)
    if draft.anchors.get(skipped) == date.isoformat():
        _drop_other_window(draft, timer, date, due)
        _wait_for_next(draft, timer, due)
        return
    draft.timers.pop(timer.id, None)
    if timer.past == "act" and not acted:
        draft.timers[timer.id] = draft.at
        return
    draft.anchors = {**draft.anchors, skipped: date.isoformat()}
    why = "it has acted before" if acted else "its window has passed"
    draft.note("spent", timer.label, f"{timer.label}: skipped for {date.date()}, as {why}")
    _wait_for_next(draft, timer, due)


def _memory_key(draft: RunDraft, timer: Timer) -> str:
    """Two states may have an anchor of one id; each remembers its own date."""
    return f"{draft.state}/{timer.id}" if timer.id.startswith("s:") else timer.id


def _window(timer: Timer, date: datetime) -> datetime:
    if timer.before is not None:
        return timer.before.before(date)
    return timer.later.after(date) if timer.later is not None else date


def _following_window(draft: RunDraft, timer: Timer, due: datetime) -> datetime | None:
    """Always a whole number of periods from `due`, never from the last window, so that a 31st stays a 31st."""
    if timer.every is None or not timer.every.at_most():
        return None
    count = max(1, (draft.at - due) // timer.every.at_most())
    following = timer.every.times(count).after(due)
    while following <= draft.at:
        count += 1
        following = timer.every.times(count).after(due)
    return following
