"""Locked read of everything that the gate weighs for a person.

Its cost does not grow with the messages ever sent: only the policy's longest window is read.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

import orjson

from journeys.consent.bound_addresses import counts_now
from journeys.consent.mailboxes import with_refusals
from journeys.gate.queue import QueuedMessage, ends_by_itself, rules_of_wait
from journeys.gate.requests import MessageVisit, RunVisit, still_holds
from journeys.gate.verdicts import Hold, KillSwitch, OpenConversation, RecipientContext, SentMessage
from store.database import Connection, fetch_one, sql
from store.people.subjects import account_in

_READ = sql("SELECT * FROM gate_reads(:person, :account, :since, :digests, :now, :counted)")


async def lock_and_read(
    connection: Connection,
    person: str,
    account: str | None,
    since: datetime,
    now: datetime,
    channels: Mapping[str, str],
    current: Collection[str],
    counted: Collection[str] = (),
) -> RecipientContext:
    """Lock a person and read everything that the gate weighs, except their profile (addresses, zone).

    `channels` are those of their addresses, by the address's keyed hash (`AddressHash.of_all`); `current` are the hashes
    that a confirmed consent may be bound to (`bound_addresses.py`). `counted` are those of mailboxes (`mailboxes.py`): they
    are locked exclusively, and what was sent to others there counts.
    """
    row = await fetch_one(
        connection,
        _READ,
        person=person,
        account=account,
        since=since,
        digests=list(channels),
        now=now,
        counted=[digest for digest in counted if digest in channels],
    )
    assert row is not None
    own = {
        (channel, topic): granted
        for channel, topic, granted, bound in _list(row["consents"])
        if counts_now(bound, current)
    }
    return RecipientContext(
        consents=with_refusals(own, [(channels[digest], topic) for digest, topic in _list(row["refused"])]),
        sent=tuple(map(_sent, _list(row["sent"]))),
        queue=tuple(map(_queued, _list(row["queue"]))),
        urgent_open=bool(row["urgent"]),
        stops=tuple(KillSwitch(*switch) for switch in _list(row["stopped"])),
        held=tuple(Hold(datetime.fromisoformat(until), by, why) for until, by, why in _list(row["held"])),
        talks=tuple(
            OpenConversation(run, datetime.fromisoformat(until), owner) for run, until, owner in _list(row["talks"])
        ),
        suppressed={channels[digest]: reason for digest, reason in orjson.loads(row["suppressed"] or "{}").items()},
        accounts=frozenset(row["accounts"]) - {None},
    )


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(orjson.loads(value)) if isinstance(value, str) else list(value)


def _sent(item: list[Any]) -> SentMessage:
    at, channel, topic, priority, action, journey, template, subject, key, is_part, to_other = item
    return SentMessage(
        datetime.fromisoformat(at), channel, topic, priority, action, journey, template, account_in(subject), key,
        is_part=is_part, to_other=to_other,
    )  # fmt: skip


def _queued(item: list[Any]) -> QueuedMessage:
    key, due, at, via, topic, priority, action, journey, reasons, expires, is_troubled, number, requested, *run = item
    codes = [(reason["code"], reason.get("rule")) for reason in reasons]
    holds = still_holds(MessageVisit(*requested), RunVisit(*run))
    return QueuedMessage(
        key,
        datetime.fromisoformat(due),
        datetime.fromisoformat(at),
        tuple(via),
        topic,
        priority,
        action,
        journey,
        rules_of_wait(codes),
        datetime.fromisoformat(expires) if expires is not None else None,
        has_known_end=holds and not is_troubled and ends_by_itself(code for code, _ in codes),
        number=number,
    )
