"""Retention deletes what is older than its period, in slices, and nothing that something else still needs."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from journeys.events.inbound import InboundEvent
from store.database import Database, execute, sql
from store.definitions.registry import DefinitionRegistry
from store.events.ingest import IngestResult, accept
from store.events.message_ids import id_digest
from store.people.subjects import lock_subjects
from store.retention import events as events_module
from store.retention.events import prune_events
from store.retention.periods import RetentionPeriods
from store.retention.visitors import REFERRING, prune_visitors
from tests.support.live_stack import until
from tests.support.members import Lanes
from worker.loops.retention import Retention

DAY = timedelta(days=1)
NOW = datetime(2026, 6, 1, tzinfo=UTC)
EVERYTHING = RetentionPeriods(
    events=30 * DAY,
    quarantine=30 * DAY,
    feed=30 * DAY,
    clicks=30 * DAY,
    visitors=30 * DAY,
    message_ids=90 * DAY,
    dead_letters=30 * DAY,
)
KEPT = RetentionPeriods()
_BLOCKED = sql("SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
_EVENTS = """
    INSERT INTO events (source, message_id, kind, name, subject_key, at, received_at, data)
    SELECT 'test', 'e' || n, 'track', 'looked', 'u_' || n, d, d, '{}'
    FROM generate_series(CAST(:first AS int), CAST(:last AS int)) AS n, LATERAL (SELECT CAST(:at AS timestamptz) AS d) AS day
