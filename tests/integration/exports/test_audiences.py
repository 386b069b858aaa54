"""Audiences at the advertising tools become what the journeys and the people want, whatever fails on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import pytest_asyncio

from activities.channels.allow_list import AllowList
from activities.exports.audiences.ad_platforms import (
    BATCH,
    AdPlatform,
    GoogleAudiences,
    GooglePlatform,
    MetaAudiences,
    MetaPlatform,
)
from activities.exports.audiences.membership import AudiencePlan, hashed_address, wanted_hash
from activities.exports.audiences.sync import AudienceSync, SyncResult
from activities.outgoing.client import HttpClient
from journeys.consent.changes import ConsentChange
from journeys.consent.rules import ConsentRuleSet
from journeys.events.inbound import InboundEvent
from journeys.gate.policy import Policy, load_policy
from store.consent.suppressions import lift, suppress
from store.database import Database, execute, fetch_all, sql
from store.definitions.registry import DefinitionRegistry
from store.events.changes import change_consents
from store.events.ingest import accept
from store.exports.audiences import AudienceMembership
from store.messages.kill_switches import KillSwitchScope, engage, release_switch
from tests.support.live_stack import living
from tests.support.provider import google_key
from worker.loops.audiences import PAUSE_SECONDS, AudienceLoop
from worker.stack.providers.environment import KEY
from worker.stack.providers.faults import ProviderFault
from worker.stack.providers.serving import LocalProvider, local_provider

PLANS = {
    "stalled": AudiencePlan(stage="onboarding", google="g-1", meta="m-1"),
    "everyone": AudiencePlan(meta="m-2"),
    "offered": AudiencePlan(topic="offers", meta="m-3"),
}
_PUT = sql(
    """
    INSERT INTO audiences (audience, subject_key, changed_at, member, journey)
    SELECT :audience, subject_key, clock_timestamp(), :member, 'retarget' FROM identities WHERE value = :user
    ON CONFLICT (audience, subject_key) DO UPDATE SET changed_at = excluded.changed_at, member = excluded.member
    """
)


RETARGET = """
journey: retarget
entry: {on: cart_left, again: never}
exit: [{on: bought}]
start: left
states: {left: {do: {audience: everyone}}}
"""
_CROWD = sql(
    """
    WITH made AS (INSERT INTO subjects (key, kind) SELECT '0_' || n, 'user' FROM generate_series(1, :people) n RETURNING key)
    INSERT INTO audiences (audience, subject_key, changed_at, member) SELECT :audience, key, clock_timestamp(), true FROM made
    """
)


class Advertising:
    """What a test drives."""

    def __init__(self, database: Database, local: LocalProvider, way: HttpClient) -> None:
        self.database, self.local, self.said = database, local, 0
        google = GoogleAudiences("1", "svc@p.example", google_key(), f"{local.url}/google", f"{local.url}/google/token")
        tools: list[AdPlatform] = [
            GooglePlatform(way, google),
            MetaPlatform(way, MetaAudiences(KEY, f"{local.url}/meta/v26.0")),
        ]
        self.book = ConsentRuleSet(policy=load_policy({"consent": [{"topic": "ads", "default": "required"}]}))
        self.tools = tools
        self.sync = AudienceSync(database, tools, PLANS, self.book)

    async def know(self, user: str, **traits: str) -> None:
        self.said += 1
        call = InboundEvent("identify", f"i{self.said}", "identify", user_id=user, traits=traits)
        await accept(self.database, DefinitionRegistry(), [call], source="test")

    async def put(self, audience: str, user: str, *, member: bool = True) -> None:
        async with self.database.transaction() as connection:
            await execute(connection, _PUT, audience=audience, user=user, member=member)

    async def say(self, user: str, channel: str, topic: str, *, granted: bool | None) -> None:
        async with self.database.reading() as connection:
            (found,) = await fetch_all(
                connection, sql("SELECT subject_key FROM identities WHERE value = :user"), user=user
            )
        change = ConsentChange(channel, topic, granted, "test")
        await change_consents(self.database, DefinitionRegistry(), Policy(), found["subject_key"], [change])

    async def crowd(self, audience: str, people: int) -> None:
        """As many who are wanted in and have no address: each batch of them changes nothing at any tool."""
        async with self.database.transaction() as connection:
            await execute(connection, _CROWD, audience=audience, people=people)

    async def stop(self, scope: KillSwitchScope, name: str = "") -> int:
        async with self.database.transaction() as connection:
            return int((await engage(connection, scope, name, "a wrong offer", "dana"))["id"])

    def inside(self, tool: str, audience: str) -> set[str]:
        """Who is in at the tool, after all that it took."""
        found: set[str] = set()
        for item in self.local.provider.accepted.search(provider=tool, to=audience):
            hashes = set(item["content"]["hashes"])
            found = found | hashes if item["content"]["change"] == "add" else found - hashes
        return found


@pytest_asyncio.fixture
async def ads(database_url: str) -> AsyncIterator[Advertising]:
    async with local_provider() as local:
        database, way = Database(database_url), HttpClient(frozenset({local.origin}))
        yield Advertising(database, local, way)
        await way.close()
        await database.close()


def of(*emails: str, tool: str = "meta") -> set[str]:
    return {hashed_address(email, tool) for email in emails}


async def test_who_is_put_in_and_taken_out_is_told_to_every_tool_once(ads):
    await ads.know("ada", email="Ada@Example.com", stage="onboarding")
    await ads.know("ben", email="ben@example.com", stage="onboarding")
    for user in ("ada", "ben"):
        await ads.put("stalled", user)
    assert await ads.sync.round() == SyncResult(added=4)
    assert ads.inside("google", "g-1") == ads.inside("meta", "m-1") == of("ada@example.com", "ben@example.com")
    assert await ads.sync.round() == SyncResult()
    await ads.put("stalled", "ben", member=False)
    assert await ads.sync.round() == SyncResult(removed=2)
    assert ads.inside("google", "g-1") == of("ada@example.com")
    assert len(ads.local.provider.accepted.search(provider="google")) == 2


async def test_outside_production_only_who_is_on_the_list_is_told_of(ads):
    await ads.know("ada", email="ada@example.com", stage="onboarding")
    await ads.know("eve", email="eve@customer.example", stage="onboarding")
    for user in ("ada", "eve"):
        await ads.put("stalled", user)
    careful = AudienceSync(ads.database, ads.tools, PLANS, ads.book, AllowList(["*@example.com"]))
    assert await careful.round() == SyncResult(added=2)
    assert ads.inside("google", "g-1") == ads.inside("meta", "m-1") == of("ada@example.com")
    assert await careful.round() == SyncResult()


async def test_only_people_known_to_be_in_the_stage_that_the_ads_fit_are_in(ads):
    await ads.know("ada", email="ada@example.com", stage="adoption")
    await ads.know("ben", email="ben@example.com")
    await ads.know("cyd", email="cyd@example.com", stage="onboarding")
    for user in ("ada", "ben", "cyd"):
        await ads.put("stalled", user)
    await ads.sync.round()
    assert ads.inside("meta", "m-1") == of("cyd@example.com")
    await ads.know("cyd", stage="adoption")
    await ads.sync.round()
    assert ads.inside("meta", "m-1") == set()


async def test_a_new_address_takes_the_place_of_the_old_one(ads):
    await ads.know("ada", email="ada@example.com")
    await ads.put("everyone", "ada")
    await ads.sync.round()
    await ads.know("ada", email="ada@new.example")
    await ads.sync.round()
    assert ads.inside("meta", "m-2") == of("ada@new.example")


@pytest.mark.parametrize("what", [("all", ""), ("channel", "audience"), ("journey", "retarget")])
async def test_a_stop_adds_nobody_takes_out_all_the_same_and_what_waited_is_added_at_its_release(ads, what):
    await ads.know("ada", email="ada@example.com")
    await ads.know("ben", email="ben@example.com")
    await ads.know("cyd", email="cyd@example.com")
    for user in ("ada", "ben"):
        await ads.put("everyone", user)
    await ads.sync.round()
    number = await ads.stop(*what)
    await ads.put("everyone", "cyd")
    await ads.know("ben", email="ben@new.example")
    await ads.put("everyone", "ada", member=False)
    assert await ads.sync.round() == SyncResult(removed=2)
    assert ads.inside("meta", "m-2") == set()
    assert await ads.sync.round() == SyncResult()
    await release_switch(ads.database, number, "dana")
    assert await ads.sync.round() == SyncResult(added=2)
    assert ads.inside("meta", "m-2") == of("ben@new.example", "cyd@example.com")


@pytest.mark.parametrize("what", [("channel", "email"), ("journey", "another"), ("template", "audience")])
async def test_a_stop_of_something_else_adds_on(ads, what):
    await ads.know("ada", email="ada@example.com")
    await ads.stop(*what)
    await ads.put("everyone", "ada")
    assert await ads.sync.round() == SyncResult(added=1)


async def test_a_stop_of_its_journey_holds_for_whom_it_put_in_also_after_a_merge(
    ads, database_url, temporal_address, task_queue, tmp_path
):
    async with living(database_url, temporal_address, task_queue, tmp_path) as deps:
        await deps.publish(RETARGET)
        await deps.accept(deps.identify("ada", email="ada@example.com"))
        await deps.accept(InboundEvent("track", "v1", "cart_left", anonymous_id="visitor"))
        await deps.until("SELECT count(*) FROM audiences")
        await deps.accept(InboundEvent("identify", "v2", "identify", "ada", anonymous_id="visitor"))
        assert await deps.rows("SELECT 1 FROM subjects WHERE merged_into IS NOT NULL")
    number = await ads.stop("journey", "retarget")
    assert await ads.sync.round() == SyncResult()
    await release_switch(ads.database, number, "dana")
    assert await ads.sync.round() == SyncResult(added=1)
    assert ads.inside("meta", "m-2") == of("ada@example.com")


async def test_an_opt_out_is_carried_out_before_a_crowd_that_came_earlier(ads):
    await ads.know("ada", email="ada@example.com")
    await ads.put("everyone", "ada")
    await ads.sync.round()
    await ads.crowd("everyone", BATCH + 1)
    await ads.say("ada", "*", "*", granted=False)
    assert await ads.sync.round() == SyncResult(removed=1, more=True)
    assert ads.inside("meta", "m-2") == set()


async def test_full_batches_that_change_nothing_are_gone_through_without_a_pause(ads):
    """Whoever stands behind them comes in while one who is told every 15 s would still wait."""
    await ads.crowd("everyone", 2 * BATCH + 1)
    await ads.know("ada", email="ada@example.com")
    await ads.put("everyone", "ada")
    stop = asyncio.Event()
    loop = asyncio.create_task(AudienceLoop(ads.sync).run(stop))
    try:
        async with asyncio.timeout(PAUSE_SECONDS - 1):
            while not ads.inside("meta", "m-2"):
                await asyncio.sleep(0.05)
    finally:
        stop.set()
        await loop


async def test_two_people_of_one_address_are_out_when_both_are(ads):
    for user in ("ada", "twin"):
        await ads.know(user, email="ada@example.com")
        await ads.put("everyone", user)
    await ads.sync.round()
    await ads.put("everyone", "twin", member=False)
    await ads.sync.round()
    assert ads.inside("meta", "m-2") == of("ada@example.com")
    await ads.put("everyone", "ada", member=False)
    await ads.sync.round()
    assert ads.inside("meta", "m-2") == set()


async def test_who_says_no_to_everything_is_taken_out(ads):
    await ads.know("ada", email="ada@example.com")
    await ads.put("everyone", "ada")
    await ads.sync.round()
    async with ads.database.transaction() as connection:
        await execute(connection, _REFUSE, user="ada", at=datetime.now(UTC))
    await ads.sync.round()
    assert ads.inside("meta", "m-2") == set()


@pytest.mark.parametrize(
    ("channel", "topic"),
    [("email", "offers"), ("audience", "*"), ("*", "offers"), ("email", "*"), ("audience", "offers")],
)
async def test_C5_who_refuses_the_ads_topic_is_taken_out_and_comes_back_when_they_take_it_back(ads, channel, topic):
    await ads.know("ada", email="ada@example.com")
    await ads.put("offered", "ada")
    await ads.sync.round()
    assert ads.inside("meta", "m-3") == of("ada@example.com")
    await ads.say("ada", channel, topic, granted=False)
    await ads.sync.round()
    assert ads.inside("meta", "m-3") == set()
    await ads.say("ada", channel, topic, granted=None)
    await ads.sync.round()
    assert ads.inside("meta", "m-3") == of("ada@example.com")


async def test_a_no_to_another_topic_leaves_them_in(ads):
    await ads.know("ada", email="ada@example.com")
    await ads.put("offered", "ada")
    await ads.say("ada", "email", "onboarding", granted=False)
    await ads.sync.round()
    assert ads.inside("meta", "m-3") == of("ada@example.com")


async def test_whose_address_is_suppressed_is_taken_out_or_never_put_in_and_comes_back_when_it_is_lifted(ads):
    await ads.know("ada", email="Ada@example.com")
    await ads.know("ben", email="ben@example.com")
    await ads.put("everyone", "ada")
    await ads.sync.round()
    addresses, now = ads.book.addresses, datetime.now(UTC)
    async with ads.database.transaction() as connection:
        for address in ("ada@example.com", "ben@example.com"):
            await suppress(connection, addresses, "email", address, reason="complaint", source="test", at=now)
    await ads.put("everyone", "ben")
    assert await ads.sync.round() == SyncResult(removed=1)
    assert ads.inside("meta", "m-2") == set()
    assert await ads.sync.round() == SyncResult()
    async with ads.database.transaction() as connection:
        await lift(connection, addresses, "email", "ben@example.com", by="dana", at=datetime.now(UTC))
    assert await ads.sync.round() == SyncResult(added=1)
    assert ads.inside("meta", "m-2") == of("ben@example.com")


async def test_who_is_erased_is_taken_out(ads):
    await ads.know("ada", email="ada@example.com")
    await ads.put("everyone", "ada")
    await ads.sync.round()
    async with ads.database.transaction() as connection:
        await execute(connection, sql("DELETE FROM subjects"))
    assert await ads.sync.round() == SyncResult(removed=1)
    assert ads.inside("meta", "m-2") == set()


def test_a_policy_that_asks_for_a_yes_keeps_those_out_who_have_not_said_it():
    now, plan = datetime.now(UTC), AudiencePlan(topic="ads", meta="m")
    rules = load_policy({"consent": [{"topic": "ads", "default": "required"}]})
    silent = AudienceMembership(True, "ada@example.com", None, {}, False, False, "", now)
    assert wanted_hash(silent, plan, "meta", rules) == ""
    said = replace(silent, consents={("audience", "ads"): True})
    assert wanted_hash(said, plan, "meta", rules) == hashed_address("ada@example.com", "meta")


_REFUSE = sql(
    """
    INSERT INTO consents (subject_key, channel, topic, granted, source, at)
    SELECT subject_key, '*', '*', false, 'test', :at FROM identities WHERE value = :user
    """
)


@pytest.mark.parametrize("kind", ["reset_after_accept", "reset", "status"])
async def test_whatever_fails_is_said_again_and_counts_once(ads, kind):
    await ads.know("ada", email="ada@example.com")
    await ads.put("everyone", "ada")
    ads.local.provider.faults.add(ProviderFault(provider="meta", kind=kind, status=500))
    assert (await ads.sync.round()).failed == 1
    assert await ads.sync.round() == SyncResult(added=1)
    assert ads.inside("meta", "m-2") == of("ada@example.com")


async def test_a_tool_that_is_down_is_left_alone_and_the_other_is_told(ads):
    await ads.know("ada", email="ada@example.com", stage="onboarding")
    ads.local.provider.faults.add(
        ProviderFault(provider="google", kind="status", status=503, to="audienceMembers", times=None)
    )
    await ads.put("stalled", "ada")
    for _ in range(10):
        await ads.sync.round()
    assert ads.inside("meta", "m-1") == of("ada@example.com")
    assert ads.local.provider.faults.happened == 3


@pytest.mark.parametrize("code", ["190", "17"])
async def test_a_tools_own_words_of_refusal_are_understood(ads, code):
    await ads.know("ada", email="ada@example.com")
    await ads.put("everyone", "ada")
    ads.local.provider.faults.add(ProviderFault(provider="meta", kind="status", status=400, code=code))
    assert (await ads.sync.round()).failed == 1
    assert (await ads.sync.round()).added == 1


def test_an_address_is_hashed_as_each_tool_asks():
    assert hashed_address(" Ada.L+x@GMail.com ", "google") == hashed_address("adal@gmail.com", "google")
    assert hashed_address("ada.l@gmail.com", "meta") != hashed_address("adal@gmail.com", "meta")
    assert hashed_address("not an address", "meta") == ""
