"""Timers of a run as absolute deadlines: armed, repeated, spent, skipped, shifted, expired.

Ids: `s:` a timer of the state's visit, `j:` of the journey, `t:` of an open task, `goal` the goal's window.
"""

from __future__ import annotations

import zlib
from datetime import datetime, timedelta

from journeys.decision.anchors import arm_anchor, follow_dates, spend_anchor
from journeys.decision.chart import Chart, StateNode, Timer
from journeys.decision.draft import RunDraft
from journeys.decision.occurrences import Facts
from journeys.decision.state import RunState
from journeys.language.conditions import SUBJECTS

AUTHORED = ("s:", "j:")
"""Prefixes of the timers that the definition declares."""


def timer_of(draft: RunDraft, timer_id: str) -> Timer:
    """The declared timer of an `s:` or `j:` id. Raises KeyError for any other."""
    return draft.chart.timers[(draft.state if timer_id.startswith("s:") else "", timer_id)]


def first_due(draft: RunDraft, until: datetime) -> str | None:
    """The id of the timer to decide next, or None if none is due at or before `until`."""
    if not draft.timers or (due := min(draft.timers.values())) > until:
        return None
    ties = [timer_id for timer_id, at in draft.timers.items() if at == due]
    return ties[0] if len(ties) == 1 else min(ties, key=lambda timer_id: _document_order(draft, timer_id))


def _document_order(draft: RunDraft, timer_id: str) -> tuple[int, str]:
    """The goal's window first, then task deadlines, then the author's timers as they are written."""
    if timer_id == "goal":
        return -1, ""
    return (0, timer_id) if timer_id.startswith("t:") else (timer_of(draft, timer_id).order, "")


def apply_facts(draft: RunDraft, facts: Facts | None) -> None:
    """Take over fields that changed; timers at dates move with them, and those with a delay that reads them."""
    if facts is None:
        return
    lengths = {timer: _length(draft, timer) for timer in _following(draft)} if draft.state else {}
    if draft.merge_facts(facts) and draft.state:
        follow_dates(draft, SUBJECTS)
        for timer, before in lengths.items():
            _follow_length(draft, timer, before, _length(draft, timer))


def _following(draft: RunDraft) -> list[Timer]:
    return [timer for timer in (*draft.node.timers, *draft.chart.root.timers) if timer.follows_fields]


def _length(draft: RunDraft, timer: Timer) -> timedelta | None:
    """The length of a delay by the fields as they are; None if it has none."""
    assert timer.delay is not None
    due, _ = timer.delay.after(draft.at, draft.lookup)
    return due - draft.at if due is not None else None


def _follow_length(draft: RunDraft, timer: Timer, before: timedelta | None, now: timedelta | None) -> None:
    """Move a timer whose delay has another length. One that is over by then is due at once; one that has fired stays so."""
    armed = draft.timers.get(timer.id)
    if now == before:
        return
    if armed is None and (before is not None or _is_spent(draft, timer)):
        # Kept from here on, because its length may be forgotten and known again.
        draft.fired = {timer.id: 1, **draft.fired}
        return
    if now is None:
        if draft.timers.pop(timer.id, None) is not None:
            draft.note("armed", timer.label, f"{timer.label}: waits for its length, which is not known now")
        return
    began = armed - before if armed is not None and before is not None else _beginning(draft, timer)
    due = max(began + now, draft.at)
    draft.timers[timer.id] = due
    draft.note("armed", timer.label, f"{timer.label}: {'moved to' if armed else 'due'} {due.isoformat()}")


def _is_spent(draft: RunDraft, timer: Timer) -> bool:
    """Whether a timer has fired as often as it may."""
    most = timer.times if timer.repeats else 1
    return most is not None and draft.fired.get(timer.id, 0) >= most


def _beginning(draft: RunDraft, timer: Timer) -> datetime:
    """The instant from which a delay counts that was of unknown length until now; of a repeat that has fired, now."""
    if timer.id in draft.fired:
        return draft.at
    began = draft.entered_at if timer.id.startswith("s:") else draft.started_at
    return began if began is not None else draft.at


def arm_timers(draft: RunDraft, node: StateNode) -> None:
    """Start every timer of a state just entered, after its actions: a CEL delay reads what they have set."""
    for timer in node.timers:
        if timer.date is not None:
            arm_anchor(draft, timer)
            continue
        assert timer.delay is not None
        due, refusal = timer.delay.after(draft.at, draft.lookup)
        if due is None and timer.follows_fields:
            draft.note("armed", timer.label, f"{timer.label}: waits for its length, as {refusal}")
        elif due is None:
            draft.note("spent", timer.label, f"{timer.label}: never, as {refusal}")
        else:
            draft.timers[timer.id] = due


