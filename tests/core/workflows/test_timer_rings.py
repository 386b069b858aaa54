"""Rings of a run's timer: a deadline comes never before its instant, and always after it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from workflows.timer import Rings

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


@dataclass
class Server:
    """Timers as Temporal keeps them. What has fired waits until the run reads it, also if it was cancelled meanwhile."""

    now: datetime = START
    running: datetime | None = None
    fired: list[datetime] = field(default_factory=list)

    def start(self, at: datetime) -> None:
        """Replace the running timer; one in the past fires at once."""
        self.running = at
        self.fire()

    def fire(self) -> None:
        if self.running is not None and self.running <= self.now:
            self.fired.append(self.running)
            self.running = None


ACTIONS = st.one_of(
    st.tuples(st.just("look"), st.sampled_from([-3, -1, 1, 3, 4_000])),
    st.tuples(st.just("pass"), st.sampled_from([0, 1, 2, 5])),
    st.tuples(st.just("read"), st.just(0)),
    st.tuples(st.just("renew"), st.just(0)),
)


@given(st.lists(ACTIONS, max_size=40))
def test_no_deadline_comes_before_its_instant_in_any_sequence(actions: list[tuple[str, int]]) -> None:
    server, rings = Server(), Rings()
    for action, hours in actions:
        match action:
            case "look":
                due = server.now + hours * HOUR
                if rings.has_reached(due):
                    assert due <= server.now
                elif rings.needs_timer(due):
                    server.start(due)
            case "pass":
                server.now += hours * HOUR
                server.fire()
            case "read":
                while server.fired:
                    rings.note_fired(server.fired.pop(0))
            case _:
                rings, server.running, server.fired = Rings(rings.reached), None, []


@given(st.lists(ACTIONS, max_size=40), st.integers(1, 5_000))
def test_a_deadline_that_is_waited_for_comes_in_any_sequence(actions: list[tuple[str, int]], hours: int) -> None:
    server, rings = Server(), Rings()
    for action, span in actions:
        at = server.now + span * HOUR
        if action == "look" and not rings.has_reached(at) and rings.needs_timer(at):
            server.start(at)
        elif action == "pass":
            server.now += span * HOUR
            server.fire()
        elif action == "read":
            while server.fired:
                rings.note_fired(server.fired.pop(0))
    due = server.now + hours * HOUR
    for _ in range(100):
        while server.fired:
            rings.note_fired(server.fired.pop(0))
        if rings.has_reached(due):
            return
        if rings.needs_timer(due):
            server.start(due)
        assert server.running is not None or server.fired, "the run waits for a timer that nobody keeps"
        server.now = max(server.now, server.running or server.now)
        server.fire()
    raise AssertionError("the deadline never comes")


def test_the_ring_of_a_replaced_timer_says_nothing_of_a_later_deadline() -> None:
    """`go` happened before P1D; the timer of P1D fires while its step is in hand, then the run waits for P180D."""
    server, rings = Server(), Rings()
    assert rings.needs_timer(START + 24 * HOUR)
    server.start(START + 24 * HOUR)
    server.now = START + 24 * HOUR
    server.fire()
    earlier = START + 22 * HOUR
    assert not rings.has_reached(earlier)
    assert rings.needs_timer(earlier)
    server.start(earlier)
    rings.note_fired(server.fired.pop(0))
    assert rings.has_reached(earlier)
    renewal = START + 180 * 24 * HOUR
    assert not rings.needs_timer(renewal), "the timer of the earlier deadline still runs"
    rings.note_fired(server.fired.pop(0))
    assert not rings.has_reached(renewal)
    assert rings.needs_timer(renewal)
