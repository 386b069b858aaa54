"""Consent per channel and topic, with source, wording and proof. A withdrawal takes effect in its own commit (C5).

What is queued for a channel and topic of which nothing remains is withdrawn at once, and a run whose topic has no channel
left is told that its person has opted out. What remains is the gate's own rule. A yes that needs confirming waits in
`requests.py` and is no grant; what was said may be taken back (`granted` None), which is neither a yes nor a no.

A change returns the events that it causes, for its caller to accept in the same transaction.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import orjson
from sqlalchemy import bindparam, delete, select
from sqlalchemy.dialects.postgresql import insert

from journeys.consent.changes import ConsentChange, may_ask, only_grants, waits_for_confirmation
from journeys.consent.preferences import ChannelTopic, merged_consents
from journeys.events.inbound import InboundEvent
from journeys.gate.consent import has_opted_out, refusals_by_all
from journeys.gate.policy import Policy
from journeys.gate.verdicts import Consents, Reason
from store.consent import requests
from store.database import Connection, as_json, execute, fetch_all, fetch_one, sql
from store.definitions.registry import DefinitionRegistry
from store.expressions import any_of, when_given
from store.messages.entries import LedgerEntry
from store.messages.outcomes import lock_outcome_lanes
from store.messages.withdrawals import withdraw_from_person
from store.outbox import queue as outbox
from store.outbox.queue import DerivedSignal
from store.people import subjects
from store.people.test_clocks import now_for
from store.rows import RowDict
from store.schema import consent_log, consents, runs

_LIST = sql(
    select(
        consents.c.channel,
        consents.c.topic,
        consents.c.granted,
        consents.c.source,
        consents.c.wording,
        consents.c.at,
    )
    .where(consents.c.subject_key == bindparam("key"))
    .order_by(consents.c.topic, consents.c.channel)
)
_LOG = sql(
    select(
        consent_log.c.id,
        consent_log.c.channel,
        consent_log.c.topic,
        consent_log.c.granted,
        consent_log.c.pending,
        consent_log.c.source,
        consent_log.c.wording,
        consent_log.c.proof,
        consent_log.c.at,
    )
    .where(any_of(consent_log.c.subject_key, "keys"), when_given("before", consent_log.c.id, operator.lt))
    .order_by(consent_log.c.id.desc())
    .limit(bindparam("limit"))
)
_PLACE = (consents.c.subject_key, consents.c.channel, consents.c.topic)
_said = insert(consents).values(
    subject_key=bindparam("key"),
    channel=bindparam("channel"),
    topic=bindparam("topic"),
    granted=bindparam("granted"),
    source=bindparam("source"),
    wording=bindparam("wording"),
    at=bindparam("at"),
)
_SAY = sql(
    _said.on_conflict_do_update(
        index_elements=_PLACE,
        set_={
            "granted": _said.excluded.granted,
            "source": _said.excluded.source,
            "wording": _said.excluded.wording,
            "at": _said.excluded.at,
        },
    )
)
_TAKE_BACK = sql(
    delete(consents).where(
        consents.c.subject_key == bindparam("key"),
        consents.c.channel == bindparam("channel"),
        consents.c.topic == bindparam("topic"),
    )
)
_RECORD = sql(
    insert(consent_log)
    .values(
        subject_key=bindparam("key"),
        channel=bindparam("channel"),
        topic=bindparam("topic"),
        granted=bindparam("granted"),
        pending=bindparam("pending"),
        source=bindparam("source"),
        wording=bindparam("wording"),
        proof=bindparam("proof"),
        at=bindparam("at"),
    )
    .returning(consent_log.c.id)
)
_OPEN_RUNS = sql(
    select(runs.c.id, runs.c.definition)
    .where(runs.c.lane == bindparam("key"), runs.c.status == "open")
    .order_by(runs.c.id)
)
_OF_BOTH = sql(
    select(consents.c.subject_key, consents.c.channel, consents.c.topic, consents.c.granted)
    .where(any_of(consents.c.subject_key, "keys"))
    .order_by(consents.c.channel, consents.c.topic)
)
_merged_values = {
    "subject_key": bindparam("into"),
    "channel": bindparam("channel"),
    "topic": bindparam("topic"),
    "granted": bindparam("granted"),
    "source": "merge",
    "at": bindparam("at"),
}
_merged = insert(consents).values(_merged_values)
_MERGE = sql(
    _merged.on_conflict_do_update(
        index_elements=_PLACE,
        set_={
            "granted": _merged.excluded.granted,
            "source": _merged.excluded.source,
            "at": _merged.excluded.at,
        },
    )
)
_RECORD_MERGE = sql(insert(consent_log).values(_merged_values))


@dataclass(frozen=True, slots=True)
class ConsentChangeResult:
    """What it changed at once. `pending` are the places whose yes waits for its link; `said` is what holds now.

    `events` are caused by it and not accepted yet: whoever changes a consent accepts them in the same transaction.
    """

    at: datetime
    withdrawn: int = 0
    ended: int = 0
    pending: tuple[ChannelTopic, ...] = ()
    person: str = ""
    said: Consents = field(default_factory=dict)
    events: tuple[InboundEvent, ...] = ()


async def list_consents(connection: Connection, key: str) -> list[RowDict]:
    """What a person has said, as it holds now."""
    return [dict(row) for row in await fetch_all(connection, _LIST, key=key)]


async def read_consent_log(connection: Connection, keys: list[str], before: int | None, limit: int) -> list[RowDict]:
    """Everything a person has ever said, the newest first."""
    rows = await fetch_all(connection, _LOG, keys=keys, before=before, limit=limit)
    return [{**row, "proof": orjson.loads(row["proof"])} for row in rows]


async def change_consents_within(
    connection: Connection, catalogue: DefinitionRegistry, policy: Policy, person: str, changes: Sequence[ConsentChange]
) -> ConsentChangeResult:
    """Record what a person says, and act on a withdrawal before anyone else can send. Raises Contended: then all of it again."""
    rules = catalogue.consent.rules
    account = await subjects.account_of(connection, person) if may_ask(rules, changes) else None
    # The gate decides under the same lock: what it sends after this commit, it sends knowing this.
    locked = await lock_outcome_lanes(connection, person, account)
    at = await now_for(connection, locked[person].clock)
    before = await statements_by(connection, person)
    pending, last = [], 0
    for change in changes:
        waits = waits_for_confirmation(rules, before, change)
        if waits:
            pending.append(change)
        last = await _record(connection, person, change, at, waits=waits) or last
    said = await statements_by(connection, person)
    events = [
        await requests.request_confirmation(connection, catalogue.consent.links, person, change, at)
        for change in pending
    ]
    done = (0, 0) if only_grants(changes) else await _act(connection, catalogue, policy, person, said, at, last)
    return ConsentChangeResult(
        at,
        *done,
        pending=tuple(change.place for change in pending),
        person=person,
        said=said,
        events=tuple(event for event in events if event is not None),
    )


async def _act(
    connection: Connection,
    catalogue: DefinitionRegistry,
    policy: Policy,
    person: str,
    said: Consents,
    at: datetime,
    logged: int,
) -> tuple[int, int]:
    """Take back what may no longer be said, end what has nothing left to say: how many messages, how many runs."""
    ended = await _end(connection, catalogue, policy, person, said, at, f"consent:{logged}")
    return await _withdraw(connection, catalogue, policy, person, said, at, ended), len(ended)


async def statements_by(connection: Connection, person: str) -> dict[ChannelTopic, bool]:
    """By channel and topic, what a person has said."""
    return {(row["channel"], row["topic"]): row["granted"] for row in await fetch_all(connection, _LIST, key=person)}


async def _record(connection: Connection, person: str, change: ConsentChange, at: datetime, *, waits: bool) -> int:
    """One line of the log and what holds by it; the line's number, or 0 where nothing was there to take back."""
    place = {"key": person, "channel": change.channel, "topic": change.topic}
    said = {**place, "granted": change.granted, "source": change.source, "wording": change.wording, "at": at}
    if change.granted is None:
        if not await execute(connection, _TAKE_BACK, **place):
            return 0
    elif not waits:
        await execute(connection, _SAY, **said)
    if not change.granted:
        await requests.drop_pending(connection, person, change.channel, change.topic)
    logged = await fetch_one(connection, _RECORD, **said, pending=waits, proof=as_json(dict(change.proof)))
    return int(logged["id"]) if logged else 0


