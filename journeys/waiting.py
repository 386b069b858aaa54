"""Timers and anchors of a run: armed, moved, repeated, spent, shifted. Deadlines are absolute; nothing here waits."""

from __future__ import annotations

from datetime import datetime

from journeys.chart import Place, Timer
from journeys.occurrences import Facts
from journeys.working import Working

MOST_WINDOWS = 1_000


class Waiting(Working):
    """The part of a turn that knows about time."""

    def timer(self, timer_id: str) -> Timer:
        return self.chart.timers[(self.state if timer_id.startswith("s:") else "", timer_id)]

    def order_of(self, timer_id: str) -> int:
        """Document order, for ties: the goal's window first, then overdue tasks, then the author's timers."""
        if timer_id == "goal":
            return -1
        return 0 if timer_id.startswith("t:") else self.timer(timer_id).order

    def arm(self, place: Place) -> None:
        """Start every timer of a place that was just entered."""
        for timer in place.timers:
            if timer.date is not None:
                self.arm_anchor(timer)
                continue
            assert timer.delay is not None  # noqa: S101 -- a timer has a date or a delay, by construction
            due, refusal = timer.delay.after(self.at, self.lookup)
            if due is None:
                self.note("spent", timer.label, f"{timer.label}: never, as {refusal}")
            else:
                self.timers[timer.id] = due

    def spend(self, timer: Timer, due: datetime) -> None:
        """A timer has rung: a repeat is armed again from its due instant, the others are done."""
        del self.timers[timer.id]
        if timer.date is not None:
            self.spend_anchor(timer, due)
        elif timer.repeats and timer.delay is not None:
            rung = self.fired.get(timer.id, 0) + 1
            self.fired = {**self.fired, timer.id: rung}
            following, _ = timer.delay.after(due, self.lookup)
            if following is not None and (timer.times is None or rung < timer.times):
                self.timers[timer.id] = following

    def drop_visit_timers(self) -> None:
        """The visit is over: its timers, counts and anchors' memory go."""
        for kind in [name for name in self.timers if name.startswith("s:")]:
            del self.timers[kind]
        self.fired = {name: rung for name, rung in self.fired.items() if not name.startswith("s:")}
        self.anchors = {name: date for name, date in self.anchors.items() if not name.startswith("s:")}

    def pass_over(self, until: datetime) -> None:
        """More rang at once than one turn decides: move what is left past `until`, and say so."""
        for name, due in sorted(self.timers.items()):
            if due <= until and name != "goal":
                del self.timers[name]
                self.at = max(self.at, due)
                self.note("spent", name, f"{name}: rang too often at once; passed over")

    # -- anchors -------------------------------------------------------------------------------------------------

    def read_facts(self, facts: Facts | None) -> None:
        """Take in fields that changed; dates among them move their anchors, earlier or later."""
        if not self.merge_facts(facts) or not self.state:
            return
        for timer in (*self.here.timers, *self.chart.everywhere.timers):
            if timer.date is not None:
                self.arm_anchor(timer)

    def arm_anchor(self, timer: Timer) -> None:
        """Set or move an anchor to the date as it is known now; `anchors` remembers the date it has acted for."""
        assert timer.date is not None  # noqa: S101 -- asked of anchors only
        value = timer.date.evaluate(self.lookup)
        if not value.ok:
            if self.timers.pop(timer.id, None) is not None:
                self.note("armed", timer.label, f"{timer.label}: waits for no date now, as {value.reason}")
            return
        date: datetime = value.value
        acted_for = self.anchors.get(timer.id)
        if acted_for == date.isoformat():
            return
        due = self.window(timer, date)
        if due > self.at:
            self.move_to(timer, due)
        else:
            self.past_window(timer, date, due, already=acted_for is not None)

    def move_to(self, timer: Timer, due: datetime) -> None:
        before = self.timers.get(timer.id)
        if before != due:
            self.timers[timer.id] = due
            self.note("armed", timer.label, f"{timer.label}: {'moved to' if before else 'due'} {due.isoformat()}")

    def past_window(self, timer: Timer, date: datetime, due: datetime, *, already: bool) -> None:
        """The date's window has passed: act now, skip it, or wait for the next, as declared."""
        self.timers.pop(timer.id, None)
        following = self.following_window(timer, due) if timer.past == "next" else None
        if timer.past == "act" and not already:
            self.timers[timer.id] = self.at
        elif following is not None:
            self.move_to(timer, following)
        else:
            self.anchors = {**self.anchors, timer.id: date.isoformat()}
            why = "it has acted before" if already else "its window has passed"
            self.note("spent", timer.label, f"{timer.label}: skipped for {date.date()}, as {why}")

    def spend_anchor(self, timer: Timer, due: datetime) -> None:
        value = timer.date.evaluate(self.lookup) if timer.date else None
        if value is not None and value.ok:
            self.anchors = {**self.anchors, timer.id: value.value.isoformat()}
        following = self.following_window(timer, due) if timer.every else None
        if following is not None:
            self.timers[timer.id] = following

    def window(self, timer: Timer, date: datetime) -> datetime:
        if timer.before is not None:
            return timer.before.before(date)
        return timer.later.after(date) if timer.later is not None else date

    def following_window(self, timer: Timer, due: datetime) -> datetime | None:
        """The first repetition of a window after now; None when it does not repeat."""
        if timer.every is None:
            return None
        for _ in range(MOST_WINDOWS):
            due = timer.every.after(due)
            if due > self.at:
                return due
        return None

    # -- operators -----------------------------------------------------------------------------------------------

    def shift(self, since: datetime) -> None:
        """Add the time that stood still to relative timers; anchors, tasks and the goal's window never shift."""
        for name, due in self.timers.items():
            if self.is_relative(name):
                began = self.entered_at if name.startswith("s:") and self.entered_at else since
                self.timers[name] = due + (self.at - max(since, began))

    def expire(self) -> None:
        """Let go of what came due while time stood still; the goal's window is not the operator's to let go."""
        for name, due in sorted(self.timers.items()):
            if due <= self.at and name != "goal":
                del self.timers[name]
                self.note("spent", name, f"{name}: came due while paused, let go")
                if name[:2] in {"s:", "j:"} and self.timer(name).date is not None:
                    self.spend_anchor(self.timer(name), due)

    def is_relative(self, name: str) -> bool:
        return name[:2] in {"s:", "j:"} and self.timer(name).date is None
