"""Audiences at advertising platforms follow journeys, consents and suppressions, also after failures."""

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
from tests.support.live_stack import live_stack
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
_SET_MEMBER = sql(
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
_ADD_PEOPLE = sql(
    """
    WITH made AS (INSERT INTO subjects (key, kind) SELECT '0_' || n, 'user' FROM generate_series(1, :people) n RETURNING key)
    INSERT INTO audiences (audience, subject_key, changed_at, member) SELECT :audience, key, clock_timestamp(), true FROM made
    """
)


class Advertising:
    """The sync with two platforms, and what changes its audiences."""

    def __init__(self, database: Database, local: LocalProvider, http_client: HttpClient) -> None:
        self.database, self.local, self.events = database, local, 0
        google = GoogleAudiences("1", "svc@p.example", google_key(), f"{local.url}/google", f"{local.url}/google/token")
        tools: list[AdPlatform] = [
            GooglePlatform(http_client, google),
            MetaPlatform(http_client, MetaAudiences(KEY, f"{local.url}/meta/v26.0")),
        ]
        self.rule_set = ConsentRuleSet(policy=load_policy({"consent": [{"topic": "ads", "default": "required"}]}))
        self.tools = tools
        self.sync = AudienceSync(database, tools, PLANS, self.rule_set)

    async def identify(self, user: str, **traits: str) -> None:
        self.events += 1
        call = InboundEvent("identify", f"i{self.events}", "identify", user_id=user, traits=traits)
        await accept(self.database, DefinitionRegistry(), [call], source="test")

    async def set_member(self, audience: str, user: str, *, member: bool = True) -> None:
        async with self.database.transaction() as connection:
            await execute(connection, _SET_MEMBER, audience=audience, user=user, member=member)

    async def change_consent(self, user: str, channel: str, topic: str, *, granted: bool | None) -> None:
        async with self.database.reading() as connection:
            (row,) = await fetch_all(
                connection, sql("SELECT subject_key FROM identities WHERE value = :user"), user=user
            )
        change = ConsentChange(channel, topic, granted, "test")
        await change_consents(self.database, DefinitionRegistry(), Policy(), row["subject_key"], [change])

    async def add_people_without_address(self, audience: str, people: int) -> None:
        """Add people without an address to the audience: they change nothing at any platform."""
        async with self.database.transaction() as connection:
            await execute(connection, _ADD_PEOPLE, audience=audience, people=people)

    async def engage_switch(self, scope: KillSwitchScope, name: str = "") -> int:
        async with self.database.transaction() as connection:
            return int((await engage(connection, scope, name, "a wrong offer", "dana"))["id"])

    def members_at(self, tool: str, audience: str) -> set[str]:
        """The hashes of the members at the platform, after all accepted changes."""
        members: set[str] = set()
        for item in self.local.provider.accepted.search(provider=tool, to=audience):
            hashes = set(item["content"]["hashes"])
            members = members | hashes if item["content"]["change"] == "add" else members - hashes
        return members


@pytest_asyncio.fixture
async def ads(database_url: str) -> AsyncIterator[Advertising]:
    async with local_provider() as local:
        database, http_client = Database(database_url), HttpClient(frozenset({local.origin}))
        yield Advertising(database, local, http_client)
        await http_client.close()
        await database.close()


def hashes_of(*emails: str, tool: str = "meta") -> set[str]:
    return {hashed_address(email, tool) for email in emails}


async def test_every_addition_and_removal_is_sent_to_every_platform_once(ads):
    await ads.identify("ada", email="Ada@Example.com", stage="onboarding")
    await ads.identify("ben", email="ben@example.com", stage="onboarding")
    for user in ("ada", "ben"):
        await ads.set_member("stalled", user)
    assert await ads.sync.round() == SyncResult(added=4)
    assert (
        ads.members_at("google", "g-1")
        == ads.members_at("meta", "m-1")
        == hashes_of("ada@example.com", "ben@example.com")
    )
    assert await ads.sync.round() == SyncResult()
    await ads.set_member("stalled", "ben", member=False)
    assert await ads.sync.round() == SyncResult(removed=2)
    assert ads.members_at("google", "g-1") == hashes_of("ada@example.com")
    assert len(ads.local.provider.accepted.search(provider="google")) == 2


async def test_outside_production_only_allow_listed_people_are_sent(ads):
    await ads.identify("ada", email="ada@example.com", stage="onboarding")
    await ads.identify("eve", email="eve@customer.example", stage="onboarding")
    for user in ("ada", "eve"):
        await ads.set_member("stalled", user)
    careful = AudienceSync(ads.database, ads.tools, PLANS, ads.rule_set, AllowList(["*@example.com"]))
    assert await careful.round() == SyncResult(added=2)
    assert ads.members_at("google", "g-1") == ads.members_at("meta", "m-1") == hashes_of("ada@example.com")
    assert await careful.round() == SyncResult()


async def test_only_people_in_the_stage_of_the_audience_are_members(ads):
    await ads.identify("ada", email="ada@example.com", stage="adoption")
    await ads.identify("ben", email="ben@example.com")
    await ads.identify("cyd", email="cyd@example.com", stage="onboarding")
    for user in ("ada", "ben", "cyd"):
        await ads.set_member("stalled", user)
    await ads.sync.round()
    assert ads.members_at("meta", "m-1") == hashes_of("cyd@example.com")
    await ads.identify("cyd", stage="adoption")
    await ads.sync.round()
    assert ads.members_at("meta", "m-1") == set()


async def test_a_changed_address_replaces_the_old_one(ads):
    await ads.identify("ada", email="ada@example.com")
    await ads.set_member("everyone", "ada")
    await ads.sync.round()
    await ads.identify("ada", email="ada@new.example")
    await ads.sync.round()
    assert ads.members_at("meta", "m-2") == hashes_of("ada@new.example")


@pytest.mark.parametrize("switch", [("all", ""), ("channel", "audience"), ("journey", "retarget")])
async def test_a_kill_switch_delays_additions_until_its_release_and_no_removals(ads, switch):
    await ads.identify("ada", email="ada@example.com")
    await ads.identify("ben", email="ben@example.com")
    await ads.identify("cyd", email="cyd@example.com")
    for user in ("ada", "ben"):
        await ads.set_member("everyone", user)
    await ads.sync.round()
    number = await ads.engage_switch(*switch)
    await ads.set_member("everyone", "cyd")
    await ads.identify("ben", email="ben@new.example")
    await ads.set_member("everyone", "ada", member=False)
    assert await ads.sync.round() == SyncResult(removed=2)
    assert ads.members_at("meta", "m-2") == set()
    assert await ads.sync.round() == SyncResult()
    await release_switch(ads.database, number, "dana")
    assert await ads.sync.round() == SyncResult(added=2)
    assert ads.members_at("meta", "m-2") == hashes_of("ben@new.example", "cyd@example.com")


@pytest.mark.parametrize("switch", [("channel", "email"), ("journey", "another"), ("template", "audience")])
async def test_a_kill_switch_of_another_scope_delays_nothing(ads, switch):
    await ads.identify("ada", email="ada@example.com")
    await ads.engage_switch(*switch)
    await ads.set_member("everyone", "ada")
    assert await ads.sync.round() == SyncResult(added=1)


async def test_a_kill_switch_of_the_journey_delays_the_addition_of_a_merged_visitor(
    ads, database_url, temporal_address, task_queue, tmp_path
):
    async with live_stack(database_url, temporal_address, task_queue, tmp_path) as stack:
        await stack.publish(RETARGET)
        await stack.accept(stack.identify("ada", email="ada@example.com"))
        await stack.accept(InboundEvent("track", "v1", "cart_left", anonymous_id="visitor"))
        await stack.until("SELECT count(*) FROM audiences")
        await stack.accept(InboundEvent("identify", "v2", "identify", "ada", anonymous_id="visitor"))
        assert await stack.rows("SELECT 1 FROM subjects WHERE merged_into IS NOT NULL")
    number = await ads.engage_switch("journey", "retarget")
    assert await ads.sync.round() == SyncResult()
    await release_switch(ads.database, number, "dana")
    assert await ads.sync.round() == SyncResult(added=1)
    assert ads.members_at("meta", "m-2") == hashes_of("ada@example.com")


async def test_an_opt_out_is_sent_before_earlier_additions(ads):
    await ads.identify("ada", email="ada@example.com")
    await ads.set_member("everyone", "ada")
    await ads.sync.round()
    await ads.add_people_without_address("everyone", BATCH + 1)
    await ads.change_consent("ada", "*", "*", granted=False)
    assert await ads.sync.round() == SyncResult(removed=1, more=True)
    assert ads.members_at("meta", "m-2") == set()


async def test_full_batches_that_change_nothing_are_processed_without_a_pause(ads):
    """The person behind them is added within one pause of the loop."""
    await ads.add_people_without_address("everyone", 2 * BATCH + 1)
    await ads.identify("ada", email="ada@example.com")
    await ads.set_member("everyone", "ada")
    stop = asyncio.Event()
    loop = asyncio.create_task(AudienceLoop(ads.sync).run(stop))
    try:
        async with asyncio.timeout(PAUSE_SECONDS - 1):
            while not ads.members_at("meta", "m-2"):
                await asyncio.sleep(0.05)
    finally:
        stop.set()
        await loop


async def test_an_address_of_two_people_is_removed_when_both_are_out(ads):
    for user in ("ada", "twin"):
        await ads.identify(user, email="ada@example.com")
        await ads.set_member("everyone", user)
    await ads.sync.round()
    await ads.set_member("everyone", "twin", member=False)
    await ads.sync.round()
    assert ads.members_at("meta", "m-2") == hashes_of("ada@example.com")
    await ads.set_member("everyone", "ada", member=False)
    await ads.sync.round()
    assert ads.members_at("meta", "m-2") == set()


async def test_an_opt_out_from_everything_removes_the_person(ads):
    await ads.identify("ada", email="ada@example.com")
    await ads.set_member("everyone", "ada")
    await ads.sync.round()
    async with ads.database.transaction() as connection:
        await execute(connection, _REFUSE, user="ada", at=datetime.now(UTC))
    await ads.sync.round()
    assert ads.members_at("meta", "m-2") == set()


@pytest.mark.parametrize(
    ("channel", "topic"),
    [("email", "offers"), ("audience", "*"), ("*", "offers"), ("email", "*"), ("audience", "offers")],
)
async def test_C5_an_opt_out_from_the_ads_topic_removes_the_person_until_it_is_revoked(ads, channel, topic):
    await ads.identify("ada", email="ada@example.com")
    await ads.set_member("offered", "ada")
    await ads.sync.round()
    assert ads.members_at("meta", "m-3") == hashes_of("ada@example.com")
    await ads.change_consent("ada", channel, topic, granted=False)
    await ads.sync.round()
    assert ads.members_at("meta", "m-3") == set()
    await ads.change_consent("ada", channel, topic, granted=None)
    await ads.sync.round()
    assert ads.members_at("meta", "m-3") == hashes_of("ada@example.com")


async def test_an_opt_out_from_another_topic_removes_nobody(ads):
    await ads.identify("ada", email="ada@example.com")
    await ads.set_member("offered", "ada")
    await ads.change_consent("ada", "email", "onboarding", granted=False)
    await ads.sync.round()
    assert ads.members_at("meta", "m-3") == hashes_of("ada@example.com")


async def test_a_suppressed_address_is_no_member_until_the_suppression_is_lifted(ads):
    await ads.identify("ada", email="Ada@example.com")
    await ads.identify("ben", email="ben@example.com")
    await ads.set_member("everyone", "ada")
    await ads.sync.round()
    addresses, now = ads.rule_set.addresses, datetime.now(UTC)
    async with ads.database.transaction() as connection:
        for address in ("ada@example.com", "ben@example.com"):
            await suppress(connection, addresses, "email", address, reason="complaint", source="test", at=now)
    await ads.set_member("everyone", "ben")
    assert await ads.sync.round() == SyncResult(removed=1)
    assert ads.members_at("meta", "m-2") == set()
    assert await ads.sync.round() == SyncResult()
    async with ads.database.transaction() as connection:
        await lift(connection, addresses, "email", "ben@example.com", by="dana", at=datetime.now(UTC))
    assert await ads.sync.round() == SyncResult(added=1)
    assert ads.members_at("meta", "m-2") == hashes_of("ben@example.com")


async def test_an_erased_person_is_removed(ads):
    await ads.identify("ada", email="ada@example.com")
    await ads.set_member("everyone", "ada")
    await ads.sync.round()
    async with ads.database.transaction() as connection:
        await execute(connection, sql("DELETE FROM subjects"))
    assert await ads.sync.round() == SyncResult(removed=1)
    assert ads.members_at("meta", "m-2") == set()


def test_a_topic_that_requires_consent_excludes_people_without_an_opt_in():
    now, plan = datetime.now(UTC), AudiencePlan(topic="ads", meta="m")
    rules = load_policy({"consent": [{"topic": "ads", "default": "required"}]})
    without_consent = AudienceMembership(True, "ada@example.com", None, {}, False, False, "", now)
    assert wanted_hash(without_consent, plan, "meta", rules) == ""
    opted_in = replace(without_consent, consents={("audience", "ads"): True})
    assert wanted_hash(opted_in, plan, "meta", rules) == hashed_address("ada@example.com", "meta")


_REFUSE = sql(
    """
    INSERT INTO consents (subject_key, channel, topic, granted, source, at)
    SELECT subject_key, '*', '*', false, 'test', :at FROM identities WHERE value = :user
    """
)


@pytest.mark.parametrize("kind", ["reset_after_accept", "reset", "status"])
async def test_a_failed_change_is_repeated_and_counted_once(ads, kind):
    await ads.identify("ada", email="ada@example.com")
    await ads.set_member("everyone", "ada")
    ads.local.provider.faults.add(ProviderFault(provider="meta", kind=kind, status=500))
    assert (await ads.sync.round()).failed == 1
    assert await ads.sync.round() == SyncResult(added=1)
    assert ads.members_at("meta", "m-2") == hashes_of("ada@example.com")


async def test_a_platform_that_is_down_does_not_delay_the_other(ads):
    await ads.identify("ada", email="ada@example.com", stage="onboarding")
    ads.local.provider.faults.add(
        ProviderFault(provider="google", kind="status", status=503, to="audienceMembers", times=None)
    )
    await ads.set_member("stalled", "ada")
    for _ in range(10):
        await ads.sync.round()
    assert ads.members_at("meta", "m-1") == hashes_of("ada@example.com")
    assert ads.local.provider.faults.happened == 3


@pytest.mark.parametrize("code", ["190", "17"])
async def test_a_change_is_repeated_after_metas_own_error_codes(ads, code):
    await ads.identify("ada", email="ada@example.com")
    await ads.set_member("everyone", "ada")
    ads.local.provider.faults.add(ProviderFault(provider="meta", kind="status", status=400, code=code))
    assert (await ads.sync.round()).failed == 1
    assert (await ads.sync.round()).added == 1


def test_an_address_is_hashed_by_the_rules_of_each_platform():
    assert hashed_address(" Ada.L+x@GMail.com ", "google") == hashed_address("adal@gmail.com", "google")
    assert hashed_address("ada.l@gmail.com", "meta") != hashed_address("adal@gmail.com", "meta")
    assert hashed_address("not an address", "meta") == ""
