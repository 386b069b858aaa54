"""Consent per channel and topic, with source, wording and proof. A withdrawal takes effect in its own commit (C5).

What is queued for a channel and topic of which nothing remains is withdrawn at once, and a run whose topic has no channel
left is told that its person has opted out. What remains is the gate's own rule. A yes that needs confirming waits in
`confirmations.py` and is no grant; what was said may be taken back (`granted` None), which is neither a yes nor a no.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import orjson

from journeys.gate.consent import consent_refusal, has_opted_out
from journeys.gate.policy import Policy
from journeys.gate.verdicts import Reason
from store.consent import double_opt_in
from store.database import Connection, Database, as_json, execute, fetch_all, fetch_one, sql
from store.definitions.registry import DefinitionRegistry
from store.messages.entries import LedgerEntry
from store.messages.outcomes import lock_outcome_lanes
from store.messages.withdrawals import withdraw_from_person
from store.outbox import queue as outbox
from store.people import subjects
from store.people.test_clocks import now_for
from store.retry import retry_transaction
from store.rows import RowDict

_LIST = sql(
    """
    SELECT channel, topic, granted, source, wording, at FROM consents
    WHERE subject_key = :key ORDER BY topic, channel
    """
)
_LOG = sql(
    """
    SELECT id, channel, topic, granted, pending, source, wording, proof, at FROM consent_log
    WHERE subject_key = ANY(CAST(:keys AS text[])) AND (CAST(:before AS bigint) IS NULL OR id < :before)
    ORDER BY id DESC LIMIT :limit
    """
)
_PUT = sql(
    """
    INSERT INTO consents (subject_key, channel, topic, granted, source, wording, at)
    VALUES (:key, :channel, :topic, :granted, :source, :wording, :at)
    ON CONFLICT (subject_key, channel, topic)
    DO UPDATE SET granted = excluded.granted, source = excluded.source, wording = excluded.wording, at = excluded.at
    """
)
_TAKE_BACK = sql("DELETE FROM consents WHERE subject_key = :key AND channel = :channel AND topic = :topic")
_RECORD = sql(
    """
    INSERT INTO consent_log (subject_key, channel, topic, granted, pending, source, wording, proof, at)
    VALUES (:key, :channel, :topic, :granted, :pending, :source, :wording, CAST(:proof AS jsonb), :at) RETURNING id
    """
)
_OPEN_RUNS = sql("SELECT id, definition FROM runs WHERE lane = :key AND status = 'open' ORDER BY id")

ChannelTopic = tuple[str, str]
"""(channel, topic); either may be `*`."""
ConsentedPlaces = Mapping[ChannelTopic, bool]
"""By place, whether it may be used."""


@dataclass(frozen=True, slots=True)
class ConsentChange:
    """What a person says to one channel (or `*`) and one topic (or `*`); `granted` None takes back what was said there.

    `wording` is what they were shown; `proof` says who or what vouches for it, with nothing that names the person.
    `confirmed` is a yes whose confirmation somebody else has, which the proof says.
    """

    channel: str
    topic: str
    granted: bool | None
    source: str
    wording: str = ""
    proof: Mapping[str, str] = field(default_factory=dict)
    confirmed: bool = False

    @property
    def place(self) -> ChannelTopic:
        return self.channel, self.topic


@dataclass(frozen=True, slots=True)
class ConsentChangeResult:
    """What it changed at once. `pending` are the places whose yes waits for its link; `said` is what holds now."""

    at: datetime
    withdrawn: int = 0
    ended: int = 0
    pending: tuple[ChannelTopic, ...] = ()
    person: str = ""
    said: ConsentedPlaces = field(default_factory=dict)


async def list_consents(connection: Connection, key: str) -> list[RowDict]:
    """What a person has said, as it holds now."""
    return [dict(item) for item in await fetch_all(connection, _LIST, key=key)]


async def consent_log(connection: Connection, keys: list[str], before: int | None, limit: int) -> list[RowDict]:
    """Everything a person has ever said, the newest first."""
    found = await fetch_all(connection, _LOG, keys=keys, before=before, limit=limit)
    return [{**item, "proof": orjson.loads(item["proof"])} for item in found]


async def change_consent(
    database: Database, catalogue: DefinitionRegistry, policy: Policy, person: str, change: ConsentChange
) -> ConsentChangeResult:
    """Record what a person says, and act on a withdrawal before anyone else can send."""
    return await change_consents(database, catalogue, policy, person, [change])


async def change_consents(
    database: Database, catalogue: DefinitionRegistry, policy: Policy, person: str, changes: Sequence[ConsentChange]
) -> ConsentChangeResult:
    """The same for several places at once: all of it, or nothing."""

    async def work(connection: Connection) -> ConsentChangeResult:
        now = await subjects.canonical_key(connection, person)
        return await change_consents_within(connection, catalogue, policy, now, changes)

    return await retry_transaction(database, work)


async def change_consents_within(
    connection: Connection, catalogue: DefinitionRegistry, policy: Policy, person: str, changes: Sequence[ConsentChange]
) -> ConsentChangeResult:
    """In the caller's transaction. Raises Contended: then all of it again."""
    asks = any(each.granted and catalogue.consent.rules.needs_confirming(*each.place) for each in changes)
    account = await subjects.account_of(connection, person) if asks else None
    # The gate decides under the same lock: what it sends after this commit, it sends knowing this.
    locked = await lock_outcome_lanes(connection, person, account)
    at = await now_for(connection, locked[person].clock)
    before = await statements_by(connection, person)
    pending, last = [], 0
    for change in changes:
        waits = _waits(catalogue, before, change)
        if waits:
            pending.append(change)
        last = await _record(connection, person, change, at, waits=waits) or last
    said = await statements_by(connection, person)
    for change in pending:
        await double_opt_in.request_confirmation(connection, catalogue, person, change, at)
    taken = (0, 0) if _only_grants(changes) else await _act(connection, catalogue, policy, person, said, at, last)
    return ConsentChangeResult(at, *taken, tuple(change.place for change in pending), person, said)


