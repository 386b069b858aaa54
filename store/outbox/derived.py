"""Signals derived inside, each for one run, in its recipient's lane.

| what enters | kind | by | event id |
|---|---|---|---|
| the outcome of a message | `signal` | `store/messages/outcomes.py` | `<message>=<outcome>` |
| an opt-out that leaves a run no channel | `opted_out` | `store/consent/consents.py` | `consent:<log line>:<run>` |
| the deadline of a task | `deadline` | `store/tasks/assignment.py` | `<ask>=due <instant>` |
| a closed task | `signal` | `store/tasks/tasks.py` | `<ask>=closed` |
| a closed conversation | `signal` | `store/tasks/conversations.py` | `conversation/<id>` |
| a signal of plain Temporal tools | `signal` | `activities/steps/plain_signals.py` | the signal's id |
| a parked row that is replayed | its kind | `replay.py` | the row's |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from store.database import Connection
from store.outbox.copies import catch_up
from store.outbox.queue import enqueue
from store.outbox.rows import OutboxRow
from store.people import subjects
from store.people.subjects import Subject

DerivedKind = Literal["entered", "signal", "facts", "deadline", "opted_out", "merged"]


@dataclass(frozen=True, slots=True)
class DerivedSignal:
    """A signal to one run that Tenure derives itself. `lane` is the run's recipient, in whose order it comes.

    `reads` are the fields that the run's definition reads, by scope (`Chart.fields`): a signal is decided on them as they are
    now. A kind that no condition is asked about needs none.
    """

    lane: str
    run: str
    kind: DerivedKind
    name: str
    event_id: str
    at: datetime
    data: Mapping[str, Any] = field(default_factory=dict)
    reads: Mapping[str, frozenset[str]] = field(default_factory=dict)
    trace: str | None = None


async def enqueue_derived(connection: Connection, signal: DerivedSignal) -> int:
    """Lock the signal's lane and put it there; its seq."""
    locked = await subjects.lock_subjects(connection, [signal.lane])
    return await enqueue_in(connection, locked[signal.lane], signal)


async def enqueue_in(
    connection: Connection, lane: Subject, signal: DerivedSignal, *, delivered_at: datetime | None = None
) -> int:
    """Put a signal into a lane that is locked, behind all that was accepted before; its seq.

    With `delivered_at` its run has it already.
    """
    account = await catch_up(connection, lane)
    seq = lane.next_seq()
    await subjects.save_places(connection, [lane])
    row = OutboxRow(
        recipient=lane.key,
        seq=seq,
        kind=signal.kind,
        name=signal.name,
        event_id=signal.event_id,
        at=signal.at,
        data=signal.data,
        facts=_facts(signal, lane, account),
        target=signal.run,
        delivered_at=delivered_at,
        trace=signal.trace,
    )
    await enqueue(connection, [row])
    return seq


def _facts(signal: DerivedSignal, lane: Subject, account: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]] | None:
    """What the run reads, as of now; of a person without an account it keeps what it knows of one."""
    known = {"account": lane.profile} if lane.kind == "account" else {"profile": lane.profile}
    if lane.account_key is not None:
        known["account"] = dict(account)
    facts = {
        scope: {name: values[name] for name in signal.reads[scope] if name in values}
        for scope, values in known.items()
        if signal.reads.get(scope)
    }
    return facts or None
