"""Runs as Postgres knows them: the projection of every step and its timeline; upserts, once per run and step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from journeys.decision.effects import ChangedAudience, LogLine
from journeys.decision.state import RunState, state_to_json
from journeys.events.tracing import trace_of_step
from journeys.protocol.routing import RunSubscription
from store.database import Connection, as_json, execute, fetch_all, fetch_one, sql

_READ = sql(
    """
    SELECT r.id, r.journey, r.definition, r.subject_key, r.case_key, r.epoch, r.lane, r.entered_seq, r.joined_seq,
           r.clock, r.status,
           r.step, r.state, r.visit, s.kind AS subject_kind, s.account_key
    FROM runs r JOIN subjects s ON s.key = r.lane WHERE r.id = :id
    """
)
# What a step was decided on is the last row of a lane that it has and the step before had not; of two lanes' the one whose
# instant is the run's. Read here, because it is known here without being asked for.
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
      status = CASE WHEN CAST(:outcome AS text) IS NULL THEN 'open' ELSE 'closed' END,
      ended_at = CASE WHEN CAST(:outcome AS text) IS NULL THEN NULL ELSE CAST(:last AS timestamptz) END
    WHERE id = :id AND step < :step RETURNING id),
    told AS (
    INSERT INTO timeline (run, step, n, at, kind, about, text, trace)
    SELECT moved.id, :step, o - 1, at, kind, about, text, traced.trace
    FROM moved, traced, unnest(CAST(:ats AS timestamptz[]), CAST(:kinds AS text[]), CAST(:abouts AS text[]), CAST(:texts AS text[]))
      WITH ORDINALITY AS w(at, kind, about, text, o)
    ON CONFLICT DO NOTHING)
    SELECT replace(CAST(traced.trace AS text), '-', '') AS trace FROM moved, traced
    """
)
_REMEMBERED = sql("SELECT step, memory FROM runs WHERE id = :id")
_TIMELINE = sql(
    """
    INSERT INTO timeline (run, step, n, at, kind, about, text, trace)
    SELECT :run, :step, CAST(:first AS int) + o - 1, at, kind, about, text, CAST(:trace AS uuid)
    FROM unnest(CAST(:ats AS timestamptz[]), CAST(:kinds AS text[]), CAST(:abouts AS text[]), CAST(:texts AS text[]))
      WITH ORDINALITY AS w(at, kind, about, text, o)
    ON CONFLICT DO NOTHING
    """
)
_BURY = sql(
    """
    INSERT INTO dead_letters (run, step, n, name, reason, payload)
    VALUES (:run, :step, :n, :name, :reason, :payload) ON CONFLICT DO NOTHING
    """
)
_DECIDED = sql(
    """
    UPDATE subjects SET decided_at = greatest(decided_at, :at)
    WHERE key = ANY(CAST(:keys AS text[])) AND (decided_at IS NULL OR decided_at < :at)
    """
)
_AUDIENCE = sql(
    """
    INSERT INTO audiences (audience, subject_key, changed_at, member, journey)
    VALUES (:audience, :subject, :at, :member, :journey) ON CONFLICT (audience, subject_key)
    DO UPDATE SET member = excluded.member, changed_at = excluded.changed_at, journey = excluded.journey
    """
)
_LISTENERS = sql(
    """
    SELECT id, definition, lane, entered_seq, joined_seq, case_key, clock, subject_key, started_at,
           step > 0 AS resumes, lane AS hears FROM runs
    WHERE status = 'open' AND lane = ANY(CAST(:lanes AS text[]))
    UNION ALL
    SELECT id, definition, lane, entered_seq, joined_seq, case_key, clock, subject_key, started_at,
           step > 0, subject_key FROM runs
    WHERE status = 'open' AND lane <> subject_key AND subject_key = ANY(CAST(:lanes AS text[]))
    """
)
_MEMBERS = sql(
    """
    SELECT r.id, r.definition, r.lane, r.entered_seq, r.joined_seq, r.case_key, r.clock, r.subject_key,
           r.started_at, r.step > 0 AS resumes, s.account_key
    FROM subjects s JOIN runs r ON r.lane = s.key AND r.status = 'open'
    WHERE s.account_key = ANY(CAST(:accounts AS text[]))
    """
)


