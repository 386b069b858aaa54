"""Projection of runs: rows and timelines, written once per step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Integer, Text, bindparam, select
from sqlalchemy.dialects.postgresql import insert

from journeys.decision.effects import LogLine
from journeys.decision.state import RunState, state_to_json
from journeys.events.tracing import trace_of_step
from journeys.protocol.routing import RunSubscription
from store.database import Connection, as_json, execute, fetch_one, sql
from store.expressions import unnest
from store.rows import loaded
from store.schema import dead_letters, runs, subjects, timeline
from store.schema.base import Trace

_READ = sql(
    select(
        runs.c.id,
        runs.c.journey,
        runs.c.definition,
        runs.c.subject_key,
        runs.c.case_key,
        runs.c.lane,
        runs.c.entered_seq,
        runs.c.joined_seq,
        runs.c.compared_seq,
        runs.c.clock,
        runs.c.status,
        runs.c.step,
        runs.c.state,
        runs.c.visit,
        subjects.c.kind.label("subject_kind"),
        subjects.c.account_key,
    )
    .join_from(runs, subjects, subjects.c.key == runs.c.lane)
    .where(runs.c.id == bindparam("id"))
)
# The cause of a step is the last row of a lane that it has and the step before had not; of two lanes, the row whose
# instant is the run's. It is read here, because this needs no statement of its own.
_ADVANCE = sql(
    """
    WITH cause AS (
    SELECT o.trace FROM runs r CROSS JOIN unnest(CAST(:lanes AS text[]), CAST(:seqs AS bigint[])) AS reached(lane, seq)
      CROSS JOIN LATERAL (SELECT * FROM outbox w WHERE w.recipient = reached.lane AND w.seq = reached.seq LIMIT 1) AS o
    WHERE r.id = :id AND coalesce(CAST(r.memory->'seqs'->>reached.lane AS bigint), 0) < reached.seq AND o.trace IS NOT NULL
    ORDER BY o.at = :last DESC, o.id DESC LIMIT 1),
    traced AS (SELECT coalesce((SELECT trace FROM cause), CAST(:trace AS uuid)) AS trace),
    moved AS (
    UPDATE runs SET step = :step, state = :state, visit = :visit, entered_at = :entered, last_at = :last,
      next_due_at = :due, paused = :paused, memory = CAST(:memory AS jsonb), outcome = :outcome,
      compared_seq = greatest(compared_seq, CAST(:compared AS bigint)),
      status = CASE WHEN CAST(:outcome AS text) IS NULL THEN 'open' ELSE 'closed' END,
      ended_at = CASE WHEN CAST(:outcome AS text) IS NULL THEN NULL ELSE CAST(:last AS timestamptz) END
    WHERE id = :id AND step < :step RETURNING id),
    written AS (
    INSERT INTO timeline (run, step, n, at, kind, about, text, trace)
    SELECT moved.id, :step, o - 1, at, kind, about, text, traced.trace
    FROM moved, traced, unnest(CAST(:ats AS timestamptz[]), CAST(:kinds AS text[]), CAST(:abouts AS text[]), CAST(:texts AS text[]))
      WITH ORDINALITY AS w(at, kind, about, text, o)
    ON CONFLICT DO NOTHING)
    SELECT replace(CAST(traced.trace AS text), '-', '') AS trace FROM moved, traced
    """
)
_STATE = sql(select(runs.c.step, runs.c.memory).where(runs.c.id == bindparam("id")))
_lines = unnest(
    "lines",
    number="n",
    ats=timeline.c.at,
    kinds=timeline.c.kind,
    abouts=timeline.c.about,
    texts=timeline.c.text,
)
_TIMELINE = sql(
    insert(timeline)
    .from_select(
        ["run", "step", "n", "at", "kind", "about", "text", "trace"],
        select(
            bindparam("run", type_=Text),
            bindparam("step", type_=Integer),
            bindparam("first", type_=Integer) + _lines.c.n - 1,
            _lines.c.at,
            _lines.c.kind,
            _lines.c.about,
            _lines.c.text,
            bindparam("trace", type_=Trace),
        ),
    )
    .on_conflict_do_nothing()
)
_DEAD_LETTER = sql(
    insert(dead_letters)
    .values(
        run=bindparam("run"),
        step=bindparam("step"),
        n=bindparam("n"),
        name=bindparam("name"),
        reason=bindparam("reason"),
        payload=bindparam("payload"),
    )
    .on_conflict_do_nothing()
)


@dataclass(frozen=True, slots=True)
class Run:
    """A run's row, as its step needs it. `lane` is the recipient whose rows it reads; merges change it."""

    id: str
    journey: str
    definition: str
    subject_key: str
    case_key: str
    lane: str
    entered_seq: int
    joined_seq: int
    compared_seq: int
    clock: str | None
    status: str
    step: int
    state: str | None
    visit: int | None
    subject_kind: str
    account_key: str | None


