"""Store signals that bypass the API (`temporal workflow signal`), each for one run."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from temporalio.exceptions import ApplicationError

from activities.dependencies import Dependencies
from journeys.events.tracing import trace_of_event
from journeys.protocol import wire
from store.database import as_json
from store.events import log as event_log
from store.exports import feed
from store.outbox import queue as outbox
from store.outbox.undecided import undecided
from store.people import subjects
from store.runs import projection

UNSTORABLE = "tenure.Unstorable"


async def accept_plain_signal(deps: Dependencies, request: wire.PlainSignal) -> list[wire.Envelope]:
    """Give the signal its place in the run's lane; everything accepted since the run last decided, the signal included.

    Its event has the source `temporal`. Raises ApplicationError, not retryable, for data that Postgres cannot store: its run
    keeps a dead letter.
    """
    _refuse_unstorable(request.data)
    async with deps.database.transaction() as connection:
        row = await projection.read_run(connection, request.run)
        locked = await subjects.lock_subjects(connection, [row.lane])
        subject = locked[row.lane]
        clock = await deps.test_clock(connection, row.clock)
        at = max(deps.now(clock, request.now), subject.decided_at or datetime.min.replace(tzinfo=UTC))
        new = await event_log.insert_event(
            connection,
            source=wire.SOURCE_TEMPORAL,
            message_id=request.id,
            name=request.name,
            subject=row.lane,
            at=at,
            data=request.data,
        )
        if new:
            await feed.record_reaction(connection, [new] if feed.is_reaction(request.name, request.data) else [])
            seq = subject.next_seq()
            await subjects.save_subjects(connection, [subject])
            arrived = outbox.OutboxRow(
                row.lane, seq, "signal", request.name, request.id, at, request.data,
                target=row.id, delivered_at=datetime.now(UTC), trace=trace_of_event(new, wire.SOURCE_TEMPORAL, request.id),
            )  # fmt: skip
            await outbox.enqueue(connection, [arrived])
        chart = await deps.catalogue.chart(connection, row.definition)
        accepted = await undecided(connection, chart, projection.listener_of(row), row.lane, request.seqs)
        if new and all(envelope.id != request.id for envelope in accepted):  # a page before it was full
            await outbox.offer(connection, row.lane, subject.seq)
        return accepted


def _refuse_unstorable(data: Mapping[str, Any]) -> None:
    try:
        text = as_json(data)
    except TypeError as fault:  # an integer beyond 64 bits
        raise ApplicationError(f"cannot be stored: {fault}", type=UNSTORABLE, non_retryable=True) from None
    if "\\u0000" in text:
        raise ApplicationError("cannot be stored: it holds a NUL", type=UNSTORABLE, non_retryable=True)
