"""The ledger of messages: what the gate reads of a person and what it writes, under that person's lock.

`deferred` waits for `due_at` (first attempts and retries alike), `sending` is an attempt in flight until `lease_until`,
the rest is settled. Nothing leaves before its row says `sending`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from journeys.decision.effects import SendMessage
from journeys.gate.verdicts import Reason
from store.database import Connection, as_json, execute, fetch_all, sql

_INSERT = sql(
    """
    INSERT INTO messages (key, run, step, subject_key, recipient, journey, state, visit, action, template, via, topic,
      priority, data, stands, at, expires_at, status, reasons, channel, due_at, attempts, lease_until, reference, address,
      body, summary, detail, decided_at, first_attempt_at, sent_at, settled_at, ready_at, merged_into, trace)
    VALUES (:key, :run, :step, :subject, :recipient, :journey, :state, :visit, :action, :template, CAST(:via AS jsonb),
      :topic, :priority, CAST(:data AS jsonb), :stands, :at, :expires, :status, CAST(:reasons AS jsonb), :channel, :due,
      :attempts, :lease, :reference, :address, :body, CAST(:summary AS jsonb), :detail, :decided, :first,
      :sent, :settled, :ready, :merged, :trace)
    ON CONFLICT (key) DO NOTHING
    """
)
_UPDATE = sql(
    """
    UPDATE messages SET status = :status, reasons = CAST(:reasons AS jsonb), channel = :channel, due_at = :due,
      attempts = :attempts, lease_until = :lease, reference = :reference, address = :address, body = :body,
      summary = CAST(:summary AS jsonb), detail = :detail, decided_at = :decided, first_attempt_at = :first, sent_at = :sent,
      settled_at = :settled, ready_at = :ready, merged_into = :merged, in_doubt = :doubt
    WHERE key = :key AND status = :was
    """
)
COLUMNS = """m.key, m.run, m.step, m.subject_key, m.recipient, m.journey, m.state, m.visit, m.action, m.template, m.via,
      m.topic, m.priority, m.data, m.stands, m.at, m.expires_at, m.status, m.channel, m.due_at, m.attempts, m.lease_until,
      m.reference, m.address, m.body, m.summary, m.decided_at, m.first_attempt_at, m.sent_at, m.ready_at, m.merged_into, m.in_doubt,
      replace(CAST(m.trace AS text), '-', '') AS trace"""
_OF_STEP = sql(
    f"SELECT {COLUMNS}, r.definition, true AS holds, r.state AS now_in FROM messages m JOIN runs r ON r.id = m.run "  # noqa: S608
    "WHERE m.run = :run AND m.step >= :step AND m.status = 'sending'"
)
_SETTLE = sql(
    """
    UPDATE messages SET status = :status, detail = :detail, due_at = :due, lease_until = :lease,
      attempts = CASE WHEN :counted THEN attempts ELSE attempts - 1 END,
      first_attempt_at = CASE WHEN :untried THEN NULL ELSE first_attempt_at END,
      sent_at = CASE WHEN :status = 'deferred' AND NOT in_doubt THEN NULL ELSE sent_at END,
      settled_at = CASE WHEN :status IN ('sent', 'failed', 'unknown') THEN CAST(:now AS timestamptz) END
    WHERE key = :key AND status = 'sending' AND attempts = :attempts
    """
)
# A digest of which these runs have a part goes again with all of them, or not at all: the gate says which when it is due.
_WITHDRAW = sql(
    """
    UPDATE messages SET status = CASE WHEN in_doubt THEN 'unknown' ELSE 'withdrawn' END, settled_at = :at, due_at = NULL,
      reasons = jsonb_build_array(jsonb_build_object('code', 'withdrawn', 'text', CAST(:reason AS text)))
    WHERE run = :run AND status = 'deferred' AND NOT stands AND key NOT LIKE 'digest/%'
      AND (CAST(:state AS text) IS NULL OR (state = :state AND visit = :visit))
    RETURNING key, recipient, action
    """
)
_REPLACE = sql(
    f"""
    WITH m AS (
      UPDATE messages SET status = CASE WHEN in_doubt THEN 'unknown' ELSE 'replaced' END, settled_at = :at, due_at = NULL,
        reasons = reasons || jsonb_build_array(jsonb_build_object('code', 'replaced', 'text', CAST(:why AS text)))
      WHERE key = ANY(CAST(:keys AS text[])) AND status = 'deferred' RETURNING *)
    SELECT {COLUMNS}, r.definition, false AS holds, r.state AS now_in FROM m JOIN runs r ON r.id = m.run ORDER BY m.id
    """  # noqa: S608 -- the columns are ours
)
_UNSETTLED = sql(
    """
    SELECT DISTINCT recipient FROM messages m WHERE run = :run AND NOT stands AND (status IN ('deferred', 'sending')
      OR (status = 'merged' AND EXISTS (SELECT 1 FROM messages w WHERE w.key = m.merged_into
                                        AND w.status IN ('deferred', 'sending'))))
    """
)


@dataclass(slots=True)
class LedgerEntry:
    """A ledger row. `body` are the rendered bytes that every attempt sends; by `first_attempt_at` retries end.

    `untried`: nothing had left before the attempt in hand. `in_doubt`: an attempt may have arrived that nobody saw end,
    so it never reads as if it had not been sent, and counts as sent. `was` is the status of the row that it was read from.
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
    status: str
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
    is_new: bool = False
    untried: bool = False
    in_doubt: bool = False
    was: str = ""


