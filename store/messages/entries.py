"""Ledger entries: messages as the gate and deliveries read and decide them.

The gate fills in what it decides and `ledger.py` writes it; `was` is the status that the row had when it was read.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import ColumnElement, bindparam, select

from journeys.decision.effects import SendMessage
from journeys.gate.queue import NEW
from journeys.gate.requests import MessageVisit, RunVisit, still_holds
from journeys.gate.status import Status
from journeys.gate.verdicts import Reason
from store.database import Connection, fetch_all, sql
from store.expressions import trace_of
from store.runs.projection import Run
from store.schema import messages, runs

ENTRY = select(
    messages.c.id.label("number"),
    messages.c.key,
    messages.c.run,
    messages.c.step,
    messages.c.subject_key,
    messages.c.recipient,
    messages.c.journey,
    messages.c.state,
    messages.c.visit,
    messages.c.action,
    messages.c.template,
    messages.c.via,
    messages.c.topic,
    messages.c.priority,
    messages.c.data,
    messages.c.stands,
    messages.c.at,
    messages.c.expires_at,
    messages.c.status,
    messages.c.channel,
    messages.c.due_at,
    messages.c.attempts,
    messages.c.lease_until,
    messages.c.reference,
    messages.c.address,
    messages.c.address_hash,
    messages.c.body,
    messages.c.summary,
    messages.c.decided_at,
    messages.c.first_attempt_at,
    messages.c.sent_at,
    messages.c.ready_at,
    messages.c.merged_into,
    messages.c.clock,
    messages.c.in_doubt,
    trace_of(messages.c.trace),
    runs.c.definition,
    (runs.c.status == "open").label("run_open"),
    runs.c.state.label("run_state"),
    runs.c.visit.label("run_visit"),
).join_from(messages, runs, runs.c.id == messages.c.run)
"""Ledger rows, with the state of their runs."""


def status_in(statuses: Collection[Status], status: ColumnElement[str] = messages.c.status) -> ColumnElement[bool]:
    """Whether a message has one of these statuses."""
    return status.in_([candidate for candidate in Status if candidate in statuses])


_OF_STEP = sql(
    select(messages.c.recipient)
    .distinct()
    .where(
        messages.c.run == bindparam("run"),
        messages.c.step >= bindparam("step"),
        messages.c.status == Status.SENDING,
    )
    .order_by(messages.c.recipient)
)


@dataclass(slots=True)
class LedgerEntry:
    """A ledger row. Every attempt sends the bytes of `body`; the time for retries begins at `first_attempt_at`.

    `in_doubt`: an attempt without a known result may have arrived, so the message never ends as if it had not been
    sent, and counts as sent. `number` is the id of its row. `holds`: its run is still in the visit that asked for it; `now_in` is the run's state.
    """

    key: str
    run: str
    step: int
    subject_key: str
    recipient: str
    journey: str
    state: str
    visit: int
    action: str
    template: str
    via: tuple[str, ...]
    topic: str | None
    priority: str
    data: Mapping[str, Any]
    stands: bool
    at: datetime
    expires_at: datetime | None
    status: Status
    decided_at: datetime
    definition: str
    holds: bool = True
    now_in: str | None = None
    channel: str | None = None
    due_at: datetime | None = None
    attempts: int = 0
    lease_until: datetime | None = None
    reference: str | None = None
    address: str | None = None
    address_hash: str | None = None
    body: bytes | None = None
    first_attempt_at: datetime | None = None
    sent_at: datetime | None = None
    summary: Mapping[str, Any] | None = None
    detail: str | None = None
    settled_at: datetime | None = None
    ready_at: datetime | None = None
    merged_into: str | None = None
    trace: str | None = None
    reasons: tuple[Reason, ...] = ()
    in_doubt: bool = False
    clock: str | None = None
    was: Status | None = None
    number: int = NEW

    @property
    def is_new(self) -> bool:
        """Whether the ledger has no row for it yet."""
        return self.was is None


def new_entry(
    effect: SendMessage, *, key: str, run: Run, step: int, recipient: str, now: datetime, trace: str | None = None
) -> LedgerEntry:
    """A message that the gate has not decided yet."""
    return LedgerEntry(
        key=key,
        run=run.id,
        step=step,
        subject_key=run.subject_key,
        recipient=recipient,
        journey=run.journey,
        state=effect.state,
        visit=effect.visit,
        action=effect.action,
        template=effect.template,
        via=effect.via,
        topic=effect.topic,
        priority=effect.priority,
        data=effect.data,
        stands=effect.stands,
        at=effect.at,
        expires_at=effect.expires_at,
        status=Status.DEFERRED,
        decided_at=now,
        definition=run.definition,
        trace=trace,
        clock=run.clock,
    )


def entry_from_row(row: Mapping[str, Any], parts: Sequence[Sequence[Any]] | None = None) -> LedgerEntry:
    """An entry from a row of `ENTRY`. `parts` of a digest: state, visit and `stands` of each part, and its run's visit.

    A digest holds while one of its parts does.
    """
    values = dict(row)
    run = RunVisit(values.pop("run_open"), values.pop("run_state"), values.pop("run_visit"))
    for name in ("via", "data", "summary"):
        values[name] = orjson.loads(values[name]) if isinstance(values[name], str) else values[name]
    status = Status(values.pop("status"))
    entry = LedgerEntry(**values | {"via": tuple(values["via"])}, status=status, was=status, now_in=run.state)
    if parts is None:
        entry.holds = still_holds(entry, run)
    else:
        entry.holds = any(still_holds(MessageVisit(*part[:3]), RunVisit(*part[3:])) for part in parts)
    return entry


async def recipients_in_flight(connection: Connection, run_id: str, step: int) -> list[str]:
    """The recipients of unsettled attempts of a step, or of a later one."""
    return [row["recipient"] for row in await fetch_all(connection, _OF_STEP, run=run_id, step=step)]
