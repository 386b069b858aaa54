"""What a merge does: an anonymous visitor turns out to be a known user, and all that was theirs is the user's (U2).

Runs go on. What their old lane still holds reaches them from there, before anything of the new lane (`outbox.claim`), under
the numbers it always had, so that nothing is told twice. What the gate looks at moves: messages for caps and cooldowns,
consents of which a withdrawal wins, urgent tickets. Of a journey and case in which both are, the user's run stays.
"""

from __future__ import annotations

from datetime import datetime

from journeys.consent.preferences import merged_consents
from store.database import Connection, execute, fetch_all, sql
from store.events.admission import Admission
from store.inbox.items import CHANGED
from store.messages.ledger import move_messages
from store.outbox import queue as outbox
from store.people.subjects import Subject

_MARK = sql("UPDATE subjects SET merged_into = :into WHERE key = :gone")
_DECIDED = sql(
    """
    UPDATE subjects SET decided_at = greatest(decided_at, (SELECT g.decided_at FROM subjects g WHERE g.key = :gone))
    WHERE key = :into
    """
)
_FOLLOW = sql("UPDATE runs SET lane = :into, joined_seq = :seq WHERE lane = :gone")
_MOVES = (
    _MARK,
    _DECIDED,
    sql("UPDATE identities SET subject_key = :into WHERE subject_key = :gone"),
    sql("UPDATE checklist_items SET recipient = :into WHERE recipient = :gone"),
    sql(f"UPDATE inbox SET recipient = :into, {CHANGED} WHERE recipient = :gone"),  # noqa: S608 -- the expression is ours
    sql("UPDATE tasks SET subject_key = :into WHERE subject_key = :gone"),
    # Of two open tasks of one reason the user's stays, and who asked for the visitor's asks for that one.
    sql(
        """
        UPDATE task_asks a SET task_id = stay.id FROM tasks t JOIN tasks stay ON stay.reason = t.reason
        WHERE a.task_id = t.id AND t.scope_key = :gone AND t.status = 'open'
          AND stay.scope_key = :into AND stay.status = 'open'
        """
    ),
    sql(
        """
        WITH joined AS (
          UPDATE tasks t SET status = 'withdrawn', resolution = 'it is task ' || stay.id,
            closed_at = greatest(t.opened_at, stay.opened_at)
          FROM tasks stay WHERE t.scope_key = :gone AND t.status = 'open'
            AND stay.scope_key = :into AND stay.status = 'open' AND stay.reason = t.reason
          RETURNING t.id, t.closed_at, t.resolution),
        stale AS (UPDATE task_mirrors SET version = version + 1 WHERE task_id IN (SELECT id FROM joined))
        INSERT INTO task_log (task_id, at, kind, by, text)
        SELECT id, closed_at, 'withdrawn', 'tenure', resolution FROM joined
        """
    ),
    sql("UPDATE tasks SET scope_key = :into WHERE scope_key = :gone"),
    # A hold of the user's outlives the visitor's; both are kept.
    sql(
        """
        UPDATE holds SET released_at = greatest(since, least(until, clock_timestamp())), released_by = 'merge'
        WHERE subject_key = :gone AND released_at IS NULL
          AND EXISTS (SELECT 1 FROM holds h WHERE h.subject_key = :into AND h.released_at IS NULL)
        """
    ),
    sql("UPDATE holds SET subject_key = :into WHERE subject_key = :gone"),
    sql(
        """
        UPDATE conversations c SET recipient = :into WHERE recipient = :gone AND NOT EXISTS
          (SELECT 1 FROM conversations o WHERE o.recipient = :into AND o.run = c.run AND o.closed_at IS NULL)
        """
    ),
    sql(
        """
        INSERT INTO members (account_key, person_key, since)
        SELECT account_key, :into, since FROM members WHERE person_key = :gone ON CONFLICT DO NOTHING
        """
    ),
    sql("UPDATE consent_requests SET subject_key = :into WHERE subject_key = :gone"),
    # A ticket that both have is one ticket: what resolved it for one resolved it.
    sql(
        """
        INSERT INTO tickets (subject_key, ticket_id, opened_at, resolved_at)
        SELECT :into, ticket_id, opened_at, resolved_at FROM tickets WHERE subject_key = :gone
        ON CONFLICT (subject_key, ticket_id)
        DO UPDATE SET resolved_at = coalesce(tickets.resolved_at, excluded.resolved_at)
        """
    ),
    sql(
        """
        INSERT INTO audiences (audience, subject_key, changed_at, member, journey)
        SELECT audience, :into, changed_at, member, journey FROM audiences WHERE subject_key = :gone
        ON CONFLICT (audience, subject_key)
        DO UPDATE SET member = excluded.member, changed_at = excluded.changed_at, journey = excluded.journey
        WHERE excluded.changed_at > audiences.changed_at
        """
    ),
)
_SAID = sql(
    """
    SELECT subject_key, channel, topic, granted FROM consents
    WHERE subject_key = ANY(ARRAY[CAST(:gone AS text), CAST(:into AS text)]) ORDER BY channel, topic
    """
)
_SAY = sql(
    """
    WITH said AS (
      INSERT INTO consents (subject_key, channel, topic, granted, source, at)
      VALUES (:into, :channel, :topic, :granted, 'merge', :at) ON CONFLICT (subject_key, channel, topic)
      DO UPDATE SET granted = excluded.granted, source = excluded.source, at = excluded.at
    )
    INSERT INTO consent_log (subject_key, channel, topic, granted, source, at)
    VALUES (:into, :channel, :topic, :granted, 'merge', :at)
    """
)
_OWED = sql("SELECT 1 FROM messages WHERE recipient = :into AND status IN ('deferred', 'sending') LIMIT 1")


