"""History builds the profile and opens, sends and alarms nothing; entry looks back for its goal."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from journeys.consent.rules import ConsentRules, ConsentRuleSet
from store.database import Database
from store.definitions.registry import DefinitionRegistry
from store.reads.timeline import timeline_of_person
from tests.support.decided_lane import DecidedLane

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
SETUP = """
journey: setup
entry: {on: signed_up, again: always, when: "!known.profile.plan || profile.plan != 'none'"}
goal: {on: activated}
exit: [{on: closed}]
topic: onboarding
start: here
states:
  here: {do: [{send: setup/first-steps}], on: {moved: there}}
  there: {}
"""
PATIENT = SETUP.replace("journey: setup", "journey: patient").replace(
    "again: always", "again: always, max_age: P30D, lookback: {goal: P1D, exit: PT1H}"
)
ACCOUNTS = """
journey: contract
subject: account
entry: {on: contract_started, again: always}
goal: {on: contract_signed}
start: here
states: {here: {on: {seats_used: there}}, there: {}}
"""


@pytest.fixture
async def lane(database: Database) -> DecidedLane:
    lane = DecidedLane(database)
    for text in (SETUP, ACCOUNTS):
        await lane.publish(text, {"profile.plan": "string"})
    return lane


async def opened(lane: DecidedLane) -> list[str]:
    return [row["journey"] for row in await lane.rows("SELECT journey FROM runs ORDER BY journey, epoch")]


async def lines(lane: DecidedLane, user: str = "ada") -> list[str]:
    async with lane.database.reading() as connection:
        (row,) = await lane.rows("SELECT subject_key FROM identities WHERE value = :user", user=user)
        return [line["text"] for line in await timeline_of_person(connection, [row["subject_key"]], None, 50)]


# -- lookback ----------------------------------------------------------------------------------------------------------


async def test_a_goal_one_second_before_its_entry_keeps_the_run_from_beginning(lane: DecidedLane) -> None:
    now = datetime.now(UTC)
    await lane.accept(lane.event("activated", now - timedelta(seconds=2)))
    await lane.accept(lane.event("signed_up", now - timedelta(seconds=1)))
    assert await opened(lane) == []


async def test_a_goal_that_came_before_its_entry_and_happened_after_it_counts_too(lane: DecidedLane) -> None:
    now = datetime.now(UTC)
    await lane.accept(lane.event("activated", now - timedelta(seconds=1)))
    await lane.accept(lane.event("signed_up", now - timedelta(seconds=2)))
    assert await opened(lane) == []


async def test_an_older_goal_lets_the_person_in(lane: DecidedLane) -> None:
    now = datetime.now(UTC)
    await lane.accept(lane.event("activated", now - timedelta(hours=1)))
    await lane.accept(lane.event("signed_up", now))
    assert await opened(lane) == ["setup"]


async def test_a_goal_that_ended_the_last_run_does_not_prevent_the_next(lane: DecidedLane) -> None:
    now = datetime.now(UTC)
    await lane.accept(lane.event("signed_up", now - 3 * MINUTE), lane.event("activated", now - 2 * MINUTE))
    await lane.accept(lane.event("signed_up", now - MINUTE))
    assert await opened(lane) == ["setup", "setup"]


async def test_a_visitors_goal_counts_for_the_user_that_they_turn_out_to_be(lane: DecidedLane) -> None:
    now = datetime.now(UTC)
    await lane.accept(lane.event("seen", now - DAY))
    await lane.accept(replace(lane.event("activated", now - 2 * MINUTE, user=None), anonymous_id="v-1"))
    await lane.accept(replace(lane.event("signed_up", now - MINUTE), anonymous_id="v-1"))
    assert await opened(lane) == []


async def test_a_members_goal_counts_for_their_account(lane: DecidedLane) -> None:
    now = datetime.now(UTC)
    await lane.accept(lane.event("group", now - DAY, kind="group", account="acme"))
    await lane.accept(lane.event("contract_signed", now - 2 * MINUTE))
    await lane.accept(lane.event("contract_started", now - MINUTE, user=None, account="acme"))
    assert await opened(lane) == []


async def test_the_author_looks_back_further_and_for_exits(lane: DecidedLane) -> None:
    now = datetime.now(UTC)
    await lane.publish(PATIENT, {"profile.plan": "string"})
    for name, user, before in (("activated", "a", timedelta(hours=2)), ("closed", "b", MINUTE), ("closed", "c", DAY)):
        await lane.accept(lane.event(name, now - before, user=user))
        await lane.accept(lane.event("signed_up", now, user=user))
    assert await opened(lane) == ["patient", "setup", "setup", "setup"]
    (row,) = await lane.rows(
        "SELECT i.value FROM runs r JOIN identities i USING (subject_key) WHERE r.journey = 'patient'"
    )
    assert row["value"] == "c"


# -- history -----------------------------------------------------------------------------------------------------------


async def test_a_sign_up_of_march_2024_builds_the_profile_and_opens_nothing(lane: DecidedLane) -> None:
    then = datetime(2024, 3, 5, 10, tzinfo=UTC)
    await lane.accept(
        lane.event("identify", then, kind="identify", plan="pro"),
        lane.event("signed_up", then, identity="old"),
        lane.event("signed_up", identity="told", historical=True),
    )
    assert (await lane.profile())["plan"] == "pro"
    assert await opened(lane) == []
    assert await lane.rows("SELECT id FROM outbox WHERE kind = 'signal'") == []
    told = await lines(lane)
    assert "signed_up came from test; history, as its sender says: no journey received it" in told
    assert (
        "signed_up came from test; history: it happened at 2024-03-05 10:00 UTC, "
        "so it opened no journey without a longer max_age"
    ) in told


async def test_an_event_within_the_age_limit_opens_its_journey_and_says_nothing_of_history(lane: DecidedLane) -> None:
    await lane.accept(lane.event("signed_up", datetime.now(UTC) - timedelta(hours=47)))
    assert await opened(lane) == ["setup"]
    assert "signed_up came from test" in await lines(lane)


async def test_the_author_sets_another_age_limit(lane: DecidedLane) -> None:
    await lane.publish(PATIENT, {"profile.plan": "string"})
    old = datetime.now(UTC) - 20 * DAY
    await lane.accept(lane.event("signed_up", old), lane.event("moved", old + DAY))
    ((journey, _, state, _, _),) = await lane.decided()
    assert (journey, state) == ("patient", "there"), "what the same journey takes as no history moves its run"


async def test_an_old_event_moves_only_a_run_that_had_begun_when_it_happened(lane: DecidedLane) -> None:
    now = datetime.now(UTC)
    await lane.accept(lane.event("signed_up", now), lane.event("signed_up", now - timedelta(hours=1), user="bob"))
    await lane.rows(
        "UPDATE runs SET started_at = :at WHERE lane = :lane RETURNING id",
        at=now - 9 * DAY,
        lane=await _key(lane, "bob"),
    )
    for user in ("ada", "bob"):
        await lane.accept(lane.event("moved", now - 5 * DAY, user=user))
    states = {run[2] for run in await lane.decided()}
    assert states == {"here", "there"}


async def _key(lane: DecidedLane, user: str) -> str:
    (row,) = await lane.rows("SELECT subject_key FROM identities WHERE value = :user", user=user)
    return str(row["subject_key"])


async def test_told_history_moves_no_run_and_changes_its_fields(lane: DecidedLane) -> None:
    await lane.accept(lane.event("signed_up"))
    await lane.accept(lane.event("moved", historical=True), lane.event("activated", historical=True))
    ((_, _, state, outcome, _),) = await lane.decided()
    assert (state, outcome) == ("here", None)


async def test_an_accounts_history_reaches_no_member(lane: DecidedLane) -> None:
    await lane.accept(lane.event("group", kind="group", account="acme"), lane.event("signed_up"))
    await lane.accept(lane.event("moved", user=None, account="acme", historical=True))
    ((_, _, state, _, _),) = await lane.decided()
    assert state == "here"


async def test_a_grant_of_history_asks_nobody_for_a_confirmation_and_a_refusal_counts(database: Database) -> None:
    rules = ConsentRuleSet(rules=ConsentRules.model_validate({"confirm": [{"channel": "email", "topic": "news"}]}))
    lane = DecidedLane(database, DefinitionRegistry(consent=rules))
    then = datetime.now(UTC) - 400 * DAY
    await lane.accept(
        lane.event(
            "identify", then, kind="identify", consents={"email": {"news": True, "offers": False}}, email="a@x.io"
        )
    )
    await lane.accept(
        lane.event("identify", kind="identify", historical=True, user="bob", consents={"email": {"news": True}})
    )
    assert await lane.rows("SELECT id FROM consent_requests") == []
    assert await lane.rows("SELECT id FROM events WHERE name = 'consent_requested'") == []
    refused = await lane.rows("SELECT topic, granted FROM consents WHERE in_force")
    assert [(row["topic"], row["granted"]) for row in refused] == [("offers", False)]
