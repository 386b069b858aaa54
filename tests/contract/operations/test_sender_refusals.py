"""A provider that refuses us: one refusal for each code, in the readiness, until it is closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from journeys.consent.refusal_response import SLOW_AFTER, STOP_AFTER, RefusalResponse
from journeys.tokens.address_hash import AddressHash
from store.database import Database
from store.messages import sender_refusals
from store.retry import retry_transaction

HASHES = AddressHash(("k" * 32,))


@pytest_asyncio.fixture
async def database(module_database_url: str, db) -> AsyncIterator[Database]:
    database = Database(module_database_url)
    yield database
    await database.close()
    await db.execute("DELETE FROM sender_refusals")
    await db.execute("UPDATE stops SET released_at = now(), released_by = 'test' WHERE released_at IS NULL")


async def refuse(database: Database, domain: str, code: str = "5.7.26", times: int = 1) -> list[bool]:
    place = sender_refusals.place_of(HASHES, "email", f"ada@{domain}")

    async def once() -> bool:
        return await retry_transaction(
            database, lambda connection: sender_refusals.note_refusal(connection, "email", code, place)
        )

    return list(await asyncio.gather(*(once() for _ in range(times))))


async def responses(database: Database) -> list[RefusalResponse]:
    async with database.reading() as connection:
        return [response for _, response in await sender_refusals.responses(connection)]


async def test_reported_refusals_open_one_refusal_which_readiness_and_list_show_until_it_is_closed(api, database):
    assert (await api.get("/readyz")).json()["checks"]["senders"] == {
        "status": "ok", "detail": "no provider refuses us",
    }  # fmt: skip
    for number in range(3):
        refused = {"kind": "sender", "reason": "5.7.26", "channel": "email", "address": f"a{number}@example.com"}
        await api.post("/v1/users/ada/signals", json={"name": "message_bounced", "data": refused})
    answer = (await api.get("/readyz")).json()
    assert answer["status"] == "degraded"
    assert answer["checks"]["senders"]["status"] == "degraded"
    assert "email: 3 refusals with 5.7.26" in answer["checks"]["senders"]["detail"]
    (refusal,) = (await api.get("/v1/sender-refusals")).json()["items"]
    assert (refusal["channel"], refusal["code"], refusal["times"], refusal["stopped_at"]) == (
        "email",
        "5.7.26",
        3,
        None,
    )
    found = (await api.post("/v1/suppressions:find", json={"channel": "email", "address": "a0@example.com"})).json()
    assert not found["suppressed"]
    for _ in range(2):
        closed = await api.post(f"/v1/sender-refusals/{refusal['id']}/close", json={"by": "dana"})
        assert closed.json()["closed_at"] is not None
    assert (await api.get("/v1/sender-refusals")).json()["items"] == []
    assert [item["id"] for item in (await api.get("/v1/sender-refusals?all=true")).json()["items"]] == [refusal["id"]]
    assert (await api.get("/readyz")).json()["checks"]["senders"]["status"] == "ok"
    assert (await api.post("/v1/sender-refusals/999999/close", json={"by": "dana"})).status_code == 404


@pytest.mark.parametrize("kind", ["hard", "soft"])
async def test_a_bounce_about_the_recipient_opens_no_refusal(api, database, kind):
    refused = {"kind": kind, "reason": "5.1.1", "channel": "email", "address": "ben@example.com"}
    await api.post("/v1/users/ben/signals", json={"name": "message_bounced", "data": refused})
    assert (await api.get("/v1/sender-refusals")).json()["items"] == []


async def test_refusals_at_the_same_time_are_all_counted_and_open_one_refusal(database):
    assert sum(await refuse(database, "a.example", times=20)) == 1
    async with database.reading() as connection:
        assert [refusal["times"] for refusal in await sender_refusals.open_refusals(connection)] == [20]


async def test_a_channel_with_many_refusals_is_slowed_and_with_more_stopped_once(api, database):
    await refuse(database, "a.example", times=SLOW_AFTER - 1)
    assert await responses(database) == []
    await refuse(database, "a.example")
    assert await responses(database) == [RefusalResponse.SLOW]
    await refuse(database, "a.example", times=STOP_AFTER)
    assert await responses(database) == [RefusalResponse.SLOW], "one company may block us for its own"
    await refuse(database, "b.example")
    await refuse(database, "c.example")
    async with database.transaction() as connection:
        ((refusal, response),) = await sender_refusals.responses(connection)
        assert response is RefusalResponse.STOP
        assert await sender_refusals.stop_channel(connection, refusal)
    (switch,) = (await api.get("/v1/stops")).json()["items"]
    assert (switch["scope"], switch["name"], switch["by"]) == ("channel", "email", sender_refusals.BY_RULE)
    await api.post(f"/v1/stops/{switch['id']}/release", json={"by": "dana"})
    async with database.transaction() as connection:
        assert not await sender_refusals.stop_channel(connection, refusal), "not again after its release"


async def test_the_share_of_what_was_sent_decides_and_an_hour_later_the_count_begins_again(api, database, db):
    await api.post("/v1/users/eve/signals", json={"name": "signed_up"})
    await db.execute(
        "INSERT INTO definitions (hash, journey, version, artifact, source, published_by) VALUES ('d', 'j', 1, '', '', 'x')"
    )
    await db.execute("INSERT INTO journeys (key, hash) VALUES ('j', 'd')")
    await refuse(database, "a.example", times=SLOW_AFTER)
    await db.execute(
        """INSERT INTO messages (key, run, step, subject_key, recipient, journey, state, visit, action, template, via,
             priority, at, status, decided_at, channel, sent_at)
           SELECT 'sent-' || n, 'r', 1, 'u', 'u', 'j', 's', 1, 'hello', 't', '["email"]', 'lifecycle', now(),
             'sent', now(), 'email', now() + interval '1 second' FROM generate_series(1, 200) n"""
    )
    assert await responses(database) == [RefusalResponse.NONE]
    await db.execute("DELETE FROM messages WHERE key LIKE 'sent-%'")
    assert await responses(database) == [RefusalResponse.SLOW]
    await db.execute("UPDATE sender_refusals SET recent_since = now() - interval '61 minutes'")
    assert await responses(database) == []
    await refuse(database, "a.example")
    assert await db.fetchval("SELECT recent FROM sender_refusals WHERE closed_at IS NULL") == 1
    await db.execute("DELETE FROM journeys WHERE key = 'j'")
    await db.execute("DELETE FROM definitions WHERE hash = 'd'")


async def test_a_refusal_without_a_refusal_for_a_day_closes_by_itself(database, db):
    await refuse(database, "a.example")
    async with database.transaction() as connection:
        assert await sender_refusals.close_quiet(connection) == []
    await db.execute("UPDATE sender_refusals SET last_at = now() - interval '25 hours'")
    async with database.transaction() as connection:
        assert [refusal["closed_by"] for refusal in await sender_refusals.close_quiet(connection)] == [
            sender_refusals.BY_RULE
        ]
    assert await refuse(database, "a.example") == [True], "the next refusal opens another"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("550 5.7.1 relay access denied for …", "550 5.7.1"), ("5.7.26", "5.7.26"), ("30007", "30007"), ("401", "401"),
        ("429 daily_quota_exceeded too many", "429 daily_quota_exceeded"), ("400 21603 no sender", "400 21603"),
        ("550 Ada is blocked", "550"), ("reached your limit", "other"), ("", "other"),
    ],
)  # fmt: skip
def test_a_refusal_has_the_providers_code_and_none_of_its_words(words, code):
    assert sender_refusals.code_of(words) == code