def spend_timer(draft: RunDraft, timer: Timer, due: datetime) -> None:
    """Remove a timer that fires; a repeat is armed again from its due instant."""
    del draft.timers[timer.id]
    if timer.date is not None:
        spend_anchor(draft, timer)
    elif timer.repeats:
        _arm_repeat(draft, timer, due, 1)


def _arm_repeat(draft: RunDraft, timer: Timer, due: datetime, firings: int) -> None:
    """A repeat that has fired its `times`, or has no length, is not armed again."""
    assert timer.delay is not None
    count = draft.fired.get(timer.id, 0) + firings
    draft.fired = {**draft.fired, timer.id: count}
    following, _ = timer.delay.after(due, draft.lookup)
    if following is not None and following > due and (timer.times is None or count < timer.times):
        draft.timers[timer.id] = following


def skip_repeats(draft: RunDraft, until: datetime) -> None:
    """Move repeats that are due too often at once past `until`, with a line in the log."""
    for timer in _authored_due(draft, until):
        if timer.repeats:
            draft.note(
                "spent", timer.label, f"{timer.label}: rang too often at once, goes on after {until.isoformat()}"
            )
            _skip_firings(draft, timer, until)


def _skip_firings(draft: RunDraft, timer: Timer, until: datetime) -> None:
    """Arm a repeat at its first firing after `until`; those skipped count towards its `times`."""
    due = draft.timers.pop(timer.id)
    following, _ = timer.delay.after(due, draft.lookup) if timer.delay else (None, "")
    if following is None or following <= due:
        return
    length = following - due
    skipped = (until - due) // length
    _arm_repeat(draft, timer, due + length * skipped, skipped + 1)


def drop_spinning_timers(draft: RunDraft, until: datetime) -> None:
    """Drop what is still due in a chart that spins at one instant, with a line in the log."""
    for timer_id in [timer_id for timer_id, due in draft.timers.items() if due <= until and timer_id != "goal"]:
        del draft.timers[timer_id]
        draft.note("spent", timer_id, f"{timer_id}: rang too often at once, let go")


def drop_visit_timers(draft: RunDraft) -> None:
    """Drop the timers and counts of a visit that is over; anchors remember their dates."""
    for timer_id in [timer_id for timer_id in draft.timers if timer_id.startswith("s:")]:
        del draft.timers[timer_id]
    draft.fired = {timer_id: count for timer_id, count in draft.fired.items() if not timer_id.startswith("s:")}


def shift_timers(draft: RunDraft, since: datetime) -> None:
    """Add the time paused since then to relative timers; anchors, task deadlines and the goal's window stay."""
    for timer_id, due in draft.timers.items():
        if timer_id.startswith(AUTHORED) and timer_of(draft, timer_id).date is None:
            began = draft.entered_at if timer_id.startswith("s:") and draft.entered_at else since
            draft.timers[timer_id] = due + (draft.at - max(since, began))


def expire_timers(draft: RunDraft) -> None:
    """Drop the author's timers that came due while paused; the goal's window and task deadlines stay."""
    for timer in _authored_due(draft, draft.at):
        draft.note("spent", timer.label, f"{timer.label}: came due while paused, let go")
        if timer.repeats:
            _skip_firings(draft, timer, draft.at)
        else:
            spend_timer(draft, timer, draft.timers[timer.id])


def _authored_due(draft: RunDraft, until: datetime) -> list[Timer]:
    ids = [timer_id for timer_id, due in draft.timers.items() if due <= until and timer_id.startswith(AUTHORED)]
    return [timer_of(draft, timer_id) for timer_id in ids]


MAX_JITTER = timedelta(minutes=30)
LEAST_JITTERED = timedelta(hours=1)
"""An anchor that is closer to its date fires at its instant."""
JITTER_SHARE = 10
"""An anchor fires late by at most this part of its offset from the date."""


def jitter(chart: Chart, run: str, state: RunState, due: datetime) -> timedelta:
    """How late the timer of a deadline fires; it is decided at its own instant all the same.

    Many runs share a date, so anchors are spread by the run's id over a tenth of their offset, `MAX_JITTER` at most. Other
    deadlines fire at their instant. The test clock and the backtest have no jitter.
    """
    offsets = [
        chart.timers[key].offset
        for timer_id, at in state.timers.items()
        if at == due
        and ":at." in timer_id
        and (key := (state.state if timer_id[0] == "s" else "", timer_id)) in chart.timers
    ]
    offset = min(offsets, default=timedelta())
    if offset < LEAST_JITTERED:
        return timedelta()
    return min(MAX_JITTER, offset / JITTER_SHARE) * (zlib.crc32(run.encode()) / 2**32)