def listener_of(run: Run) -> RunSubscription:
    """The subscription of a run."""
    return RunSubscription(run.id, run.lane, run.entered_seq, run.case_key, run.subject_key, run.joined_seq)


async def read_run(connection: Connection, identity: str) -> Run:
    """One run. Raises LookupError if it was never admitted here."""
    row = await fetch_one(connection, _READ, id=identity)
    if row is None:
        raise LookupError(f"run {identity} is not in this database: it was not opened by an accepted event")
    return Run(**row)


async def advance_run(
    connection: Connection,
    identity: str,
    step: int,
    state: RunState,
    log: Sequence[LogLine] = (),
    *,
    compared: int | None = None,
) -> str | None:
    """Project a step, with its timeline if that is known already; None if it, or a later one, is projected already.

    Returns the step's trace: that of its cause. The step of a timer or of a command has its own: nothing accepted caused it,
    and its lane was `compared` up to this `seq`.
    """
    projected = await fetch_one(
        connection,
        _ADVANCE,
        id=identity,
        step=step,
        state=state.state,
        visit=state.visit,
        entered=state.entered_at,
        last=state.last_at,
        due=state.next_due(),
        paused=state.paused_at is not None,
        memory=as_json(state_to_json(state)),
        outcome=state.outcome,
        compared=compared,
        lanes=list(state.seqs) if compared is None else [],
        seqs=list(state.seqs.values()) if compared is None else [],
        trace=trace_of_step(identity, step),
        **_columns(log),
    )
    return str(projected["trace"]) if projected is not None else None


def _columns(log: Sequence[LogLine]) -> dict[str, list[Any]]:
    return {
        "ats": [line.at for line in log],
        "kinds": [line.kind for line in log],
        "abouts": [line.about for line in log],
        "texts": [line.text for line in log],
    }


async def committed_state(connection: Connection, identity: str) -> tuple[int, dict[str, Any]]:
    """The last step that was projected, and the run's state after it. Raises LookupError."""
    row = await fetch_one(connection, _STATE, id=identity)
    if row is None:
        raise LookupError(f"run {identity} is not in this database")
    return int(row["step"]), loaded(row["memory"])


async def write_timeline(
    connection: Connection, identity: str, step: int, first: int, log: Sequence[LogLine], trace: str | None = None
) -> None:
    """Write the timeline lines of a step."""
    if log:
        await execute(connection, _TIMELINE, run=identity, step=step, first=first, trace=trace, **_columns(log))


async def store_dead_letters(
    connection: Connection, identity: str, step: int, tombstones: Sequence[Mapping[str, Any]]
) -> None:
    """Store arrivals that no run could read, for a person to inspect."""
    for n, tombstone in enumerate(tombstones):
        payload = str(tombstone["payload"]).replace("\x00", "�")
        await execute(
            connection,
            _DEAD_LETTER,
            run=identity,
            step=step,
            n=n,
            name=tombstone["name"],
            reason=tombstone["reason"],
            payload=payload,
        )
