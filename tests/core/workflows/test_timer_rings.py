"""Rings of a run's timer: a deadline comes never before its instant, and always after it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hypothesis import example, given, settings
from hypothesis import strategies as st

from workflows.timer import TimerFirings

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


@dataclass
class Run:
    """A run's rings beside timers as Temporal keeps them. What has fired waits until it is read, also if cancelled meanwhile."""

    now: datetime = START
    firings: TimerFirings = field(default_factory=TimerFirings)
    needed: datetime | None = None
    running: list[datetime] = field(default_factory=list)
    fired: list[datetime] = field(default_factory=list)

    def look(self, due: datetime) -> bool:
        """Whether the deadline has come; else the timer for it runs, and the one before it is cancelled."""
        if self.firings.has_reached(due):
            return True
        if self.firings.needs_timer(due):
            if self.needed in self.running:
                self.running.remove(self.needed)
            self.needed = due
            self.running.append(due)
            self.wait(timedelta(0))
        return False

    def wait(self, span: timedelta) -> None:
        """Time passes, and timers fire."""
        self.now += span
        self.fired += sorted(at for at in self.running if at <= self.now)
        self.running = [at for at in self.running if at > self.now]

    def read(self) -> None:
        """Read one ring."""
        if self.fired:
            self.firings.note_fired(self.fired.pop(0))
            if self.firings.armed is None:
                self.needed = None

    def renew(self) -> None:
        """Continue as new: timers end, unread rings are lost."""
        self.firings, self.needed, self.running, self.fired = TimerFirings(self.firings.reached), None, [], []

    def act(self, action: str, hours: int) -> None:
        """One step of a sequence."""
        match action:
            case "look":
                due = self.now + hours * HOUR
                assert not self.look(due) or due <= self.now, "a deadline has come before its instant"
            case "wait":
                self.wait(hours * HOUR)
            case "read":
                self.read()
            case _:
                self.renew()


ACTIONS = st.one_of(
    st.tuples(st.just("look"), st.sampled_from([-3, -1, 1, 3, 4_000])),
    st.tuples(st.just("wait"), st.sampled_from([0, 1, 2, 5])),
    st.tuples(st.sampled_from(["read", "renew"]), st.just(0)),
)


@settings(max_examples=400)
@given(st.lists(ACTIONS, min_size=5, max_size=30))
@example([("look", 3), ("wait", 5), ("look", -3), ("read", 0), ("look", 4_000), ("read", 0), ("look", 3)])
def test_no_deadline_comes_before_its_instant_in_any_sequence(actions: list[tuple[str, int]]) -> None:
    run = Run()
    for action in actions:
        run.act(*action)


@given(st.lists(ACTIONS, max_size=30), st.integers(1, 5_000))
def test_a_deadline_that_is_waited_for_comes_after_any_sequence(actions: list[tuple[str, int]], hours: int) -> None:
    run = Run()
    for action in actions:
        run.act(*action)
    due = run.now + hours * HOUR
    for _ in range(100):
        while run.fired:
            run.read()
        if run.look(due):
            return
        assert run.running or run.fired, "the run waits for a timer that nobody keeps"
        run.wait(max(timedelta(0), min(run.running, default=run.now) - run.now))
    raise AssertionError("the deadline never comes")


def test_the_ring_of_a_replaced_timer_says_nothing_of_a_later_deadline() -> None:
    """`go` happened before P1D; the timer of P1D fires while its step is in hand, then the run waits for P180D."""
    run = Run()
    assert not run.look(START + 24 * HOUR)
    run.wait(24 * HOUR)
    earlier, renewal = START + 22 * HOUR, START + 180 * 24 * HOUR
    assert not run.look(earlier)
    run.read()
    assert run.look(earlier)
    assert not run.look(renewal)
    run.read()
    assert not run.look(renewal)
    assert run.running == [renewal]
