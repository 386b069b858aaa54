"""Consent per channel and topic, with source and log. A withdrawal takes effect in its own commit (C5).

What is queued for a channel and topic of which nothing remains is withdrawn at once, and a run whose topic has no channel
left is told that its person has opted out. What remains is the gate's own rule, asked with nothing else to weigh.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from journeys.consenting import has_opted_out
from journeys.judge import judge
from journeys.policy import Policy
from journeys.verdicts import Ask, Standing, Withhold
from store import ledger, outbox, owed, subjects
from store.again import repeated
from store.catalogue import Catalogue
from store.clocks import now_for
from store.database import Connection, Database, row, rows, run, sql
from store.outcomes import lock_owed, tell_outcome
from store.queries import Row

_LIST = sql("SELECT channel, topic, granted, source, at FROM consents WHERE subject_key = :key ORDER BY topic, channel")
_LOG = sql(
    """
    SELECT id, channel, topic, granted, source, at FROM consent_log
    WHERE subject_key = ANY(CAST(:keys AS text[])) AND (CAST(:before AS bigint) IS NULL OR id < :before)
    ORDER BY id DESC LIMIT :limit
    """
)
_PUT = sql(
    """
    INSERT INTO consents (subject_key, channel, topic, granted, source, at)
    VALUES (:key, :channel, :topic, :granted, :source, :at)
    ON CONFLICT (subject_key, channel, topic)
    DO UPDATE SET granted = excluded.granted, source = excluded.source, at = excluded.at
    """
)
_RECORD = sql(
    """
    INSERT INTO consent_log (subject_key, channel, topic, granted, source, at)
    VALUES (:key, :channel, :topic, :granted, :source, :at) RETURNING id
    """
)
_OPEN_RUNS = sql("SELECT id, definition FROM runs WHERE lane = :key AND status = 'open' ORDER BY id")

Said = Mapping[tuple[str, str], bool]
"""By channel and topic, whether they may be used."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a person says to one channel (or `*`) and one topic (or `*`)."""

    channel: str
    topic: str
    granted: bool
    source: str


@dataclass(frozen=True, slots=True)
class Effect:
    """What it changed at once."""

    at: datetime
    withdrawn: int = 0
    ended: int = 0


async def list_consents(connection: Connection, key: str) -> list[Row]:
    """What a person has said, as it holds now."""
    return [dict(item) for item in await rows(connection, _LIST, key=key)]


async def consent_log(connection: Connection, keys: list[str], before: int | None, limit: int) -> list[Row]:
    """Everything a person has ever said, the newest first."""
    return [dict(item) for item in await rows(connection, _LOG, keys=keys, before=before, limit=limit)]


async def change_consent(
    database: Database, catalogue: Catalogue, policy: Policy, person: str, change: Change
) -> Effect:
    """Record what a person says, and act on a withdrawal before anyone else can send."""

    async def work(connection: Connection) -> Effect:
        now = await subjects.now_known_as(connection, person)
        return await _change(connection, catalogue, Policy(consent=policy.consent), now, change)

    return await repeated(database, work)


async def _change(connection: Connection, catalogue: Catalogue, rules: Policy, person: str, change: Change) -> Effect:
    # The gate decides under the same lock: what it sends after this commit, it sends knowing this.
    locked = await lock_owed(connection, person)
    at = await now_for(connection, locked[person].clock)
    values = {"key": person, "channel": change.channel, "topic": change.topic, "at": at}
    values |= {"granted": change.granted, "source": change.source}
    await run(connection, _PUT, **values)
    logged = await row(connection, _RECORD, **values)
    if change.granted:
        return Effect(at)
    said = {(i["channel"], i["topic"]): i["granted"] for i in await rows(connection, _LIST, key=person)}
    ended = await _end(connection, catalogue, rules, person, said, at, f"consent:{logged['id'] if logged else 0}")
    withdrawn = await _withdraw(connection, catalogue, rules, person, said, at, ended)
    return Effect(at, withdrawn, len(ended))


async def _withdraw(
    connection: Connection,
    catalogue: Catalogue,
    rules: Policy,
    person: str,
    said: Said,
    at: datetime,
    ended: set[str],
) -> int:
    """Take back what may no longer be said, and tell the runs that go on."""
    count = 0
    for entry in await owed.queued(connection, person):
        refusal = _refusal(rules, entry.via, entry.topic, entry.priority, said, at)
        if refusal is None:
            continue
        entry.status, entry.due_at, entry.decided_at, entry.settled_at = "withdrawn", None, at, at
        entry.reasons = refusal.reasons
        count += await ledger.write(connection, entry)
        if entry.run not in ended:
            await tell_outcome(connection, catalogue, entry, entry.status, at)
    return count


async def _end(
    connection: Connection,
    catalogue: Catalogue,
    rules: Policy,
    person: str,
    said: Said,
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


def _refusal(
    rules: Policy,
    channels: Iterable[str],
    topic: str | None,
    priority: str,
    said: Said,
    at: datetime,
) -> Withhold | None:
    """Why nothing of this topic may be said by any of these channels; None while one remains."""
    ask = Ask(tuple(channels), topic, priority, at)
    verdict = judge(rules, ask, Standing(dict.fromkeys(ask.channels, True), said), at)
    return verdict if isinstance(verdict, Withhold) else None
