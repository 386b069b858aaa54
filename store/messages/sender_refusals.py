"""Sender refusals: a provider refuses us with one code, until it is closed.

A person closes it, or a quiet day. It is about us (`FailureClass.SENDER_REFUSED`) and suppresses nobody. Many refused messages within an hour slow its channel, more
engage the kill switch, once (`journeys/consent/refusal_response.py`, `worker/loops/sender_refusals.py`).
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

from sqlalchemy import Boolean, Integer, Interval, Text, bindparam, case, func, join, or_, select, true, update
from sqlalchemy.dialects.postgresql import array, insert

from journeys.consent.refusal_response import SLOW_AFTER, WINDOW, RefusalResponse, response_to
from journeys.tokens.address_hash import AddressHash
from store.database import Connection, fetch_all, fetch_one, sql
from store.expressions import before_given
from store.locks import Lock, lock_until_commit
from store.messages import kill_switches
from store.rows import RowDict
from store.schema import journeys, messages, sender_refusals
from store.schema.base import Timestamp

BY_RULE: Final = "the sender's refusals"
"""Who engages a kill switch, and closes a refusal, by these rules."""
QUIET: Final = timedelta(days=1)
"""Without a refused message for this long a refusal closes."""
_MOST_PLACES: Final = 20
_CODE: Final = re.compile(
    r"\s*(\d{3}(?:[ -]#?[245]\.\d{1,3}\.\d{1,3}| \w*_\w+| \d{2,6})?|[245]\.\d{1,3}\.\d{1,3}|\d{2,6})(?![\w.])"
)

_columns = (
    sender_refusals.c.id,
    sender_refusals.c.channel,
    sender_refusals.c.code,
    sender_refusals.c.times,
    sender_refusals.c.opened_at,
    sender_refusals.c.last_at,
    sender_refusals.c.stopped_at,
    sender_refusals.c.closed_at,
    sender_refusals.c.closed_by,
)
_open = sender_refusals.c.closed_at.is_(None)
_now = func.clock_timestamp()
_place = bindparam("place", type_=Text)
_window = bindparam("window", type_=Interval)
_is_recent = sender_refusals.c.recent_since > func.statement_timestamp() - _window
_NOTE = sql(
    insert(sender_refusals)
    .values(channel=bindparam("channel"), code=bindparam("code"), places=array([_place]))
    .on_conflict_do_update(
        index_elements=[sender_refusals.c.channel, sender_refusals.c.code],
        index_where=_open,
        set_={
            "times": sender_refusals.c.times + 1,
            "last_at": _now,
            "recent": case((_is_recent, sender_refusals.c.recent + 1), else_=1),
            "recent_since": case((_is_recent, sender_refusals.c.recent_since), else_=_now),
            "places": case(
                (
                    or_(
                        _place == func.any(sender_refusals.c.places),
                        func.cardinality(sender_refusals.c.places) >= _MOST_PLACES,
                    ),
                    sender_refusals.c.places,
                ),
                else_=func.array_append(sender_refusals.c.places, _place),
            ),
        },
    )
    .returning(sender_refusals.c.times)
)
_OPEN = sql(select(*_columns).where(_open).order_by(sender_refusals.c.id))
_LIST = sql(
    select(*_columns)
    .where(or_(bindparam("all", type_=Boolean), _open), before_given(sender_refusals.c.id))
    .order_by(sender_refusals.c.id.desc())
    .limit(bindparam("limit"))
)
_CLOSE = sql(
    update(sender_refusals)
    .where(sender_refusals.c.id == bindparam("id"))
    .values(
        closed_at=func.coalesce(sender_refusals.c.closed_at, _now),
        closed_by=func.coalesce(sender_refusals.c.closed_by, bindparam("by", type_=Text)),
    )
    .returning(*_columns)
)
_CLOSE_QUIET = sql(
    update(sender_refusals)
    .where(_open, sender_refusals.c.last_at < func.statement_timestamp() - bindparam("quiet", type_=Interval))
    .values(closed_at=_now, closed_by=BY_RULE)
    .returning(*_columns)
)
_RECENT = sql(
    select(*_columns, sender_refusals.c.recent, sender_refusals.c.recent_since, sender_refusals.c.places)
    .where(
        _open,
        sender_refusals.c.recent >= bindparam("least", type_=Integer),
        sender_refusals.c.recent_since > func.statement_timestamp() - _window,
    )
    .order_by(sender_refusals.c.id)
)
# By journey, because the index of what was sent is.
_of_journey = (
    select(func.count().label("number"))
    .where(
        messages.c.journey == journeys.c.key,
        messages.c.clock.is_(None),
        messages.c.sent_at >= bindparam("since", type_=Timestamp),
        messages.c.channel == bindparam("channel"),
    )
    .lateral("of_journey")
)
_ATTEMPTS = sql(select(func.sum(_of_journey.c.number).label("number")).select_from(join(journeys, _of_journey, true())))
_STOP = sql(
    update(sender_refusals)
    .where(sender_refusals.c.id == bindparam("id"), _open, sender_refusals.c.stopped_at.is_(None))
    .values(stopped_at=_now)
    .returning(sender_refusals.c.id)
)


def code_of(words: str) -> str:
    """The code at the beginning of a provider's words, `550 5.7.1`; `other` without one, so that no words of theirs are kept."""
    match = _CODE.match(words)
    return match[1] if match is not None else "other"


