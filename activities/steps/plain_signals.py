"""Store signals that bypass the API (`temporal workflow signal`), each for one run."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from temporalio.exceptions import ApplicationError

from activities.dependencies import Dependencies
from journeys.events.inbound import InboundEvent
from journeys.language.signal_names import PLATFORM_SIGNALS
from journeys.protocol import wire
from store.database import as_json
from store.events import log as event_log
from store.outbox import queue as outbox
from store.outbox.derived import DerivedSignal, enqueue_in
from store.outbox.undecided import undecided
from store.people import subjects
from store.people.test_clocks import now_for
from store.process_clock import current_instant
from store.runs import projection

UNSTORABLE = "tenure.Unstorable"


async def accept_plain_signal(deps: Dependencies, request: wire.PlainSignal) -> list[wire.Envelope]:
    """Put the signal into the run's lane; everything accepted since the run last decided, this signal included.

    Its event has the source `temporal`. Raises ApplicationError, not retryable, for a signal of the platform and for data
    that PostgreSQL cannot store; its run then stores a dead letter.
    """
    _refuse_platform_signal(request.name)
    _refuse_unstorable(request.data)
    async with deps.database.transaction() as connection:
        run = await projection.read_run(connection, request.run)
        locked = await subjects.lock_subjects(connection, [run.lane])
        lane, received_at = locked[run.lane], current_instant()
        at = max(await now_for(connection, run.clock), lane.decided_at or datetime.min.replace(tzinfo=UTC))
        event = InboundEvent("track", request.id, request.name, subject_key=run.lane, data=request.data)
        chart = await deps.catalogue.chart(connection, run.definition)
        stored = await event_log.store_one(connection, event, at, source=wire.SOURCE_TEMPORAL, received_at=received_at)
        if stored is not None:
            signal = DerivedSignal(
                run.lane, run.id, "signal", request.name, request.id, at, request.data, chart.fields, stored.trace
            )
            # The driver of a test clock delivers it once more, and so learns when it is decided.
            delivered_at = received_at if run.clock is None else None
            await enqueue_in(connection, lane, signal, delivered_at=delivered_at)
        accepted = await undecided(connection, chart, projection.listener_of(run), request.seqs)
        if stored is not None and all(envelope.id != request.id for envelope in accepted):
            await outbox.offer(
                connection, run.lane, lane.seq
            )  # too many rows before it for one answer: the relay delivers it
        return accepted


def _refuse_platform_signal(name: str) -> None:
    if name in PLATFORM_SIGNALS:
        what = f"{name} is a signal of the platform itself: nobody outside may send it"
        raise ApplicationError(what, type=UNSTORABLE, non_retryable=True)


def _refuse_unstorable(data: Mapping[str, Any]) -> None:
    try:
        text = as_json(data)
    except TypeError as fault:  # an integer beyond 64 bits
        raise ApplicationError(f"cannot be stored: {fault}", type=UNSTORABLE, non_retryable=True) from None
    if "\\u0000" in text:
        raise ApplicationError("cannot be stored: it holds a NUL", type=UNSTORABLE, non_retryable=True)
