"""Anchors: timers at dates of the subject, which move when the date moves, earlier or later.

`RunState.anchors` remembers the date for which an anchor has acted or was skipped, over all visits, so that the same
date never acts twice in a run. A window already past follows the author's `past`: `act` does it now, once; `skip` and `next` wait for
the next repetition (`every`) if there is one.
"""

from __future__ import annotations

from datetime import datetime

from journeys.decision.chart import Timer
from journeys.decision.draft import RunDraft
from journeys.decision.occurrences import Facts


class Anchoring(RunDraft):
    """The part of a turn that follows dates."""

    def read_facts(self, facts: Facts | None) -> None:
        """Take in fields that changed; dates among them move their anchors."""
        if self.merge_facts(facts) and self.state:
            self.follow_dates(("profile.", "account."))

    def follow_dates(self, scopes: tuple[str, ...]) -> None:
        """Set anew every anchor whose date reads one of these scopes."""
        for timer in (*self.here.timers, *self.chart.everywhere.timers):
            if timer.date is not None and any(field.startswith(scopes) for field, _ in timer.date.reads):
                self.arm_anchor(timer)

    def arm_anchor(self, timer: Timer) -> None:
        """Set or move an anchor to the date as it is known now."""
        assert timer.date is not None
        value = timer.date.evaluate(self.lookup)
        if not value.ok:
            if self.timers.pop(timer.id, None) is not None:
                self.note("armed", timer.label, f"{timer.label}: waits for no date now, as {value.reason}")
            return
        date: datetime = value.value
        done_for = self.anchors.get(self.memory_of(timer))
        due = self.window(timer, date)
        if done_for == date.isoformat():
            self.wait_for_next(timer, due)
        elif due >= self.at:
            self.move_to(timer, due)
        else:
            self.past_window(timer, date, due, already=done_for is not None)

    def move_to(self, timer: Timer, due: datetime) -> None:
        before = self.timers.get(timer.id)
        if before != due:
            self.timers[timer.id] = due
            self.note("armed", timer.label, f"{timer.label}: {'moved to' if before else 'due'} {due.isoformat()}")

    def wait_for_next(self, timer: Timer, due: datetime) -> bool:
        """Wait for the first repetition of a window after now, if it repeats."""
        following = self.following_window(timer, due)
        if following is not None and timer.id not in self.timers:
            self.move_to(timer, following)
        return following is not None

    def past_window(self, timer: Timer, date: datetime, due: datetime, *, already: bool) -> None:
        """The date's window has passed: act now, or leave it and wait for the next, as declared."""
        self.timers.pop(timer.id, None)
        if timer.past == "act" and not already:
            self.timers[timer.id] = self.at
            return
        self.anchors = {**self.anchors, self.memory_of(timer): date.isoformat()}
        why = "it has acted before" if already else "its window has passed"
        self.note("spent", timer.label, f"{timer.label}: skipped for {date.date()}, as {why}")
        self.wait_for_next(timer, due)

    def spend_anchor(self, timer: Timer) -> None:
        """It has rung for this date; a repeating one waits for the next window, counted from the date itself."""
        value = timer.date.evaluate(self.lookup) if timer.date else None
        if value is not None and value.ok:
            self.anchors = {**self.anchors, self.memory_of(timer): value.value.isoformat()}
            self.wait_for_next(timer, self.window(timer, value.value))

    def memory_of(self, timer: Timer) -> str:
        """Two states may have an anchor of one id; each remembers its own date."""
        return f"{self.state}/{timer.id}" if timer.id.startswith("s:") else timer.id

    def window(self, timer: Timer, date: datetime) -> datetime:
        if timer.before is not None:
            return timer.before.before(date)
        return timer.later.after(date) if timer.later is not None else date

    def following_window(self, timer: Timer, due: datetime) -> datetime | None:
        """The first repetition after now, a whole number of periods from `due`, so that a 31st stays a 31st."""
        if timer.every is None or not timer.every.at_most():
            return None
        count = max(1, (self.at - due) // timer.every.at_most())
        following = timer.every.times(count).after(due)
        while following <= self.at:
            count += 1
            following = timer.every.times(count).after(due)
        return following
