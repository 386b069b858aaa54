"""The order in which a person's events arrive changes neither their consents nor, inside one batch, any decision."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from journeys.consent.rules import ConsentRules, ConsentRuleSet
from journeys.events.inbound import InboundEvent
from store.database import Database
from store.definitions.registry import DefinitionRegistry
from tests.support.decided_lane import DecidedLane

JOURNEY = """
journey: setup
entry: {on: signed_up, again: always}
goal: {on: activated}
exit: [{on: closed}]
topic: onboarding
start: a
states:
  a: {do: [{send: setup/first-steps}], on: {moved: b}, after: {PT2H: c}}
  b: {on: {moved: c, seen: {to: a, lookback: PT1H}}}
  c: {do: [{send: setup/checklist}], on: {moved: a}}
"""
NAMES = ("signed_up", "activated", "closed", "moved", "seen")
RULES = ConsentRules.model_validate({"confirm": [{"channel": "email", "topic": "offers"}]})
A_DAY = 24 * 60
EXAMPLES = settings(max_examples=40, database=None, suppress_health_check=list(HealthCheck))

_minutes = st.lists(st.integers(1, A_DAY - 1), min_size=2, max_size=7, unique=True)


@st.composite
def shuffled_events(draw: st.DrawFn) -> tuple[list[tuple[int, str]], list[int]]:
    """Minutes ago and names of events in the order of their instants, and another order of their places."""
    happened = [(minutes, draw(st.sampled_from(NAMES))) for minutes in sorted(draw(_minutes), reverse=True)]
    return happened, draw(st.permutations(range(len(happened))))


@st.composite
def shuffled_statements(draw: st.DrawFn) -> tuple[list[tuple[int, dict[str, Any]]], list[int], list[int]]:
    """Minutes ago and traits of statements, another order of their places, and how many come with each request."""
    topics = st.sampled_from(("news", "offers"))
    stated = st.one_of(
        st.builds(lambda topic, granted: {"consents": {"email": {topic: granted}}}, topics, st.sampled_from((True, False, None))),
        st.builds(lambda granted: {"consents": {"email": granted}}, st.booleans()),
        st.builds(lambda gone: {"unsubscribed": gone}, st.booleans()),
    )  # fmt: skip
    said = [(minutes, draw(stated)) for minutes in sorted(draw(_minutes), reverse=True)]
    sizes = draw(st.lists(st.integers(1, 3), min_size=len(said), max_size=len(said)))
    return said, draw(st.permutations(range(len(said)))), sizes


async def test_the_order_of_a_batchs_list_changes_no_decision(database_url: str) -> None:
    await asyncio.to_thread(_play_batches, database_url)


def _play_batches(database_url: str) -> None:
    with asyncio.Runner() as runner:
        lane = DecidedLane(Database(database_url))
        runner.run(lane.publish(JOURNEY))
        users = (f"u{number}" for number in count())

        @EXAMPLES
        @given(shuffled_events())
        def same(drawn: tuple[list[tuple[int, str]], list[int]]) -> None:
            happened, places = drawn
            now = datetime.now(UTC)
            first, second = (
                runner.run(_decided(lane, next(users), now, [happened[place] for place in order]))
                for order in (range(len(happened)), places)
            )
            event(f"{len(first)} runs")
            assert first == second

        same()
        runner.run(lane.database.close())


async def _decided(lane: DecidedLane, user: str, now: datetime, listed: Sequence[tuple[int, str]]) -> Any:
    events = [lane.event(name, now - timedelta(minutes=minutes), user=user) for minutes, name in listed]
    await lane.accept(*events)
    return await lane.decided(user, until=now + timedelta(days=1))


async def test_the_order_and_lateness_of_a_days_statements_change_no_consent(database_url: str) -> None:
    await asyncio.to_thread(_play_statements, database_url)


def _play_statements(database_url: str) -> None:
    with asyncio.Runner() as runner:
        catalogue = DefinitionRegistry(consent=ConsentRuleSet(rules=RULES))
        lane = DecidedLane(Database(database_url), catalogue)
        users = (f"u{number}" for number in count())

        @EXAMPLES
        @given(shuffled_statements())
        def same(drawn: tuple[list[tuple[int, dict[str, Any]]], list[int], list[int]]) -> None:
            said, places, sizes = drawn
            now = datetime.now(UTC)
            in_order = runner.run(_consents(lane, next(users), now, said, [1] * len(said)))
            shuffled = runner.run(_consents(lane, next(users), now, [said[place] for place in places], sizes))
            assert in_order == shuffled

        same()
        runner.run(lane.database.close())


async def _consents(
    lane: DecidedLane,
    user: str,
    now: datetime,
    said: Sequence[tuple[int, dict[str, Any]]],
    sizes: Sequence[int],
) -> list[tuple[Any, ...]]:
    """What is in force after statements that came in requests of these sizes."""
    waiting: list[InboundEvent] = [
        lane.event("identify", now - timedelta(minutes=minutes), kind="identify", user=user, **traits)
        for minutes, traits in said
    ]
    for size in sizes:
        if waiting:
            await lane.accept(*waiting[:size])
            waiting = waiting[size:]
    rows = await lane.rows(
        """
        SELECT c.channel, c.topic, c.granted, c.at FROM consents c JOIN identities i USING (subject_key)
        WHERE i.value = :user AND c.in_force ORDER BY c.channel, c.topic
        """,
        user=user,
    )
    return [tuple(row.values()) for row in rows]
