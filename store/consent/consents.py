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
from store.database import Connection, Database, as_json, row, rows, run, sql
from store.definitions.registry import Catalogue
from store.messages import due, ledger
from store.messages.outcomes import lock_owed, tell_outcome
from store.outbox import queue as outbox
from store.people import subjects
from store.people.test_clocks import now_for
from store.reads.people import Row
from store.retry import repeated

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

Place = tuple[str, str]
"""(channel, topic); either may be `*`."""
Consented = Mapping[Place, bool]
"""By place, whether it may be used."""


@dataclass(frozen=True, slots=True)
class Change:
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
    def place(self) -> Place:
        return self.channel, self.topic


@dataclass(frozen=True, slots=True)
class Effect:
    """What it changed at once. `pending` are the places whose yes waits for its link; `said` is what holds now."""

    at: datetime
    withdrawn: int = 0
    ended: int = 0
    pending: tuple[Place, ...] = ()
    person: str = ""
    said: Consented = field(default_factory=dict)


async def list_consents(connection: Connection, key: str) -> list[Row]:
    """What a person has said, as it holds now."""
    return [dict(item) for item in await rows(connection, _LIST, key=key)]


async def consent_log(connection: Connection, keys: list[str], before: int | None, limit: int) -> list[Row]:
    """Everything a person has ever said, the newest first."""
    found = await rows(connection, _LOG, keys=keys, before=before, limit=limit)
    return [{**item, "proof": orjson.loads(item["proof"])} for item in found]


async def change_consent(
    database: Database, catalogue: Catalogue, policy: Policy, person: str, change: Change
) -> Effect:
    """Record what a person says, and act on a withdrawal before anyone else can send."""
    return await change_consents(database, catalogue, policy, person, [change])


async def change_consents(
    database: Database, catalogue: Catalogue, policy: Policy, person: str, changes: Sequence[Change]
) -> Effect:
    """The same for several places at once: all of it, or nothing."""

    async def work(connection: Connection) -> Effect:
        now = await subjects.now_known_as(connection, person)
        return await change_within(connection, catalogue, policy, now, changes)

    return await repeated(database, work)


async def change_within(
    connection: Connection, catalogue: Catalogue, policy: Policy, person: str, changes: Sequence[Change]
) -> Effect:
    """In the caller's transaction. Raises Contended: then all of it again."""
    asks = any(each.granted and catalogue.consent.rules.needs_confirming(*each.place) for each in changes)
    account = await subjects.account_of(connection, person) if asks else None
    # The gate decides under the same lock: what it sends after this commit, it sends knowing this.
    locked = await lock_owed(connection, person, account)
    at = await now_for(connection, locked[person].clock)
    before = await said_by(connection, person)
    pending, last = [], 0
    for change in changes:
        waits = _waits(catalogue, before, change)
        if waits:
            pending.append(change)
        last = await _record(connection, person, change, at, waits=waits) or last
    said = await said_by(connection, person)
    for change in pending:
        await double_opt_in.ask(connection, catalogue, person, change, at)
    taken = (0, 0) if _only_grants(changes) else await _act(connection, catalogue, policy, person, said, at, last)
    return Effect(at, *taken, tuple(change.place for change in pending), person, said)


async def _act(
    connection: Connection,
    catalogue: Catalogue,
    rules: Policy,
    person: str,
    said: Consented,
    at: datetime,
    logged: int,
) -> tuple[int, int]:
    """Take back what may no longer be said, end what has nothing left to say: how many messages, how many runs."""
    ended = await _end(connection, catalogue, rules, person, said, at, f"consent:{logged}")
    return await _withdraw(connection, catalogue, rules, person, said, at, ended), len(ended)


def _waits(catalogue: Catalogue, before: Consented, change: Change) -> bool:
    """Whether a yes is none yet. Who has confirmed once need not do so again."""
    return bool(
        change.granted
        and not change.confirmed
        and before.get(change.place) is not True
        and catalogue.consent.rules.needs_confirming(*change.place)
    )


def _only_grants(changes: Sequence[Change]) -> bool:
    return all(change.granted for change in changes)


async def said_by(connection: Connection, person: str) -> dict[Place, bool]:
    """By place, what a person has said."""
    return {(item["channel"], item["topic"]): item["granted"] for item in await rows(connection, _LIST, key=person)}


async def _record(connection: Connection, person: str, change: Change, at: datetime, *, waits: bool) -> int:
    """One line of the log and what holds by it; the line's number, or 0 where nothing was there to take back."""
    place = {"key": person, "channel": change.channel, "topic": change.topic}
    said = {**place, "granted": change.granted, "source": change.source, "wording": change.wording, "at": at}
    if change.granted is None:
        if not await run(connection, _TAKE_BACK, **place):
            return 0
    elif not waits:
        await run(connection, _PUT, **said)
    if not change.granted:
        await double_opt_in.give_up(connection, person, change.channel, change.topic)
    logged = await row(connection, _RECORD, **said, pending=waits, proof=as_json(dict(change.proof)))
    return int(logged["id"]) if logged else 0


async def _withdraw(
    connection: Connection,
    catalogue: Catalogue,
    rules: Policy,
    person: str,
    said: Consented,
    at: datetime,
    ended: set[str],
) -> int:
    """Take back what may no longer be said, and tell the runs that go on."""
    count = 0
    for entry in await due.queued(connection, person):
        refusals = refused_by(rules, entry.via, entry.topic, entry.priority, said)
        if refusals is None:
            continue
        entry.status, entry.due_at, entry.decided_at, entry.settled_at = ledger.ended(entry, "withdrawn"), None, at, at
        entry.reasons = refusals
        count += await ledger.write(connection, entry)
        if entry.run not in ended:
            await tell_outcome(connection, catalogue, entry, entry.status, at)
    return count


async def _end(
    connection: Connection,
    catalogue: Catalogue,
    rules: Policy,
    person: str,
    said: Consented,
    at: datetime,
    event_id: str,
) -> set[str]:
    """Tell the runs that have no channel left; which they are."""
    ended = set()
    for item in await rows(connection, _OPEN_RUNS, key=person):
        chart = await catalogue.chart(connection, item["definition"])
        if not has_opted_out(rules, chart, said):
            continue
        await outbox.tell(
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
    rules: Policy, channels: Iterable[str], topic: str | None, priority: str, said: Consented
) -> tuple[Reason, ...] | None:
    """Why nothing of this topic may be said by any of these channels; None while one remains."""
    refusals = [consent_refusal(rules, topic, priority, channel, said) for channel in channels]
    reasons = tuple(reason for reason in refusals if reason is not None)
    return reasons if reasons and len(reasons) == len(refusals) else None
