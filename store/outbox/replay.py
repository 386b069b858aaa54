"""Replay of a parked row.

It gets the next place in its run's lane, and the timeline says that it comes late (record 0019).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from sqlalchemy import Integer, Text, bindparam, func, literal, select
from sqlalchemy.dialects.postgresql import insert

from journeys.protocol.routing import envelope_for
from store.database import Connection, Database, execute, sql
from store.definitions.registry import DefinitionRegistry
from store.outbox import parked, queue
from store.outbox.derived import DerivedKind, DerivedSignal, enqueue_in
from store.people import subjects
from store.people.test_clocks import now_for
from store.retry import retry_transaction
from store.runs import projection
from store.runs.projection import Run
from store.schema import timeline

_run, _step = bindparam("run", type_=Text), bindparam("step", type_=Integer)
_NOTE_LATE = sql(
    insert(timeline).from_select(
        ["run", "step", "n", "at", "kind", "about", "text"],
        select(
            _run,
            _step,
            func.coalesce(func.max(timeline.c.n), 0) + 1,
            bindparam("at", type_=timeline.c.at.type),
            literal("late"),
            bindparam("about", type_=Text),
            bindparam("text", type_=Text),
        ).where(timeline.c.run == _run, timeline.c.step == _step),
    )
)


class NotReplayable(Exception):
    """A parked row that cannot be replayed now, with the reason. The operator's turn."""


async def replay_parked(database: Database, catalogue: DefinitionRegistry, identity: int, by: str) -> bool:
    """Replay a held row; False if it is not held. Raises NotReplayable.

    Its fields are those of now, and its instant is not before what the subject's timers have decided (record 0001). A row
    that no longer concerns its run is settled without a new place.
    """

    async def replay(connection: Connection) -> bool:
        row = await parked.held_row(connection, identity)
        if row is None:
            return False
        if not row["run"]:
            await queue.wake_outreach(connection, row["recipient"])
            return await parked.settle_parked(connection, identity, "replayed", by)
        seq = await _enqueue_again(connection, catalogue, row, by)
        return await parked.settle_parked(connection, identity, "replayed", by, seq)

    return await retry_transaction(database, replay)


async def _enqueue_again(
    connection: Connection, catalogue: DefinitionRegistry, row: Mapping[str, Any], by: str
) -> int | None:
    run = await projection.read_run(connection, row["run"])
    if run.status != "open":
        raise NotReplayable(f"run {run.id} has ended")
    if not row["opens"] and await parked.unopened_runs(connection, [run.id]):
        raise NotReplayable(f"the row that opens run {run.id} is parked too: replay it first")
    lane = (await subjects.lock_subjects(connection, [run.lane]))[run.lane]
    try:
        chart = await catalogue.chart(connection, run.definition)
    except (LookupError, ValueError) as fault:
        raise NotReplayable(f"this version cannot read the definition of run {run.id}: {fault}") from fault
    try:
        envelope = envelope_for(chart, projection.listener_of(run), parked.lane_row_in(row))
    except Exception as error:  # pure code: the same row fails again, whatever the error
        raise NotReplayable(f"no signal can be made of it: {type(error).__name__}: {error}") from error
    if envelope is None:
        return None
    kind = cast("DerivedKind", envelope.kind)
    at = row["at"] if lane.decided_at is None else max(row["at"], lane.decided_at)
    signal = DerivedSignal(
        run.lane,
        run.id,
        kind,
        envelope.name,
        row["event_id"],
        at,
        parked.lane_row_in(row).data,
        chart.fields,
        row["trace"],
    )
    seq = await enqueue_in(connection, lane, signal)
    await _note_late(connection, run, row, by)
    return seq


async def _note_late(connection: Connection, run: Run, row: Mapping[str, Any], by: str) -> None:
    what = row["name"] or row["kind"]
    text = (
        f"{what} of {row['at']:%Y-%m-%d %H:%M} UTC comes late: it was parked ({row['reason']}), and is replayed by {by}"
    )
    await execute(
        connection,
        _NOTE_LATE,
        run=run.id,
        step=run.step,
        at=await now_for(connection, run.clock),
        about=what,
        text=text,
    )
