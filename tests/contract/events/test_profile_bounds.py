"""Profiles have the declared fields and so many bytes; the rest stays in the events."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from api.http.limits import Limits
from tests.support.api import WRITE, application, client

KB = 1024


async def profile(db, value: str) -> dict[str, Any]:
    query = "SELECT profile FROM subjects s JOIN identities i ON i.subject_key = s.key WHERE i.value = $1"
    return dict(json.loads(await db.fetchval(query, value)))


async def identify(sender: httpx.AsyncClient, user: str, **traits: Any) -> dict[str, Any]:
    answer = await sender.post("/v1/identify", json={"userId": user, "traits": traits})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_undeclared_traits_stay_in_the_event(sender, db):
    await identify(sender, "undeclared", plan="team", shoe_size=43, email="u@x.example", chat_channel="C1")
    assert await profile(db, "undeclared") == {"plan": "team", "email": "u@x.example", "chat_channel": "C1"}
    stored = await db.fetchval(
        "SELECT e.data FROM events e JOIN identities i USING (subject_key) WHERE value = 'undeclared'"
    )
    assert json.loads(stored)["shoe_size"] == 43
    await sender.post(
        "/v1/group", json={"userId": "undeclared", "groupId": "bounded", "traits": {"name": "B", "fax": 1}}
    )
    assert await profile(db, "bounded") == {"name": "B"}


async def test_a_field_from_before_can_be_forgotten(sender, db):
    await identify(sender, "old", plan="team")
    await db.execute("UPDATE subjects SET profile = profile || '{\"shoe_size\": 43}' WHERE profile ? 'plan'")
    await identify(sender, "old", shoe_size=None)
    assert await profile(db, "old") == {"plan": "team"}


async def test_many_calls_make_no_profile_larger_than_its_bound(sender, db):
    names = ("first_name", "plan", "stage", "use_case", "campaign", "last_step")
    answers = [await identify(sender, "large", **{name: "x" * 20 * KB}) for name in names]
    assert [("quarantined" in answer) for answer in answers] == [False, False, False, True, True, True]
    assert answers[-1]["quarantined"] == ["traits: the profile may have at most 64 KB of fields"]
    assert len(json.dumps(await profile(db, "large"))) < 64 * KB
    await identify(sender, "large", first_name="short")
    assert "quarantined" not in await identify(sender, "large", use_case="x" * 20 * KB), "there is room again"


async def test_the_events_of_one_batch_count_together(sender, db):
    batch = [
        {"type": "identify", "messageId": f"many-{n}", "userId": "many", "traits": {name: "x" * 20 * KB}}
        for n, name in enumerate(("first_name", "plan", "stage", "use_case"))
    ]
    answer = (await sender.post("/v1/batch", json={"batch": batch})).json()
    assert (answer["accepted"], answer["quarantined"]) == (3, 1)
    assert answer["errors"][0]["errors"][0]["pointer"] == "/batch/3/traits"


@pytest.mark.parametrize("kind", ["profile", "account"])
async def test_a_profile_that_is_too_large_already_may_shrink(sender, db, kind):
    call: dict[str, Any] = {"userId": f"huge-{kind}"}
    if kind == "account":
        call["groupId"] = "huge"
    path, name = ("/v1/group", "huge") if kind == "account" else ("/v1/identify", call["userId"])
    await sender.post(path, json={**call, "traits": {"name": "a", "first_name": "b"}})
    await db.execute(
        "UPDATE subjects SET profile = profile || jsonb_build_object('plan', repeat('x', 100000), 'name', 'a') "
        "WHERE key = (SELECT subject_key FROM identities WHERE value = $1)",
        name,
    )
    assert (
        "quarantined" in (await sender.post(path, json={**call, "traits": {"name": "longer"}})).json()
        or kind == "profile"
    )
    assert (await sender.post(path, json={**call, "traits": {"plan": "short"}})).json() == {"success": True}
    assert (await profile(db, name))["plan"] == "short"


async def test_the_opt_out_of_a_call_without_room_counts(sender, api):
    await identify(sender, "refusing", first_name="x" * 30 * KB)
    await identify(sender, "refusing", plan="x" * 30 * KB)
    answer = await identify(sender, "refusing", use_case="x" * 20 * KB, consents={"email": {"offers": False}})
    assert "quarantined" in answer
    consents = (await api.get("/v1/users/refusing/consents")).json()["items"]
    assert [item["granted"] for item in consents if item["topic"] == "offers"] == [False]


async def test_visitors_that_are_merged_do_not_make_a_user_larger_than_the_bound(database_url):
    app = application(database_url, limits=Limits(profile_bytes=4 * KB, wrong_key_seconds=0))
    async with client(app, WRITE) as sender, client(app) as api:
        await identify(sender, "ada", first_name="x" * 2 * KB)
        for n, name in enumerate(("plan", "stage", "use_case", "campaign")):
            await sender.post("/v1/identify", json={"anonymousId": f"v-{n}", "traits": {name: "x" * 1_500}})
            await sender.post("/v1/identify", json={"anonymousId": f"v-{n}", "userId": "ada"})
        view = (await api.get("/v1/users/ada")).json()
        assert sorted(view["profile"]) == ["first_name", "plan"]
