"""Within a batch the events' instants decide, whatever the order of its list."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from store.database import Database
from tests.support.decided_lane import DecidedLane

JOURNEY = """
journey: setup
entry: {on: signed_up, again: always}
goal: {on: activated}
topic: onboarding
start: here
states:
  here: {do: [{send: setup/first-steps}], on: {moved: there}}
  there: {on: {moved_back: here}}
"""
MINUTE = timedelta(minutes=1)


@pytest.fixture
async def lane(database: Database) -> DecidedLane:
    lane = DecidedLane(database)
    await lane.publish(JOURNEY)
    return lane


async def test_an_activation_listed_before_its_sign_up_ends_the_run(lane: DecidedLane) -> None:
    now = datetime.now(UTC)
    await lane.accept(lane.event("activated", now - MINUTE), lane.event("signed_up", now - 2 * MINUTE))
    ((_, _, _, outcome, _),) = await lane.decided()
    assert outcome == "reached"


async def test_events_without_a_time_keep_their_senders_order_and_come_last(lane: DecidedLane) -> None:
    past = datetime.now(UTC) - MINUTE
    await lane.accept(lane.event("moved"), lane.event("moved_back"), lane.event("signed_up", past))
    ((_, _, state, _, log),) = await lane.decided()
    assert state == "here"
    assert [line for line in log if "now in" in line] == [
        "on signed_up: now in here",
        "on moved: now in there, from here",
        "on moved_back: now in here, from there",
    ]


async def test_of_old_events_the_order_in_which_they_happened_decides(lane: DecidedLane) -> None:
    """Both are older than a day, so journeys reckon with their acceptance: one after the other all the same."""
    now = datetime.now(UTC)
    await lane.accept(
        lane.event("moved", now - timedelta(hours=1), identity="new"),
        lane.event("activated", now - timedelta(hours=29), identity="goal"),
        lane.event("signed_up", now - timedelta(hours=30), identity="entry"),
    )
    ((_, _, _, outcome, _),) = await lane.decided()
    assert outcome == "reached"
    rows = await lane.rows("SELECT message_id FROM events ORDER BY id")
    assert [row["message_id"] for row in rows] == ["entry", "goal", "new"]
    instants = [row["at"] for row in await lane.rows("SELECT at FROM events ORDER BY id")]
    assert instants == sorted(instants), "within a lane the instant of decision never falls"


async def test_another_person_keeps_their_own_instants(lane: DecidedLane) -> None:
    now = datetime.now(UTC)
    await lane.accept(
        lane.event("signed_up", now - timedelta(hours=30)), lane.event("signed_up", now - MINUTE, user="bob")
    )
    (bob,) = await lane.rows(
        "SELECT e.at FROM events e JOIN identities i USING (subject_key) WHERE i.value = 'bob' AND e.name = 'signed_up'"
    )
    assert bob["at"] == now - MINUTE


async def test_an_event_keeps_when_it_happened_where_journeys_reckon_otherwise(lane: DecidedLane) -> None:
    now = datetime.now(UTC)
    old = now - timedelta(days=30)
    await lane.accept(lane.event("seen", old, identity="old"), lane.event("seen", now - MINUTE, identity="new"))
    kept = {row["message_id"]: row for row in await lane.rows("SELECT message_id, at, occurred_at FROM events")}
    assert kept["old"]["occurred_at"] == old
    assert kept["old"]["at"] >= now
    assert kept["new"]["occurred_at"] is None, "it is `at`"
