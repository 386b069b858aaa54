"""Stop everything: switches by channel, journey, template or over all, and the brake that throws one by itself.

A thrown switch is read by the gate in the person's own transaction. All switches have one lock, which the gate shares while it
decides and who throws one holds alone: nothing enters `sending` after its commit. The rows are the record: who threw it, when
and why, and who released it.
"""

from __future__ import annotations

from functools import partial
from typing import Final, Literal

from journeys.gate.policy import SurgeBrake
from journeys.gate.status import Status
from store.database import Connection, Database, fetch_all, fetch_one, sql
from store.locks import Lock, lock_until_commit
from store.messages.ledger import made_due
from store.outbox import queue as outbox
from store.people import subjects
from store.retry import retry_transaction
from store.rows import RowDict

KillSwitchScope = Literal["all", "channel", "journey", "template"]
BRAKE = "the blast brake"
MOST_WOKEN = 10_000
"""Of the people who waited, how many are looked at anew at a release; the others look by themselves within the hour."""
AT_ONCE = 200
"""People whose rows are locked in one transaction."""

_COLUMNS = "id, scope, name, why, by, at, released_at, released_by"
_THROW = sql(
    f"""
    INSERT INTO stops (scope, name, why, by) VALUES (:scope, :name, :why, :by)
    ON CONFLICT (scope, name) WHERE released_at IS NULL DO NOTHING RETURNING {_COLUMNS}
    """  # noqa: S608 -- the columns are ours
)
_THROWN = sql(
    f"SELECT {_COLUMNS} FROM stops WHERE scope = :scope AND name = :name AND released_at IS NULL"  # noqa: S608
)
_LIST = sql(
    f"""
    SELECT {_COLUMNS} FROM stops WHERE (:all OR released_at IS NULL)
      AND (CAST(:before AS bigint) IS NULL OR id < :before) ORDER BY id DESC LIMIT :limit
    """  # noqa: S608 -- the columns are ours
)
_RELEASE = sql(
    f"""
    UPDATE stops SET released_at = clock_timestamp(), released_by = :by WHERE id = :id AND released_at IS NULL
    RETURNING {_COLUMNS}
    """  # noqa: S608 -- the columns are ours
)
_ONE = sql(f"SELECT {_COLUMNS} FROM stops WHERE id = :id")  # noqa: S608 -- the columns are ours
STOPPED: Final = "stopped"
"""The code of the gate's reason: what waits for it is decided again when the switch is released."""
_WAITED = f"status = '{Status.DEFERRED}' AND due_at > decided_at AND reasons @> '[{{\"code\": \"{STOPPED}\"}}]'"
_WHO_WAITED = sql(
    f"SELECT DISTINCT recipient FROM messages WHERE {_WAITED} AND recipient > :past ORDER BY recipient LIMIT :most"  # noqa: S608
)
_HELD = made_due("m.decided_at", people="", where="m.recipient = ANY(CAST(:people AS text[]))")
# Each journey by its own part of one index; what is usual is asked only of those that send much just now.
_SURGES = sql(
    """
    SELECT j.key AS journey, lately.n AS lately, before.n * share.of_usual AS usual
    FROM journeys j
    CROSS JOIN LATERAL (
      SELECT extract(epoch FROM CAST(:over AS interval)) / extract(epoch FROM CAST(:usual AS interval)) AS of_usual) AS share
    CROSS JOIN LATERAL (
      SELECT count(*) AS n FROM messages m
      WHERE m.journey = j.key AND m.sent_at > clock_timestamp() - CAST(:over AS interval)) AS lately
    CROSS JOIN LATERAL (
      SELECT count(*) AS n FROM messages m WHERE lately.n > :least AND m.journey = j.key
        AND m.sent_at <= clock_timestamp() - CAST(:over AS interval)
        AND m.sent_at > clock_timestamp() - CAST(:over AS interval) - CAST(:usual AS interval)) AS before
    WHERE lately.n > :least AND lately.n > :times * before.n * share.of_usual
      AND NOT EXISTS (SELECT 1 FROM stops s WHERE s.scope = 'journey' AND s.name = j.key
                      AND (s.released_at IS NULL OR (s.by = :brake
                           AND s.released_at > clock_timestamp() - CAST(:over AS interval))))
    """
)


async def engage(connection: Connection, scope: KillSwitchScope, name: str, why: str, by: str) -> RowDict:
    """Throw a switch; the one that is thrown already, if it is. Waits for the decisions in hand."""
    await lock_until_commit(connection, Lock.STOPS)
    made = await fetch_one(connection, _THROW, scope=scope, name=name, why=why, by=by)
    found = made or await fetch_one(connection, _THROWN, scope=scope, name=name)
    assert found is not None
    return dict(found)


async def list_stops(connection: Connection, *, all_of_them: bool, before: int | None, limit: int) -> list[RowDict]:
    """What is stopped, or ever was; the newest first."""
    found = await fetch_all(connection, _LIST, all=all_of_them, before=before, limit=limit)
    return [dict(item) for item in found]


async def release_switch(database: Database, identity: int, by: str) -> RowDict | None:
    """Let it go on; what waited is decided again. None if there is no such stop; released twice is released once."""
    async with database.transaction() as connection:
        found = await fetch_one(connection, _RELEASE, id=identity, by=by)
        if found is None:
            found = await fetch_one(connection, _ONE, id=identity)
    if found is None:
        return None
    past, woken = "", 0
    while people := await retry_transaction(database, partial(_look_anew, past=past)):
        past, woken = people[-1], woken + len(people)
        if woken >= MOST_WOKEN:
            break
    return dict(found)


async def _look_anew(connection: Connection, past: str) -> list[str]:
    """The next people, and only then their messages: the order of every step, so that none waits for another in a circle."""
    people = [item["recipient"] for item in await fetch_all(connection, _WHO_WAITED, past=past, most=AT_ONCE)]
    await subjects.lock_subjects(connection, people)
    held = await fetch_all(connection, _HELD, people=people, codes=[STOPPED])
    for recipient in sorted({item["recipient"] for item in held}):
        await outbox.wake_outreach(connection, recipient)
    return people


async def engage_surging(connection: Connection, rule: SurgeBrake) -> list[RowDict]:
    """Stop each journey that sends far more than it usually does; those stopped just now.

    Who has released it knows better: the brake leaves that journey alone for as long as it counts.
    """
    over, usual = (length.at_most() for length in (rule.over, rule.usual))
    found = await fetch_all(
        connection, _SURGES, over=over, usual=usual, least=rule.least, times=rule.times, brake=BRAKE
    )
    stopped = []
    for item in found:
        why = f"{item['lately']} messages in {over}, usually {item['usual']:.0f}"
        stopped.append(await engage(connection, "journey", item["journey"], why, BRAKE))
    return stopped
