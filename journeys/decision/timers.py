"""Timers of a run: armed, repeated, spent, shifted. Deadlines are absolute; nothing here waits."""

from __future__ import annotations

import zlib
from datetime import datetime, timedelta

from journeys.decision.anchors import Anchoring
from journeys.decision.chart import StateNode, Timer
from journeys.decision.state import RunState


class Waiting(Anchoring):
    """The part of a turn that knows about time. Ids: `s:` of the visit, `j:` of the journey, `t:` of a task, `goal`."""

    def timer(self, timer_id: str) -> Timer:
        return self.chart.timers[(self.state if timer_id.startswith("s:") else "", timer_id)]

    def order_of(self, timer_id: str) -> tuple[int, str]:
        """Document order, for ties: the goal's window first, then overdue tasks, then the author's timers."""
        if timer_id == "goal":
            return -1, ""
        return (0, timer_id) if timer_id.startswith("t:") else (self.timer(timer_id).order, "")

    def first_due(self, until: datetime) -> str | None:
        """The timer to decide next, if one is due at or before `until`."""
        if not self.timers or (due := min(self.timers.values())) > until:
            return None
        ties = [name for name, at in self.timers.items() if at == due]
        return ties[0] if len(ties) == 1 else min(ties, key=self.order_of)

    def arm(self, place: StateNode) -> None:
        """Start every timer of a place that was just entered; rhythms see what its actions have set."""
        for timer in place.timers:
            if timer.date is not None:
                self.arm_anchor(timer)
                continue
            assert timer.delay is not None
            due, refusal = timer.delay.after(self.at, self.lookup)
            if due is None:
                self.note("spent", timer.label, f"{timer.label}: never, as {refusal}")
            else:
                self.timers[timer.id] = due

    def spend(self, timer: Timer, due: datetime) -> None:
        """A timer has rung: a repeat is armed again from its due instant, the others are done."""
        del self.timers[timer.id]
        if timer.date is not None:
            self.spend_anchor(timer)
        elif timer.repeats:
            self.repeat(timer, due, 1)

    def repeat(self, timer: Timer, due: datetime, rung: int) -> None:
        """Arm a repeat again, `rung` rings later, unless it has rung its `times`; one of no length would never end."""
        assert timer.delay is not None
        count = self.fired.get(timer.id, 0) + rung
        self.fired = {**self.fired, timer.id: count}
        following, _ = timer.delay.after(due, self.lookup)
        if following is not None and following > due and (timer.times is None or count < timer.times):
            self.timers[timer.id] = following

    def pass_over(self, until: datetime) -> None:
        """Repeats that would ring too often at once continue after `until`, and say so."""
        for name in [name for name, due in self.timers.items() if due <= until and name[:2] in {"s:", "j:"}]:
            timer = self.timer(name)
            if timer.repeats:
                self.note(
                    "spent", timer.label, f"{timer.label}: rang too often at once, goes on after {until.isoformat()}"
                )
                self.skip_rings(timer, until)

    def skip_rings(self, timer: Timer, until: datetime) -> None:
        """Move a repeat to its first ring after `until`, as if those before had rung for nothing."""
        due = self.timers.pop(timer.id)
        following, _ = timer.delay.after(due, self.lookup) if timer.delay else (None, "")
        if following is None or following <= due:
            return
        length = following - due
        skipped = (until - due) // length
        self.repeat(timer, due + length * skipped, skipped + 1)

    def let_go(self, until: datetime) -> None:
        """A chart that spins at one instant is stopped: what is still due is dropped, and says so."""
        for name in [name for name, due in self.timers.items() if due <= until and name != "goal"]:
            del self.timers[name]
            self.note("spent", name, f"{name}: rang too often at once, let go")

    def drop_visit_timers(self) -> None:
        """The visit is over: its timers and counts go; anchors remember their dates."""
        for name in [name for name in self.timers if name.startswith("s:")]:
            del self.timers[name]
        self.fired = {name: rung for name, rung in self.fired.items() if not name.startswith("s:")}

    # -- operators -----------------------------------------------------------------------------------------------

    def shift(self, since: datetime) -> None:
        """Add the time that stood still to relative timers; anchors, tasks and the goal's window never shift."""
        for name, due in self.timers.items():
            if self.is_relative(name):
                began = self.entered_at if name.startswith("s:") and self.entered_at else since
                self.timers[name] = due + (self.at - max(since, began))

    def expire(self) -> None:
        """Let go of what came due while time stood still; the goal's window and people's tasks are not let go."""
        for name in [name for name, due in self.timers.items() if due <= self.at and name[:2] in {"s:", "j:"}]:
            timer = self.timer(name)
            self.note("spent", timer.label, f"{timer.label}: came due while paused, let go")
            if timer.repeats:
                self.skip_rings(timer, self.at)
            else:
                self.spend(timer, self.timers[name])

    def is_relative(self, name: str) -> bool:
        return name[:2] in {"s:", "j:"} and self.timer(name).date is None


MAX_JITTER = timedelta(minutes=30)


def jitter(run: str, state: RunState, due: datetime) -> timedelta:
    """How late a deadline rings: up to half an hour for an anchor, from the run's id; nothing for other timers."""
    if not any(":at." in name for name, at in state.timers.items() if at == due):
        return timedelta(0)
    return MAX_JITTER * (zlib.crc32(run.encode()) / 2**32)