@dataclass(frozen=True, slots=True)
class Run:
    """A run's row, as its step needs it. `lane` is the recipient whose events it reads; merges move it."""

    id: str
    journey: str
    definition: str
    subject_key: str
    case_key: str
    lane: str
    entered_seq: int
    joined_seq: int
    clock: str | None
    status: str
    step: int
    state: str | None
    visit: int | None
    subject_kind: str
    account_key: str | None


def listener_of(found: Run) -> RunSubscription:
    """The run as routing sees it."""
    return RunSubscription(found.id, found.lane, found.entered_seq, found.case_key, found.subject_key, found.joined_seq)


def listener_in(item: Mapping[str, Any]) -> RunSubscription:
    """One of `listeners` as routing sees it."""
    names = ("id", "lane", "entered_seq", "case_key", "subject_key", "joined_seq")
    return RunSubscription(*(item[name] for name in names))


async def read_run(connection: Connection, identity: str) -> Run:
    """One run. Raises LookupError when it was never admitted here."""
    found = await fetch_one(connection, _READ, id=identity)
    if found is None:
        raise LookupError(f"run {identity} is not in this database: it was not opened by an accepted event")
    return Run(**{name: found[name] for name in Run.__slots__})


async def advance_run(
    connection: Connection,
    identity: str,
    step: int,
    state: RunState,
    log: Sequence[LogLine] = (),
    *,
    caused: bool = True,
) -> str | None:
    """Project a step, with its explanation where that is known already; None if it, or a later one, is there already.

    Answers with the step's trace: that of what it was decided on, or its own where nothing accepted `caused` it.
    """
    moved = await fetch_one(
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
        lanes=list(state.seqs) if caused else [],
        seqs=list(state.seqs.values()) if caused else [],
        trace=trace_of_step(identity, step),
        **_columns(log),
    )
    return str(moved["trace"]) if moved is not None else None


def _columns(log: Sequence[LogLine]) -> dict[str, list[Any]]:
    return {
        "ats": [line.at for line in log],
        "kinds": [line.kind for line in log],
        "abouts": [line.about for line in log],
        "texts": [line.text for line in log],
    }


async def committed_state(connection: Connection, identity: str) -> tuple[int, dict[str, Any]]:
    """The last step that was projected, and the run's state after it."""
    found = await fetch_one(connection, _REMEMBERED, id=identity)
    if found is None:
        raise LookupError(f"run {identity} is not in this database")
    memory = found["memory"]
    return int(found["step"]), orjson.loads(memory) if isinstance(memory, str) else dict(memory)


async def write_timeline(
    connection: Connection, identity: str, step: int, first: int, log: Sequence[LogLine], trace: str | None = None
) -> None:
    """The explanation of a step, line by line."""
    if log:
        await execute(connection, _TIMELINE, run=identity, step=step, first=first, trace=trace, **_columns(log))


async def store_dead_letters(
    connection: Connection, identity: str, step: int, tombstones: Sequence[Mapping[str, Any]]
) -> None:
    """Arrivals that no run could read, for a person to see."""
    for n, stone in enumerate(tombstones):
        payload = str(stone["payload"]).replace("\x00", "�")
        await execute(
            connection, _BURY, run=identity, step=step, n=n, name=stone["name"], reason=stone["reason"], payload=payload
        )


async def decided_until(connection: Connection, lanes: Sequence[str], at: datetime) -> None:
    """The subjects' timers are decided up to here: what is accepted later cannot have happened before."""
    await execute(connection, _DECIDED, keys=list(lanes), at=at)


async def change_audience(connection: Connection, run_row: Run, effect: ChangedAudience) -> None:
    """Membership as of now, and by which journey."""
    await execute(
        connection,
        _AUDIENCE,
        audience=effect.audience,
        subject=run_row.lane,
        at=effect.at,
        member=effect.change == "add",
        journey=run_row.journey,
    )


async def listeners(connection: Connection, recipients: Sequence[str]) -> dict[str, list[Mapping[str, Any]]]:
    """By recipient, the open runs its lane reaches: its own, those that began in it, an account's members'."""
    found: dict[str, list[Mapping[str, Any]]] = {recipient: [] for recipient in recipients}
    for item in await fetch_all(connection, _LISTENERS, lanes=list(recipients)):
        found[item["hears"]].append(item)
    accounts = [recipient for recipient in recipients if recipient.startswith("a_")]
    for item in await fetch_all(connection, _MEMBERS, accounts=accounts) if accounts else []:
        found[item["account_key"]].append(item)
    return found
