"""An opt-out ends the runs that have no channel left for their topic, and no others (C5)."""

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
        ("email", "onboarding", 1),  # of `due`; `both` may still send in the app
        ("*", "onboarding", 2),
        ("*", "billing", 0),  # not the topic of any of them
        ("*", "news", 0),  # no run has this topic
        ("email", "offers", 1),
        ("*", "*", 2),  # a receipt is still due
    ],
)
async def test_C5_an_opt_out_ends_the_runs_without_a_channel_left_for_their_topic(
    published: None, api: httpx.AsyncClient, sender: httpx.AsyncClient, channel: str, topic: str, ended: int
) -> None:
    user = f"{channel}-{topic}".replace("*", "all")
    event = {"userId": user, "messageId": user, "event": "Signed Up"}
    (await sender.post("/v1/track", json=event)).raise_for_status()
    open_runs = (await api.get(f"/v1/users/{user}/journeys")).json()["items"]
    assert {run["journey"] for run in open_runs} == set(JOURNEYS)
    consent = {"channel": channel, "topic": topic, "granted": False, "source": "tests"}
    answer = (await api.put(f"/v1/users/{user}/consents", json=consent)).raise_for_status()
    assert answer.json()["ended_runs"] == ended
