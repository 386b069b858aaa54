"""A withdrawal ends the runs that have nothing left to say under their topic, and no others (C5)."""

from __future__ import annotations

import httpx
import pytest

from journeys.decision.compiler import artifact_of, load_chart
from journeys.language.parsing import read_journey
from store.database import Database
from store.definitions.publishing import publish_definition

OPENS = "entry: {on: signed_up, again: always}\nexit: [{on: account_closed}]\nstart: a\nstates: {a: {do: %s}}\n"
JOURNEYS = {
    "both": "topic: onboarding\n" + OPENS % "[{send: x, via: [email, in_app]}, {send: bill, topic: billing}]",
    "due": "topic: onboarding\n" + OPENS % "[{send: x}, {send: receipt, priority: transactional}]",
    "offers": "topic: offers\n" + OPENS % "[{send: x}]",
    "calls": OPENS % "[{task: call, owner: sales}]",
}


@pytest.fixture(scope="module")
async def published(module_database_url: str) -> None:
    database = Database(module_database_url)
    for key, text in JOURNEYS.items():
        journey, source = read_journey(f"journey: {key}\n{text}")
        assert journey is not None, source.problems
        sealed = artifact_of(journey, {})
        await publish_definition(database, load_chart(sealed), sealed, text, "tests")
    await database.close()


@pytest.mark.parametrize(
    ("channel", "topic", "ended"),
    [
        ("email", "onboarding", 1),  # of `due`; `both` may still speak in the app
        ("*", "onboarding", 2),
        ("*", "billing", 0),  # not the topic of any of them
        ("*", "news", 0),  # `offers` has no yes yet, and lost none
        ("email", "offers", 1),
        ("*", "*", 2),  # a receipt is still due
    ],
)
async def test_C5_an_opt_out_ends_what_has_no_channel_of_its_topic_left(
    published: None, api: httpx.AsyncClient, sender: httpx.AsyncClient, channel: str, topic: str, ended: int
) -> None:
    who = f"{channel}-{topic}".replace("*", "all")
    event = {"userId": who, "messageId": who, "event": "Signed Up"}
    (await sender.post("/v1/track", json=event)).raise_for_status()
    open_runs = (await api.get(f"/v1/users/{who}/journeys")).json()["items"]
    assert {run["journey"] for run in open_runs} == set(JOURNEYS)
    wish = {"channel": channel, "topic": topic, "granted": False, "source": "tests"}
    answer = (await api.put(f"/v1/users/{who}/consents", json=wish)).raise_for_status()
    assert answer.json()["ended_runs"] == ended
