"""Accepted signals that a run has not decided yet, without parked rows.

A timer's step reads them, so that lag never lets a timer win over an earlier event. Entry reads them, so that a run
that has ended by its accepted events and timers does not block a new one while the projection lags.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, not_, or_, select

from journeys.decision.chart import Chart
from journeys.decision.entry import PastRun, past_run_as_of
from journeys.decision.state import RunState, state_from_json
from journeys.protocol.envelope import NewerOccurrence, occurrence_of
from journeys.protocol.routing import LaneRow, RunSubscription, envelope_for
from journeys.protocol.wire import Envelope
from store.database import Connection, fetch_all, fetch_one, sql
from store.outbox.parked import is_parked
from store.outbox.rows import COLUMNS, OutboxRow, outbox_row
from store.people.subjects import Subject
from store.rows import loaded
from store.runs.lanes import listener_in
from store.schema import outbox, runs

MOST_BYTES = 512 * 1024
"""Bytes read for a run at once: an activity's result has a limit, and the run asks again."""

_AFTER = sql(
    select(*COLUMNS)
    .where(
        outbox.c.kind != "wake",
        outbox.c.recipient == bindparam("recipient"),
        outbox.c.seq > bindparam("seq"),
        outbox.c.seq > bindparam("entered"),
        or_(outbox.c.target.is_(None), outbox.c.target == bindparam("target")),
        not_(is_parked("target")),
    )
    .order_by(outbox.c.seq)
    .limit(500)
)
_KEPT = sql(select(outbox.c.id).where(outbox.c.recipient == bindparam("recipient"), outbox.c.seq == bindparam("seq")))
_MEMORY = sql(
    select(
        runs.c.memory,
        runs.c.id,
        runs.c.lane,
        runs.c.entered_seq,
        runs.c.joined_seq,
        runs.c.case_key,
        runs.c.subject_key,
        runs.c.epoch,
        runs.c.clock,
        runs.c.started_at,
    ).where(runs.c.id == bindparam("id"))
)


async def rows_after(connection: Connection, recipient: str, seq: int, entered: int, target: str) -> list[OutboxRow]:
    """Rows accepted for a run's recipient after `seq`, delivered or not: up to `MOST_BYTES`, at least one."""
    rows: list[OutboxRow] = []
    bytes_left = MOST_BYTES
    for stored in await fetch_all(connection, _AFTER, recipient=recipient, seq=seq, entered=entered, target=target):
        row = outbox_row(stored)
        bytes_left -= row.size
        if rows and bytes_left < 0:
            break
        rows.append(row)
    return rows


async def undecided(
    connection: Connection, chart: Chart, listener: RunSubscription, seqs: Mapping[str, int]
) -> list[Envelope]:
    """The run's view of its lane's rows after `seqs`, delivered or not, in order.

    Its own lane is preceded by the one that it began in. Fields of pruned rows come before the first kept one.
    """
    envelopes: list[Envelope] = []
    for lane in listener.lanes:
        reached = seqs.get(lane, 0)
        # A page with rows of other runs only must not hide the rows after it.
        while page := await rows_after(connection, lane, reached, listener.first(lane) - 1, listener.run):
            of_page = list(_envelopes(chart, listener, page))
            if of_page:
                if lane in seqs and await _is_pruned(connection, lane, seqs[lane] + 1):
                    envelopes += _fields_before(of_page[0])
                envelopes += of_page
                break
            reached = page[-1].seq
    return envelopes


async def undecided_of_run(connection: Connection, chart: Chart, run: str, seqs: Mapping[str, int]) -> list[Envelope]:
    """The envelopes for a run after `seqs`; its predecessor may have received them.

    On a test clock there are none: its driver alone knows which row of the group is next, and sends it until it is decided.
    """
    row = await fetch_one(connection, _MEMORY, id=run)
    if row is None or row["clock"] is not None:
        return []
    return await undecided(connection, chart, listener_in(row), seqs)


def _envelopes(chart: Chart, listener: RunSubscription, rows: Iterable[OutboxRow]) -> Iterable[Envelope]:
    for row in rows:
        try:
            envelope = envelope_for(chart, listener, lane_row_of(row))
        except NewerOccurrence:
            continue  # it is parked as it is delivered; a timer that waited for it would ask for ever
        if envelope is not None:
            yield envelope


def lane_row_of(row: OutboxRow) -> LaneRow:
    """An outbox row as routing reads it."""
    places = (row.recipient, row.seq, row.kind, row.name, row.event_id, row.at)
    return LaneRow(*places, row.data, row.facts, row.target, row.occurred_at)


async def _is_pruned(connection: Connection, lane: str, seq: int) -> bool:
    """Whether a row of a lane that has later rows is pruned. Rows are pruned in the order of their delivery."""
    return await fetch_one(connection, _KEPT, recipient=lane, seq=seq) is None


def _fields_before(first: Envelope) -> list[Envelope]:
    """Fields that changed in pruned rows, as the first kept row has them; nothing if that row changes some itself.

    They changed longer ago than rows are kept: before anything that waits, so `decide` takes the run's last instant.
    """
    if first.kind == "facts" or not first.facts:
        return []
    at = datetime.min.replace(tzinfo=UTC).isoformat()
    return [Envelope(f"fields-{first.seq}", first.lane, first.seq - 1, at, kind="facts", facts=first.facts)]


def fields_since(
    chart: Chart, state: RunState, subject: Subject, account: Mapping[str, Any], due: datetime
) -> list[Envelope]:
    """Fields that changed so long ago that their row is pruned: as they are now, just before the timer.

    `account` has the fields of a person's account.
    """
    now = {"account": subject.profile} if subject.kind == "account" else {"profile": subject.profile}
    if subject.account_key is not None:
        now["account"] = dict(account)
    facts = {scope: chart.known(scope, values) for scope, values in now.items()}
    changed = {scope: known for scope, known in facts.items() if known != _known_before(state, scope)}
    if not changed:
        return []
    at = (due - timedelta.resolution).isoformat()
    return [Envelope(f"fields-{subject.seq}", subject.key, subject.seq, at, kind="facts", facts=changed)]


def _known_before(state: RunState, scope: str) -> dict[str, Any]:
    return {name.split(".", 1)[1]: value for name, value in state.facts.items() if name.startswith(f"{scope}.")}


async def run_as_of(
    connection: Connection, chart: Chart, run: str, unsaved: Iterable[OutboxRow], at: datetime
) -> PastRun:
    """Whether a run is still open at an instant, by everything accepted until then and this commit's `unsaved` rows."""
    row = await fetch_one(connection, _MEMORY, id=run)
    if row is None:
        return PastRun(1, open=True)
    memory = loaded(row["memory"])
    state = state_from_json(memory) if memory else RunState()
    listener = listener_in(row)
    envelopes = await undecided(connection, chart, listener, state.seqs)
    envelopes += _envelopes(chart, listener, [new for new in unsaved if new.recipient == listener.lane])
    return past_run_as_of(chart, state, row["epoch"], map(occurrence_of, envelopes), at)