async def merge_subjects(
    connection: Connection, admission: Admission, gone: Subject, into: Subject, *, at: datetime, event_id: str
) -> None:
    """Both are locked. What the batch did before belongs to who they were then, so it is written first."""
    await admission.write()
    stay = admission.open_runs(into)
    # A number without a row: a timer that rings before the new lane has any asks for what the old one holds.
    await execute(connection, _FOLLOW, gone=gone.key, into=into.key, seq=into.next_seq())
    await move_messages(connection, gone.key, into.key)
    for statement in _MOVES:
        await execute(connection, statement, gone=gone.key, into=into.key)
    await _say(connection, gone, into, at)
    _know(gone, into)
    if await fetch_all(connection, _OWED, into=into.key):
        await outbox.wake_outreach(connection, into.key)
    await admission.load()
    await admission.end_doubles(into, stay, at, event_id)


def _know(gone: Subject, into: Subject) -> None:
    """What is known of the user wins; to the runs that come along all of it is news."""
    if into.account_key is None and gone.account_key is not None:
        into.account_key, into.dirty = gone.account_key, True
    if into.account_key != gone.account_key:
        into.changed.add("account")
    into.merge({name: value for name, value in gone.profile.items() if name not in into.profile})
    into.changed |= set(into.profile)
    instants = [each for each in (gone.decided_at, into.decided_at) if each is not None]
    into.decided_at = max(instants, default=None)


async def _say(connection: Connection, gone: Subject, into: Subject, at: datetime) -> None:
    said: dict[str, dict[tuple[str, str], bool]] = {gone.key: {}, into.key: {}}
    for item in await fetch_all(connection, _SAID, gone=gone.key, into=into.key):
        said[item["subject_key"]][item["channel"], item["topic"]] = item["granted"]
    for (channel, topic), granted in merged_consents(said[gone.key], said[into.key]).items():
        if said[into.key].get((channel, topic)) is not granted:
            await execute(connection, _SAY, into=into.key, channel=channel, topic=topic, granted=granted, at=at)
