"""Comparison of a timer's or command's step with what was accepted before.

The run decides optimistically; the step compares in its own transaction (record 0002).
"""

from __future__ import annotations

from datetime import datetime, timedelta

from activities.dependencies import Dependencies
from journeys.decision.state import RunState
from journeys.protocol import wire
from journeys.protocol.envelope import parse_instant
from journeys.protocol.step_outcome import Behind, TooEarly
from store.database import Connection
from store.outbox.copies import catch_up
from store.outbox.undecided import fields_since, undecided
from store.people import subjects
from store.people.subjects import Subject
from store.runs.projection import Run, listener_of

SKEW = timedelta(seconds=5)
"""By how much the clocks of Temporal's server and of a worker may differ without a refusal."""


async def refuse_if_early_or_behind(
    deps: Dependencies,
    connection: Connection,
    step: wire.StepInput,
    state: RunState,
    run: Run,
    now: datetime,
    lane: Subject,
) -> TooEarly | Behind | None:
    """Why a step with a `timer` may not be applied yet; None if it may, and then nothing earlier is accepted any more.

    It waits for its own deadline, by the run's clock, and for everything that was accepted before it. `lane` is the run's,
    locked; pending rows of a person's account are copied into it first. Only a deadline is refused for being in the future: a
    command's instant was read from another clock, so the refusal would repeat for as long as the two differ.
    """
    due = parse_instant(step.timer or "")
    skew = SKEW if run.clock is None else timedelta()
    if step.is_deadline and now + skew < due:
        return TooEarly(parse_instant(step.now) + (due - now), now)
    behind = await _behind(deps, connection, state, run, lane, due)
    if behind:
        return Behind(behind)
    await subjects.decided_until(connection, [lane.key], due)
    return None


async def _behind(
    deps: Dependencies, connection: Connection, state: RunState, run: Run, lane: Subject, due: datetime
) -> list[wire.Envelope]:
    """What the lane has for the run after the state and after what its last timer was compared with."""
    account = await catch_up(connection, lane)
    reached = max(state.seqs.get(lane.key, 0), run.compared_seq)
    if lane.seq <= reached:
        return []
    chart = await deps.catalogue.chart(connection, run.definition)
    rows = await undecided(connection, chart, listener_of(run), {**state.seqs, lane.key: reached})
    return rows or fields_since(chart, state, lane, account, due)
