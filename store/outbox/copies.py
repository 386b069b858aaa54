"""Copies of an account's rows in its members' lanes (record 0015).

A person's lane has each row of their account that concerns an open run of theirs, once and in order, with the fields as they
were at its place. Whoever holds the person's lock and is to put something into the lane, or to compare it, copies first what
is pending: an event of the person (`store/events/admission.py`), a derived signal (`derived.py`), a timer's step
(`activities/steps/timers.py`), and the fan-out loop (`fan_out.py`) for everybody else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import bindparam, select

from store.database import Connection, fetch_all, fetch_one, sql
from store.expressions import trace_of, unnest
from store.outbox import queue
from store.outbox.rows import COLUMNS, ForMembers, OutboxRow, for_members_of, outbox_row, urgency_of
from store.people import subjects
from store.people.subjects import Subject
from store.rows import loaded
from store.runs.lanes import definitions_of_lanes
from store.schema import outbox
from store.schema import subjects as subjects_table

_behind = unnest("behind", accounts=outbox.c.recipient, copied=outbox.c.seq)
_PENDING = sql(
    select(*COLUMNS, outbox.c.for_members, trace_of(outbox.c.trace))
    .join_from(_behind, outbox, (outbox.c.recipient == _behind.c.recipient) & (outbox.c.seq > _behind.c.seq))
    .where(outbox.c.for_members.is_not(None))
    .order_by(outbox.c.recipient, outbox.c.seq)
    .limit(bindparam("most"))
)
_ACCOUNT = sql(
    select(subjects_table.c.members_seq, subjects_table.c.profile).where(subjects_table.c.key == bindparam("key"))
)


async def pending_rows(
    connection: Connection, behind: Mapping[str, int], most: int | None = None
) -> dict[str, list[OutboxRow]]:
    """By account, its rows for members after a `seq`, in order; no more than `most` in all."""
    rows = await fetch_all(connection, _PENDING, accounts=list(behind), copied=list(behind.values()), most=most)
    by_account: dict[str, list[OutboxRow]] = {account: [] for account in behind}
    for row in rows:
        by_account[row["recipient"]].append(
            replace(outbox_row(row), for_members=for_members_of(row["for_members"]), trace=row["trace"])
        )
    return by_account


def copies_for(person: Subject, rows: Iterable[OutboxRow], until: int, definitions: Collection[str]) -> list[OutboxRow]:
    """Copies of the account's rows that a locked person's lane lacks and an open run of these definitions reads.

    They have their place in the lane already. `rows` are all up to the seq `until` at least. Nothing more is copied for
    somebody without an open run.
    """
    if person.copied_seq is None:
        return []
    copies = []
    for row in rows:
        if row.seq > person.copied_seq and row.for_members is not None:
            person.copied_seq = row.seq
            if not row.for_members.definitions.isdisjoint(definitions):
                copies.append(_copy(person, row, row.for_members))
    person.copied_seq, person.dirty = max(person.copied_seq, until) if definitions else None, True
    return copies


def _copy(person: Subject, row: OutboxRow, what: ForMembers) -> OutboxRow:
    """The row in the person's lane: with their own fields as of now, and not before what their timers have decided."""
    profile = {name: value for name, value in person.profile.items() if name in what.profile}
    is_signal = what.kind == "signal"
    return OutboxRow(
        recipient=person.key,
        seq=person.next_seq(),
        kind="signal" if is_signal else "facts",
        name=row.name if is_signal else "",
        event_id=row.event_id,
        at=row.at if person.decided_at is None else max(row.at, person.decided_at),
        data=row.data if is_signal else {},
        facts={"profile": profile, "account": (row.facts or {}).get("account", {})},
        trace=row.trace,
        urgency=urgency_of(what.priority if is_signal else "lifecycle", is_copy=True),
        copy_of=row.id,
        occurred_at=row.occurred_at,
    )


async def catch_up(connection: Connection, person: Subject) -> Mapping[str, Any]:
    """Copy what a locked person's lane lacks; the fields of their account as of then, none where they have no account.

    The account is not locked: what it commits later comes later in the lane.
    """
    if person.account_key is None:
        return {}
    account = await fetch_one(connection, _ACCOUNT, key=person.account_key)
    assert account is not None, "an account is never deleted"
    fields: Mapping[str, Any] = loaded(account["profile"])
    if person.copied_seq is None or account["members_seq"] <= person.copied_seq:
        return fields
    rows = (await pending_rows(connection, {person.account_key: person.copied_seq}))[person.account_key]
    definitions = await definitions_of_lanes(connection, [person.key])
    copies = copies_for(person, rows, account["members_seq"], definitions[person.key])
    await subjects.save_places(connection, [person])
    await queue.enqueue(connection, copies)
    return (rows[-1].facts or {}).get("account", {}) if rows else fields