"""


@pytest.fixture
def lanes(database: Database, monkeypatch: pytest.MonkeyPatch) -> Lanes:
    for module in ("events", "feed", "rows", "visitors"):
        monkeypatch.setattr(f"store.retention.{module}.SLICE", 10)
    return Lanes(database)


async def prune(lanes: Lanes, kind: str, now: datetime = NOW) -> None:
    """Delete everything of a kind, as if no statement were running that has not seen the kept ids."""
    retention = Retention(lanes.database, EVERYTHING)
    while True:
        if kind == "events":
            await lanes.execute("UPDATE retention SET kept_at = kept_at - interval '1 hour' WHERE kind = 'events'")
        if not await retention.delete_slice(kind, now):
            break


async def delete_visitors(lanes: Lanes) -> None:
    """The two rounds that delete visitors of whom nothing is left, as if no transaction were left from before the first."""
    await prune(lanes, "visitors")
    await age_marks(lanes)
    await prune(lanes, "visitors")


async def age_marks(lanes: Lanes) -> None:
    await lanes.execute("UPDATE subjects SET leaving_since = leaving_since - interval '1 hour'")


async def count(lanes: Lanes, table: str) -> int:
    (row,) = await lanes.rows(sql(f"SELECT count(*) AS n FROM {table}"))
    return int(row["n"])


async def taken(lanes: Lanes, message: str, raw: dict[str, object] | None = None) -> IngestResult:
    event = InboundEvent("track", message, "looked", user_id="ada", raw=raw)
    return await accept(lanes.database, DefinitionRegistry(), [event], source="test")


def test_by_default_only_delivered_rows_of_the_outbox_are_deleted(database: Database) -> None:
    assert list(Retention(database, KEPT).kinds) == ["outbox"]


async def test_events_beyond_their_period_are_deleted_and_their_ids_stay(lanes: Lanes) -> None:
    await lanes.execute(_EVENTS, first=1, last=25, at=NOW - 31 * DAY)
    await lanes.execute(_EVENTS, first=26, last=30, at=NOW - 29 * DAY)
    await prune(lanes, "events")
    assert (await count(lanes, "events"), await count(lanes, "message_ids")) == (5, 25)
    assert [(await taken(lanes, f"e{n}")).duplicates for n in (1, 25, 26, 30)] == [1, 1, 1, 1]
    assert (await taken(lanes, "e31")).accepted == 1


async def test_the_kept_id_is_the_one_that_ingestion_looks_for_with_its_content(lanes: Lanes) -> None:
    calls = [{"type": "track", "event": "looked", "userId": "ada", "properties": {"n": n}} for n in range(2)]
    assert (await taken(lanes, "größe-1", dict(calls[0]))).accepted == 1
    await prune(lanes, "events", NOW + 365 * DAY)
    (row,) = await lanes.rows(sql("SELECT digest FROM message_ids"))
    assert row["digest"] == id_digest("test", "größe-1")
    assert await count(lanes, "events") == 0
    again, other = await taken(lanes, "größe-1", dict(calls[0])), await taken(lanes, "größe-1", dict(calls[1]))
    assert (again.duplicates, again.quarantined) == (1, 0)
    assert (other.duplicates, other.quarantined) == (0, 1)


async def test_an_event_is_not_deleted_while_a_statement_may_run_that_has_not_seen_its_kept_id(lanes: Lanes) -> None:
    await lanes.execute(_EVENTS, first=1, last=3, at=NOW - 31 * DAY)
    for _ in range(5):
        async with lanes.database.transaction() as connection:
            slice_ = await prune_events(connection, NOW - 30 * DAY)
        if not slice_.more:
            break
    assert (await count(lanes, "events"), await count(lanes, "message_ids")) == (3, 3)
    assert (await taken(lanes, "e1")).duplicates == 1


async def test_ids_are_kept_a_bounded_way_ahead(lanes: Lanes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events_module, "MOST_KEPT", 20)
    await lanes.execute(_EVENTS, first=1, last=60, at=NOW - 31 * DAY)
    retention = Retention(lanes.database, EVERYTHING)
    while await retention.delete_slice("events", NOW):
        pass
    assert (await count(lanes, "events"), await count(lanes, "message_ids")) == (60, 20)


async def test_one_process_at_a_time_prunes_events(lanes: Lanes) -> None:
    await lanes.execute(_EVENTS, first=1, last=3, at=NOW - 31 * DAY)
    async with lanes.database.transaction() as one, lanes.database.transaction() as other:
        assert (await prune_events(one, NOW)).more
        assert not (await prune_events(other, NOW)).more


async def test_a_reaction_stays_as_long_as_its_line_of_the_feed(lanes: Lanes) -> None:
    await lanes.execute(_EVENTS, first=1, last=2, at=NOW - 60 * DAY)
    await lanes.execute(
        "INSERT INTO feed (at, message, status, decided, attempt, event) SELECT now(), 1, 'sent', false, 1, min(id) FROM events"
    )
    await prune(lanes, "events")
    assert [row["message_id"] for row in await lanes.rows(sql("SELECT message_id FROM events"))] == ["e1"]
    await lanes.execute("UPDATE feed SET at = CAST(:at AS timestamptz)", at=NOW - 31 * DAY)
    await prune(lanes, "feed")
    assert (await count(lanes, "events"), await count(lanes, "feed")) == (0, 0)
    assert (await taken(lanes, "e1")).duplicates == 1


async def test_an_event_and_its_line_are_deleted_although_both_slices_meet_them_at_once(lanes: Lanes) -> None:
    await lanes.execute(_EVENTS, first=1, last=1, at=NOW - 60 * DAY)
    await lanes.execute(
        "INSERT INTO feed (at, message, status, decided, attempt, event) "
        "SELECT CAST(:at AS timestamptz), 1, 'sent', false, 1, id FROM events",
        at=NOW - 31 * DAY,
    )
    retention = Retention(lanes.database, EVERYTHING)
    await retention.delete_slice("events", NOW)  # keeps the id
    await lanes.execute("UPDATE retention SET kept_at = kept_at - interval '1 hour' WHERE kind = 'events'")

    async def is_blocked_or_done() -> bool:
        return feed.done() or bool(await lanes.rows(_BLOCKED))

    async with lanes.database.transaction() as events:
        await prune_events(events, NOW)  # it sees the line, and leaves the event to it
        feed = asyncio.create_task(retention.delete_slice("feed", NOW))
        await until(is_blocked_or_done, bool)
    await feed
    assert (await count(lanes, "events"), await count(lanes, "feed")) == (0, 0)


async def test_lines_of_the_feed_stay_until_the_receiver_has_them(lanes: Lanes) -> None:
    await lanes.execute(
        "INSERT INTO feed (at, message, status, decided, attempt) SELECT CAST(:at AS timestamptz), 1, 'sent', false, 1 FROM generate_series(1, 25)",
        at=NOW - 31 * DAY,
    )
    pushed = Retention(lanes.database, EVERYTHING, pushes_feed=True)
    assert not await pushed.delete_slice("feed", NOW)
    assert await count(lanes, "feed") == 25
    await lanes.execute("UPDATE feed_push SET position = 3")
    await pushed.delete_slice("feed", NOW)
    assert await count(lanes, "feed") == 22
    await prune(lanes, "feed")
    assert await count(lanes, "feed") == 0


async def test_quarantine_and_dead_letters_and_clicks_and_old_ids_go(lanes: Lanes) -> None:
    for days, numbers in ((31, range(1, 16)), (29, range(16, 19))):
        for n in numbers:
            await lanes.execute(
                "INSERT INTO quarantine (source, message_id, name, faults, event, received_at) VALUES ('test', :id, 'x', '[]', '{}', :at)",
                id=f"q{n}",
                at=NOW - days * DAY,
            )
            await lanes.execute(
                "INSERT INTO dead_letters (run, step, n, name, reason, payload, recorded_at) VALUES (:id, 1, 1, 'x', '', '', :at)",
                id=f"r{n}",
                at=NOW - days * DAY,
            )
            await lanes.execute(
                "INSERT INTO clicks (message, link, first_at, last_at) VALUES (:id, 1, :at, :at)",
                id=f"m{n}",
                at=NOW - days * DAY,
            )
            await lanes.execute(
                "INSERT INTO message_ids (digest, accepted_at) VALUES (:id, :at)",
                id=id_digest("test", f"gone{n}"),
                at=NOW - (days + 60) * DAY,
            )
    for kind, left in (("quarantine", 3), ("dead_letters", 3), ("clicks", 3), ("message_ids", 3)):
        await prune(lanes, kind)
        assert await count(lanes, kind) == left
    assert (await taken(lanes, "gone1")).accepted == 1
    assert (await taken(lanes, "gone18")).duplicates == 1


async def visitor(lanes: Lanes, name: str) -> None:
    await lanes.accept(lanes.call("track", "looked", anonymous=name))


async def names(lanes: Lanes) -> set[str]:
    return {row["value"] for row in await lanes.rows(sql("SELECT value FROM identities"))}


async def test_visitors_of_whom_nothing_is_left_go_with_their_lanes(lanes: Lanes) -> None:
    for n in range(25):
        await visitor(lanes, f"v{n}")
    await lanes.accept(lanes.call("track", "looked", user="ada"), lanes.call("identify", anonymous="seen", plan="team"))
    await lanes.accept(lanes.call("identify", user="bob", anonymous="bobs"))
    await lanes.execute("UPDATE subjects SET updated_at = CAST(:at AS timestamptz)", at=NOW - 31 * DAY)
    await lanes.execute("UPDATE events SET received_at = CAST(:at AS timestamptz)", at=NOW - 31 * DAY)
    await visitor(lanes, "v0")
    await delete_visitors(lanes)
    assert len(await names(lanes)) == 29, "their events are there"
    await prune(lanes, "events")
    await delete_visitors(lanes)
    assert await names(lanes) == {"v0", "ada", "bob", "bobs"}
    assert (await count(lanes, "subjects"), await count(lanes, "lanes")) == (3, 3)
    await visitor(lanes, "v1")
    assert "v1" in await names(lanes), "who comes again is new"


REFERENCES = {
    "events": "(source, message_id, kind, name, subject_key, at, received_at, data) SELECT 's', 'e', 'track', 'x', key, now(), now(), '{}'",
    "consents": "(subject_key, channel, topic, granted, source, at) SELECT key, 'email', 'x', false, 's', now()",
    "consent_log": "(subject_key, channel, topic, granted, source, at) SELECT key, 'email', 'x', false, 's', now()",
    "consent_requests": "(subject_key, channel, topic, source, wording, proof, at) SELECT key, 'email', 'x', 's', '', '{}', now()",
    "holds": "(subject_key, since, until, by, why) SELECT key, now(), now(), 'dana', ''",
    "tickets": "(subject_key, ticket_id, opened_at, ends_at) SELECT key, 't', now(), now()",
    "members": "(account_key, person_key) SELECT 'a_1', key",
}


@pytest.mark.parametrize("table", sorted(REFERRING))
async def test_a_visitor_to_whom_something_refers_stays(lanes: Lanes, table: str) -> None:
    for name in ("referred", "nobody"):
        await visitor(lanes, name)
    await lanes.execute("DELETE FROM events")
    await lanes.execute(
        f"INSERT INTO {table} {REFERENCES[table]} FROM subjects WHERE key = :key", key=await lanes.key("referred")
    )
    await lanes.execute("UPDATE subjects SET updated_at = CAST(:at AS timestamptz)", at=NOW - 31 * DAY)
    await delete_visitors(lanes)
    assert await names(lanes) == {"referred"}


async def old_visitor(lanes: Lanes) -> str:
    """The key of the visitor `v`, of whom nothing is left, behind the first round."""
    await visitor(lanes, "v")
    await lanes.execute("DELETE FROM events")
    await lanes.execute("UPDATE subjects SET updated_at = CAST(:at AS timestamptz)", at=NOW - 31 * DAY)
    await prune(lanes, "visitors")
    return await lanes.key("v")


async def orphans(lanes: Lanes) -> int:
    """Events of nobody."""
    rows = await lanes.rows(
        sql("SELECT 1 FROM events e WHERE NOT EXISTS (SELECT 1 FROM subjects s WHERE s.key = e.subject_key)")
    )
    return len(rows)


async def test_a_visitor_stays_while_a_transaction_may_run_that_has_not_seen_their_mark(lanes: Lanes) -> None:
    key = await old_visitor(lanes)
    async with lanes.database.transaction() as accepting:  # it has read the visitor's key, and locks nobody
        await execute(
            accepting, sql(f"INSERT INTO events {REFERENCES['events']} FROM subjects WHERE key = :key"), key=key
        )
        await prune(lanes, "visitors")
    await age_marks(lanes)
    await prune(lanes, "visitors")
    assert (await names(lanes), await orphans(lanes)) == ({"v"}, 0)
    assert (await lanes.subject("v"))["leaving_since"] is None


async def test_an_event_of_a_visitor_who_is_being_deleted_waits_and_makes_them_new(lanes: Lanes) -> None:
    key = await old_visitor(lanes)
    await age_marks(lanes)
    async with lanes.database.transaction() as deleting:
        assert (await prune_visitors(deleting, NOW - 30 * DAY)).deleted == 1
        accepting = asyncio.create_task(visitor(lanes, "v"))
        await until(lambda: lanes.rows(_BLOCKED))
    await accepting
    assert (await orphans(lanes), await count(lanes, "events")) == (0, 1)
    assert await lanes.key("v") != key


async def test_a_visitor_whom_an_event_has_locked_stays_although_their_mark_is_old(lanes: Lanes) -> None:
    key = await old_visitor(lanes)
    await age_marks(lanes)
    async with lanes.database.transaction() as accepting:
        await lock_subjects(accepting, [key])
        await prune(lanes, "visitors")
        await execute(
            accepting, sql(f"INSERT INTO events {REFERENCES['events']} FROM subjects WHERE key = :key"), key=key
        )
    await prune(lanes, "visitors")
    assert (await names(lanes), await orphans(lanes)) == ({"v"}, 0)


async def test_events_of_a_marked_visitor_who_has_joined_an_account_are_accepted(lanes: Lanes) -> None:
    await old_visitor(lanes)
    await lanes.accept(lanes.call("group", anonymous="v", account="acme"))
    await visitor(lanes, "v")
    await age_marks(lanes)
    await prune(lanes, "visitors")
    assert await names(lanes) == {"v", "acme"}


async def test_the_loop_prunes_every_kind_until_it_is_stopped(lanes: Lanes) -> None:
    await lanes.execute(_EVENTS, first=1, last=5, at=NOW - 31 * DAY)
    await lanes.execute(
        "INSERT INTO quarantine (source, message_id, name, faults, event, received_at) VALUES ('t', 'q', 'x', '[]', '{}', :at)",
        at=datetime.now(UTC) - 31 * DAY,
    )
    stop = asyncio.Event()
    loop = asyncio.create_task(Retention(lanes.database, EVERYTHING).run(stop, every=0.05))

    async def is_pruned() -> bool:
        await lanes.execute("UPDATE retention SET kept_at = kept_at - interval '1 hour' WHERE kind = 'events'")
        return await count(lanes, "events") + await count(lanes, "quarantine") == 0

    await until(is_pruned)
    stop.set()
    await loop