async def _act(
    connection: Connection,
    catalogue: DefinitionRegistry,
    rules: Policy,
    person: str,
    said: ConsentedPlaces,
    at: datetime,
    logged: int,
) -> tuple[int, int]:
    """Take back what may no longer be said, end what has nothing left to say: how many messages, how many runs."""
    ended = await _end(connection, catalogue, rules, person, said, at, f"consent:{logged}")
    return await _withdraw(connection, catalogue, rules, person, said, at, ended), len(ended)


def _waits(catalogue: DefinitionRegistry, before: ConsentedPlaces, change: ConsentChange) -> bool:
    """Whether a yes is none yet. Who has confirmed once need not do so again."""
    return bool(
        change.granted
        and not change.confirmed
        and before.get(change.place) is not True
        and catalogue.consent.rules.needs_confirming(*change.place)
    )


def _only_grants(changes: Sequence[ConsentChange]) -> bool:
    return all(change.granted for change in changes)


async def statements_by(connection: Connection, person: str) -> dict[ChannelTopic, bool]:
    """By place, what a person has said."""
    return {
        (item["channel"], item["topic"]): item["granted"] for item in await fetch_all(connection, _LIST, key=person)
    }


async def _record(connection: Connection, person: str, change: ConsentChange, at: datetime, *, waits: bool) -> int:
    """One line of the log and what holds by it; the line's number, or 0 where nothing was there to take back."""
    place = {"key": person, "channel": change.channel, "topic": change.topic}
    said = {**place, "granted": change.granted, "source": change.source, "wording": change.wording, "at": at}
    if change.granted is None:
        if not await execute(connection, _TAKE_BACK, **place):
            return 0
    elif not waits:
        await execute(connection, _PUT, **said)
    if not change.granted:
        await double_opt_in.drop_pending(connection, person, change.channel, change.topic)
    logged = await fetch_one(connection, _RECORD, **said, pending=waits, proof=as_json(dict(change.proof)))
    return int(logged["id"]) if logged else 0


async def _withdraw(
    connection: Connection,
    catalogue: DefinitionRegistry,
    rules: Policy,
    person: str,
    said: ConsentedPlaces,
    at: datetime,
    ended: set[str],
) -> int:
    """Take back what may no longer be said, and tell the runs that go on."""

    def refusals(entry: LedgerEntry) -> tuple[Reason, ...] | None:
        return refused_by(rules, entry.via, entry.topic, entry.priority, said)

    return await withdraw_from_person(connection, catalogue, person, refusals, at, ended=ended)


async def _end(
    connection: Connection,
    catalogue: DefinitionRegistry,
    rules: Policy,
    person: str,
    said: ConsentedPlaces,
    at: datetime,
    event_id: str,
) -> set[str]:
    """Tell the runs that have no channel left; which they are."""
    ended = set()
    for item in await fetch_all(connection, _OPEN_RUNS, key=person):
        chart = await catalogue.chart(connection, item["definition"])
        if not has_opted_out(rules, chart, said):
            continue
        await outbox.enqueue_one(
            connection,
            recipient=person,
            kind="opted_out",
            name="",
            event_id=f"{event_id}:{item['id']}",
            at=at,
            data={},
            target=item["id"],
        )
        ended.add(item["id"])
    return ended


def refused_by(
    rules: Policy, channels: Iterable[str], topic: str | None, priority: str, said: ConsentedPlaces
) -> tuple[Reason, ...] | None:
    """Why nothing of this topic may be said by any of these channels; None while one remains."""
    refusals = [consent_refusal(rules, topic, priority, channel, said) for channel in channels]
    reasons = tuple(reason for reason in refusals if reason is not None)
    return reasons if reasons and len(reasons) == len(refusals) else None