def _values(entry: LedgerEntry) -> dict[str, Any]:
    return {
        "key": entry.key,
        "status": entry.status,
        "reasons": as_json([_reason(reason) for reason in entry.reasons]),
        "channel": entry.channel,
        "due": entry.due_at,
        "attempts": entry.attempts,
        "lease": entry.lease_until,
        "reference": entry.reference,
        "address": entry.address,
        "body": entry.body,
        "summary": as_json(entry.summary) if entry.summary is not None else None,
        "detail": entry.detail,
        "decided": entry.decided_at,
        "first": entry.first_attempt_at,
        "sent": entry.sent_at,
        "settled": entry.settled_at,
        "ready": entry.ready_at,
        "merged": entry.merged_into,
        "doubt": entry.in_doubt,
    }


def _reason(reason: Reason) -> dict[str, str]:
    return {"code": reason.code, "text": reason.text} | ({"rule": reason.rule} if reason.rule else {})


def status_after(entry: LedgerEntry, word: str) -> str:
    """How a message ends that may not go out, or not again: one in doubt is `unknown`, whatever the reason is called."""
    return "unknown" if entry.in_doubt else word


async def write_message(connection: Connection, entry: LedgerEntry) -> bool:
    """Insert a new row, or update one that was read for its next attempt; False if the key was there already.

    False too if the row is not what it was when it was read: what was withdrawn or settled meanwhile stays so.
    """
    if not entry.is_new:
        stood = await execute(connection, _UPDATE, **_values(entry), was=entry.was) == 1
        entry.was = entry.status if stood else entry.was
        return stood
    written = await execute(
        connection,
        _INSERT,
        **_values(entry),
        run=entry.run,
        step=entry.step,
        subject=entry.subject_key,
        recipient=entry.recipient,
        journey=entry.journey,
        state=entry.state,
        visit=entry.visit,
        action=entry.action,
        template=entry.template,
        via=as_json(entry.via),
        topic=entry.topic,
        priority=entry.priority,
        data=as_json(entry.data),
        stands=entry.stands,
        at=entry.at,
        expires=entry.expires_at,
        trace=entry.trace,
    )
    return written == 1


def entry_from_row(item: Mapping[str, Any]) -> LedgerEntry:
    """A row of `COLUMNS`, with its run's `definition`, `holds` and `now_in`."""
    values = dict(item)
    for name in ("via", "data", "summary"):
        values[name] = orjson.loads(values[name]) if isinstance(values[name], str) else values[name]
    return LedgerEntry(**values | {"via": tuple(values["via"]), "was": values["status"]})


async def attempts_of_step(connection: Connection, run_id: str, step: int) -> list[LedgerEntry]:
    """Attempts of a step, or a later one, that were begun and never settled: somebody died in between."""
    return [entry_from_row(item) for item in await fetch_all(connection, _OF_STEP, run=run_id, step=step)]


async def settle_attempt(
    connection: Connection,
    entry: LedgerEntry,
    status: str,
    detail: str,
    now: datetime,
    *,
    due_at: datetime | None = None,
    lease_until: datetime | None = None,
    counted: bool = True,
    untried: bool = False,
) -> bool:
    """The end of one attempt; False if somebody else settled it, or began another.

    One that is not `counted` was none. While it is `untried`, the time within which it is given up has not begun.
    """
    return (
        await execute(
            connection,
            _SETTLE,
            key=entry.key,
            attempts=entry.attempts,
            status=status,
            detail=detail,
            due=due_at,
            lease=lease_until,
            now=now,
            counted=counted,
            untried=untried,
        )
        == 1
    )


async def withdraw_queued(
    connection: Connection, run_id: str, reason: str, at: datetime, state: str | None = None, visit: int | None = None
) -> list[Mapping[str, Any]]:
    """Take back what is queued: of one visit, or of the whole run. What is in flight cannot be taken back."""
    return await fetch_all(connection, _WITHDRAW, run=run_id, reason=reason, at=at, state=state, visit=visit)


async def replace_queued(connection: Connection, keys: Sequence[str], why: str, at: datetime) -> list[LedgerEntry]:
    """End messages that wait, because one that matters more has their place; those that were ended."""
    gone = [entry_from_row(item) for item in await fetch_all(connection, _REPLACE, keys=list(keys), why=why, at=at)]
    for entry in gone:
        entry.reasons = (Reason("replaced", why),)
    return gone


async def unsettled_recipients(connection: Connection, run_id: str) -> set[str]:
    """Whose messages of a run may still be withdrawn, or are about to be decided again: locked before they are taken back."""
    return {item["recipient"] for item in await fetch_all(connection, _UNSETTLED, run=run_id)}


def new_entry(
    effect: SendMessage, *, key: str, run_row: Any, step: int, recipient: str, now: datetime, trace: str | None = None
) -> LedgerEntry:
    """A message that has not been weighed yet."""
    return LedgerEntry(
        key=key,
        run=run_row.id,
        step=step,
        subject_key=run_row.subject_key,
        recipient=recipient,
        journey=run_row.journey,
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
        status="deferred",
        decided_at=now,
        definition=run_row.definition,
        trace=trace,
        is_new=True,
    )
