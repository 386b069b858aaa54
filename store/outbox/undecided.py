"""What was accepted for a run and is not decided there yet: the store knows it before the run does.

A timer's step asks, so that lag never lets a timer win over an earlier event; entry asks, so that a run that has ended
by its accepted events and timers does not keep its person out only because nobody has told the projection yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

import orjson

from journeys.decision.chart import Chart
from journeys.decision.decide import decide
from journeys.decision.entry import PastRun
from journeys.decision.occurrences import TimerDue
from journeys.decision.state import RunState, state_from_json
from journeys.protocol.envelope import occurrence_of
from journeys.protocol.routing import LaneRow, RunSubscription, envelope_for
from journeys.protocol.wire import Envelope
from store.database import Connection, fetch_all, fetch_one, sql
from store.outbox.rows import OutboxRow, outbox_row
from store.people.subjects import Subject
from store.runs.projection import listener_in

MOST_BYTES = 512 * 1024
"""Of what is read for a run at once: an activity's result has a limit, and the run asks again."""

_AFTER = sql(
    """
    SELECT id, recipient, seq, kind, name, event_id, at, data, facts, target
    FROM outbox WHERE kind <> 'wake' AND recipient = :recipient AND seq > :seq AND seq > :entered AND (target IS NULL OR target = :target)
    ORDER BY seq LIMIT 500
    """
)
_MEMORY = sql("SELECT memory, id, lane, entered_seq, joined_seq, case_key, subject_key, epoch FROM runs WHERE id = :id")


async def rows_after(connection: Connection, recipient: str, seq: int, entered: int, target: str) -> list[OutboxRow]:
    """What was accepted for a run's recipient after `seq`, delivered or not; of much the first part, at least one."""
    rows: list[OutboxRow] = []
    left = MOST_BYTES
    for item in await fetch_all(connection, _AFTER, recipient=recipient, seq=seq, entered=entered, target=target):
        row = outbox_row(item)
        left -= row.size
        if rows and left < 0:
            break
        rows.append(row)
    return rows


async def undecided(
    connection: Connection, chart: Chart, listener: RunSubscription, lane: str, seqs: Mapping[str, int]
) -> list[Envelope]:
    """The run's view of a lane's rows after `seqs`, delivered or not, in order; before its own, of the one it began in."""
    found: list[Envelope] = []
    for each in listener.lanes if lane == listener.lane else (lane,):
        reached = seqs.get(each, 0)
        # A page of nothing but others' rows must not hide what comes after it.
        while page := await rows_after(connection, each, reached, listener.first(each) - 1, listener.run):
            envelopes = list(_envelopes(chart, listener, page))
            found += envelopes
            if envelopes:
                break
            reached = page[-1].seq
    return found


async def undelivered(connection: Connection, chart: Chart, run: str, seqs: Mapping[str, int]) -> list[Envelope]:
    """What was accepted for a run after `seqs`, in every lane that it has heard: told to its predecessor or not yet told."""
    found = await fetch_one(connection, _MEMORY, id=run)
    if found is None:
        return []
    listener = listener_in(found)
    lanes = sorted({listener.lane, *seqs})
    return [each for lane in lanes for each in await undecided(connection, chart, listener, lane, seqs)]


def _envelopes(chart: Chart, listener: RunSubscription, found: Iterable[OutboxRow]) -> Iterable[Envelope]:
    for item in found:
        envelope = envelope_for(chart, listener, recipients_of_row(item))
        if envelope is not None:
            yield envelope


def recipients_of_row(item: OutboxRow) -> LaneRow:
    """An outbox row as routing reads it."""
    return LaneRow(
        item.recipient, item.seq, item.kind, item.name, item.event_id, item.at, item.data, item.facts, item.target
    )


def fields_since(chart: Chart, state: RunState, subject: Subject, due: datetime) -> list[Envelope]:
    """Fields that changed so long ago that their row is forgotten: as they are now, told just before the timer."""
    scope = "account" if subject.kind == "account" else "profile"
    known = chart.known(scope, subject.profile)
    before = {name.split(".", 1)[1]: value for name, value in state.facts.items() if name.startswith(f"{scope}.")}
    if known == before:
        return []
    at = (due - timedelta.resolution).isoformat()
    return [Envelope(f"fields-{subject.seq}", subject.key, subject.seq, at, kind="facts", facts={scope: known})]


async def run_as_of(
    connection: Connection, chart: Chart, run: str, unsaved: Iterable[OutboxRow], at: datetime
) -> PastRun:
    """Whether a run is still open at an instant, by all that was accepted until then; `unsaved` is this commit's own."""
    found = await fetch_one(connection, _MEMORY, id=run)
    if found is None:
        return PastRun(1, open=True)
    memory = found["memory"]
    known = orjson.loads(memory) if isinstance(memory, str) else memory
    state = state_from_json(known) if known else RunState()
    listener = listener_in(found)
    waiting = await undecided(connection, chart, listener, listener.lane, state.seqs)
    waiting += _envelopes(chart, listener, [item for item in unsaved if item.recipient == listener.lane])
    for envelope in waiting:
        state = decide(chart, state, occurrence_of(envelope)).state
    state = decide(chart, state, TimerDue(at)).state
    return PastRun(found["epoch"], state.is_open, None if state.is_open else state.last_at)
