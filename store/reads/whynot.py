"""Reads for why-not: accounts, runs, last events, last decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Text, bindparam, func, literal, or_, select, union_all
from sqlalchemy.dialects.postgresql import distinct_on

from journeys.decision.state import state_from_json
from journeys.events.history import is_historical
from journeys.gate.status import MEANINGS, Status
from journeys.tokens.address_hash import AddressHash
from journeys.whynot.person_view import LastDecision, LastEvent, PastRunView
from store.database import Connection, fetch_all, sql
from store.expressions import any_of
from store.rows import loaded
from store.schema import (
    consents,
    conversations,
    events,
    feed,
    holds,
    members,
    messages,
    runs,
    stops,
    subjects,
    suppressions,
    tickets,
)

_RUNS = sql(
    select(
        runs.c.id,
        runs.c.definition,
        runs.c.epoch,
        runs.c.case_key,
        runs.c.state,
        func.coalesce(runs.c.entered_at, runs.c.started_at).label("entered_at"),
        runs.c.status,
        runs.c.outcome,
        runs.c.ended_at,
        runs.c.memory,
    )
    .where(any_of(runs.c.lane, "keys"), runs.c.journey == bindparam("journey"))
    .order_by((runs.c.status == "open").desc(), runs.c.started_at.desc(), runs.c.epoch.desc())
    .limit(20)
)
_OPEN = sql(
    select(runs.c.definition, runs.c.lane)
    .where(any_of(runs.c.lane, "lanes"), runs.c.status == "open")
    .order_by(runs.c.started_at)
)
_ACCOUNTS = sql(
    select(members.c.account_key.label("key"))
    .join_from(members, subjects, subjects.c.key == members.c.person_key)
    .where(members.c.person_key == bindparam("person"))
    .order_by((members.c.account_key == subjects.c.account_key).desc().nulls_last(), members.c.since.desc())
    .limit(20)
)
_LAST_EVENTS = sql(
    select(events.c.name, events.c.at, events.c.data, events.c.occurred_at, events.c.context)
    .ext(distinct_on(events.c.name))
    .where(any_of(events.c.subject_key, "keys"), any_of(events.c.name, "names"))
    .order_by(events.c.name, events.c.id.desc())
)
_settled = feed.alias("settled")
_last_settled = (
    select(func.coalesce(func.max(_settled.c.id), 0))
    .where(_settled.c.message == messages.c.id, _settled.c.status != "deferred")
    .correlate(messages)
    .scalar_subquery()
)
_waits_from = (
    select(func.min(feed.c.at)).where(feed.c.message == messages.c.id, feed.c.id > _last_settled).scalar_subquery()
)
_DECIDED = sql(
    select(
        messages.c.run,
        messages.c.action,
        messages.c.status,
        messages.c.reasons,
        messages.c.detail,
        messages.c.due_at,
        messages.c.at,
        messages.c.decided_at,
        _waits_from.label("waits_from"),
    )
    .where(any_of(messages.c.recipient, "keys"), messages.c.template == bindparam("template"))
    .order_by(messages.c.id.desc())
    .limit(20)
)
_person, _account = bindparam("person", type_=Text), bindparam("account", type_=Text)
_accounts = select(members.c.account_key).where(members.c.person_key == _person)


def _concerns(subject: ColumnElement[str]) -> ColumnElement[bool]:
    """The person, the account a message is about, and every account they are in."""
    return or_(subject == _person, subject == _account, subject.in_(_accounts))


_SINCE = sql(
    union_all(
        select(
            literal("consent").label("what"), consents.c.channel.label("a"), consents.c.topic.label("b"), consents.c.at
        ).where(consents.c.subject_key == _person, consents.c.in_force),
        select(literal("stop"), stops.c.scope, stops.c.name, stops.c.at).where(stops.c.released_at.is_(None)),
        select(literal("held"), literal(""), literal(""), func.min(holds.c.since))
        .where(holds.c.released_at.is_(None), _concerns(holds.c.subject_key))
        .having(func.count() > 0),
        select(literal("ticket"), tickets.c.ticket_id, literal(""), tickets.c.opened_at).where(
            tickets.c.resolved_at.is_(None),
            tickets.c.ends_at > bindparam("now"),
            _concerns(tickets.c.subject_key),
        ),
        select(literal("talk"), conversations.c.run, literal(""), conversations.c.opened_at).where(
            conversations.c.recipient == _person, conversations.c.closed_at.is_(None)
        ),
        select(literal("suppressed"), suppressions.c.digest, literal(""), suppressions.c.at).where(
            any_of(suppressions.c.digest, "digests"),
            suppressions.c.lifted_at.is_(None),
            or_(suppressions.c.ends_at.is_(None), suppressions.c.ends_at > bindparam("now")),
        ),
    )
)


async def runs_of(connection: Connection, keys: Sequence[str], journey: str) -> list[PastRunView]:
    """The runs of a journey: open ones first, then the newest; at most 20."""
    rows = await fetch_all(connection, _RUNS, keys=list(keys), journey=journey)
    return [
        PastRunView(
            row["id"], row["epoch"], row["state"], row["entered_at"], row["status"] == "open", row["outcome"],
            row["ended_at"], state_from_json(loaded(row["memory"]) or {}) if row["status"] == "open" else None,
            row["case_key"] or "", row["definition"],
        )
        for row in rows
    ]  # fmt: skip


async def accounts_of(connection: Connection, person: str) -> list[str]:
    """The accounts of a person: their own first, then those that they joined last; at most 20."""
    return [row["key"] for row in await fetch_all(connection, _ACCOUNTS, person=person)]


async def open_definitions(connection: Connection, lanes: Sequence[str]) -> list[tuple[str, str]]:
    """The definition and the lane of each open run in these lanes, newest last."""
    return [(row["definition"], row["lane"]) for row in await fetch_all(connection, _OPEN, lanes=list(lanes))]


async def last_events(connection: Connection, keys: Sequence[str], names: Sequence[str]) -> dict[str, LastEvent]:
    """The last event of each name."""
    rows = await fetch_all(connection, _LAST_EVENTS, keys=list(keys), names=list(names))
    return {
        row["name"]: LastEvent(
            row["at"], loaded(row["data"]), row["occurred_at"], is_historical(loaded(row["context"]))
        )
        for row in rows
    }


async def last_decisions(
    connection: Connection, keys: Sequence[str], template: str, *, on_clock: bool = False
) -> list[LastDecision]:
    """The decisions on this template, latest first. `on_clock`: the person is on a test clock."""
    return [
        LastDecision(
            row["run"],
            row["action"],
            MEANINGS[Status(row["status"])].last_decision,
            _why(row),
            row["due_at"],
            _began(row, on_clock=on_clock),
        )
        for row in await fetch_all(connection, _DECIDED, keys=list(keys), template=template)
    ]


def _why(row: Mapping[str, Any]) -> str:
    """The gate's reasons, and the detail of an attempt since."""
    reasons = [reason["text"] for reason in loaded(row["reasons"]) or ()]
    return "; ".join(dict.fromkeys([*reasons, *([row["detail"]] if row["detail"] else [])]))


