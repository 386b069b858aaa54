"""Locked read of everything that the gate weighs for a person.

Flat in how much was ever sent: only what the policy's longest window reaches back to is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from journeys.gate.verdicts import Hold, KillSwitch, OpenConversation, QueuedMessage, RecipientContext, SentMessage
from store.database import Connection, fetch_one, sql
from store.people.subjects import account_in

_READ = sql("SELECT * FROM gate_reads(:person, :account, :since, :digests, :now)")


async def lock_and_read(
    connection: Connection,
    person: str,
    account: str | None,
    since: datetime,
    now: datetime,
    channels: Mapping[str, str],
) -> RecipientContext:
    """Lock a person and read all that is weighed, but for what their profile says (addresses, zone).

    `channels` are those of their addresses, by the address's keyed hash (`AddressHash.of_all`).
    """
    found = await fetch_one(
        connection, _READ, person=person, account=account, since=since, digests=list(channels), now=now
    )
    assert found is not None
    return RecipientContext(
        consents={(channel, topic): granted for channel, topic, granted in _list(found["consents"])},
        sent=tuple(map(_sent, _list(found["sent"]))),
        queue=tuple(map(_queued, _list(found["queue"]))),
        urgent_open=bool(found["urgent"]),
        stops=tuple(KillSwitch(*each) for each in _list(found["stopped"])),
        held=tuple(Hold(datetime.fromisoformat(until), by, why) for until, by, why in _list(found["held"])),
        talks=tuple(
            OpenConversation(run, datetime.fromisoformat(until), owner) for run, until, owner in _list(found["talks"])
        ),
        suppressed={channels[digest]: reason for digest, reason in orjson.loads(found["suppressed"] or "{}").items()},
        accounts=frozenset(found["accounts"]) - {None},
    )


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(orjson.loads(value)) if isinstance(value, str) else list(value)


def _sent(item: list[Any]) -> SentMessage:
    at, channel, topic, priority, action, journey, template, subject, key, is_part = item
    return SentMessage(
        datetime.fromisoformat(at), channel, topic, priority, action, journey, template, account_in(subject), key,
        is_part=is_part,
    )  # fmt: skip


def _queued(item: list[Any]) -> QueuedMessage:
    key, due, via, topic, priority, action, journey, rules, expires = item
    until = datetime.fromisoformat(expires) if expires is not None else None
    return QueuedMessage(
        key, datetime.fromisoformat(due), tuple(via), topic, priority, action, journey, frozenset(rules), until
    )