def place_of(addresses: AddressHash, channel: str, address: str) -> str:
    """A keyed hash of where a message went: for a mail the domain, else the address."""
    return addresses.digest(f"place of {channel}", address.rpartition("@")[2])


async def note_refusal(connection: Connection, channel: str, code: str, place: str) -> bool:
    """Count a refused message; whether it is the first with this code. The row is locked until the commit, after every other lock."""
    row = await fetch_one(connection, _NOTE, channel=channel, code=code, place=place, window=WINDOW)
    return row is not None and row["times"] == 1


async def open_refusals(connection: Connection) -> list[RowDict]:
    """The open refusals, oldest first."""
    return [dict(row) for row in await fetch_all(connection, _OPEN)]


async def list_refusals(connection: Connection, *, all_of_them: bool, before: int | None, limit: int) -> list[RowDict]:
    """Refusals, newest first: those that are open, or all."""
    rows = await fetch_all(connection, _LIST, all=all_of_them, before=before, limit=limit)
    return [dict(row) for row in rows]


async def close_refusal(connection: Connection, identity: int, by: str) -> RowDict | None:
    """Close a refusal; the first time counts. None if there is none. A kill switch that it engaged stays."""
    row = await fetch_one(connection, _CLOSE, id=identity, by=by)
    return dict(row) if row is not None else None


async def close_quiet(connection: Connection) -> list[RowDict]:
    """Close those without a refused message for a day, and return them."""
    return [dict(row) for row in await fetch_all(connection, _CLOSE_QUIET, quiet=QUIET)]


async def responses(connection: Connection) -> list[tuple[RowDict, RefusalResponse]]:
    """The open refusals with many refused messages lately, each with the response."""
    rows = [dict(row) for row in await fetch_all(connection, _RECENT, least=SLOW_AFTER, window=WINDOW)]
    answered = []
    for row in rows:
        sent = await fetch_one(connection, _ATTEMPTS, channel=row["channel"], since=row["recent_since"])
        attempts = int(sent["number"] or 0) if sent is not None else 0
        answered.append((row, response_to(row["recent"], attempts, len(row["places"]))))
    return answered


async def stop_channel(connection: Connection, refusal: RowDict) -> bool:
    """Engage the kill switch of a refused channel; False if this refusal did so before, also if an operator has released it."""
    # Before the row: a gate that shares this lock may wait for an address of a batch that waits for the row.
    await lock_until_commit(connection, Lock.STOPS)
    if await fetch_one(connection, _STOP, id=refusal["id"]) is None:
        return False
    why = f"refused {refusal['recent']} times within the hour: {refusal['code']}"
    await kill_switches.engage(connection, "channel", refusal["channel"], why, BY_RULE)
    return True