async def move_to(connection: Connection, gone: str, into: str, at: datetime) -> None:
    """A visitor's consents are the user's; of two that contradict each other the withdrawal counts."""
    said: dict[str, dict[ChannelTopic, bool]] = {gone: {}, into: {}}
    for row in await fetch_all(connection, _OF_BOTH, keys=[gone, into]):
        said[row["subject_key"]][row["channel"], row["topic"]] = row["granted"]
    for (channel, topic), granted in merged_consents(said[gone], said[into]).items():
        if said[into].get((channel, topic)) is not granted:
            values = {"into": into, "channel": channel, "topic": topic, "granted": granted, "at": at}
            await execute(connection, _MERGE, **values)
            await execute(connection, _RECORD_MERGE, **values)


async def _withdraw(
    connection: Connection,
    catalogue: DefinitionRegistry,
    policy: Policy,
    person: str,
    said: Consents,
    at: datetime,
    ended: set[str],
) -> int:
    """Take back what may no longer be said, and tell the runs that go on."""

    def refusals(entry: LedgerEntry) -> tuple[Reason, ...] | None:
        return refusals_by_all(policy, entry.via, entry.topic, entry.priority, said)

    return await withdraw_from_person(connection, catalogue, person, refusals, at, ended=ended)


async def _end(
    connection: Connection,
    catalogue: DefinitionRegistry,
    policy: Policy,
    person: str,
    said: Consents,
    at: datetime,
    event_id: str,
) -> set[str]:
    """Tell the runs that have no channel left; which they are."""
    ended = set()
    for run in await fetch_all(connection, _OPEN_RUNS, key=person):
        chart = await catalogue.chart(connection, run["definition"])
        if has_opted_out(policy, chart, said):
            signal = DerivedSignal(person, run["id"], "opted_out", "", f"{event_id}:{run['id']}", at)
            await outbox.enqueue_derived(connection, signal)
            ended.add(run["id"])
    return ended