def _began(row: Mapping[str, Any], *, on_clock: bool) -> datetime:
    """The instant since which a message waits, across repeated decisions.

    The feed has real instants, which mean nothing on a test clock: there the message waits since the request. Never
    later than the last verdict, nor before the request.
    """
    requested: datetime = row["at"]
    decided: datetime = row["decided_at"]
    if row["waits_from"] is None:
        return decided
    return requested if on_clock else max(requested, min(decided, row["waits_from"]))


async def since_when(
    connection: Connection,
    person: str,
    account: str | None,
    addresses: AddressHash,
    by_channel: Mapping[str, str],
    now: datetime,
) -> dict[tuple[str, ...], datetime]:
    """Since when each fact that the gate reads holds at the person's `now`, as in `GateFacts.since`.

    `by_channel` has the person's addresses by channel.
    """
    hashed = addresses.of_all(by_channel)
    rows = await fetch_all(connection, _SINCE, person=person, account=account or "", digests=list(hashed), now=now)
    since: dict[tuple[str, ...], datetime] = {}
    for row in rows:
        name = hashed[row["a"]] if row["what"] == "suppressed" else row["a"]
        since[tuple(part for part in (row["what"], name, row["b"]) if part)] = row["at"]
        if row["what"] == "stop":
            since["stop", row["a"], row["b"]] = row["at"]
    return since
