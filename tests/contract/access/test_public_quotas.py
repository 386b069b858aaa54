"""Quotas of a public key: a stranger takes little of the room, however the requests are spread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
import pytest_asyncio

from api.events import quotas
from api.events.network_lines import PLACE_SECONDS
from api.events.quotas import SITE_NETWORKS
from api.events.screening import REFUSAL_SECONDS
from api.http.limits import Limits
from journeys.access.user_hash import user_hash
from tests.support.api import WRITE, application, client
from tests.support.api_keys import MadeForTests, make_api_key
from tests.support.unfinished import unfinished, visitor_locked

FEW: dict[str, Any] = {
    "public_requests": 1_000_000,
    "network_requests": 8,
    "network_people": 3,
    "network_addresses": 4,
    "person_events": 5,
    "address_claims": 2,
    "network_events": 20,
    "network_held": 2,
    "public_bytes": 100 * 1024,
}


def signed_in(key: MadeForTests, user: str) -> dict[str, Any]:
    return {"userId": user, "userHash": user_hash(key.view["identity_secret"], user)}


@pytest_asyncio.fixture
async def narrow(database_url) -> AsyncIterator[tuple[httpx.AsyncClient, MadeForTests]]:
    """A deployment with small quotas; the client sends with a public key."""
    app = application(database_url, limits=Limits(**FEW))
    async with client(app) as operator:
        key = await make_api_key(operator, "website", "public")
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://api", auth=(key.secret, "")
        ) as made:
            yield made, key


def is_used_up(answer: httpx.Response, what: str) -> bool:
    assert answer.status_code == 429, answer.text
    assert int(answer.headers["retry-after"]) > 0
    assert answer.json()["type"].endswith("quota-exceeded")
    return what in answer.json()["detail"]


async def test_the_requests_of_one_network_are_counted_and_nobody_elses_suffer(narrow):
    web, key = narrow
    answers = [await web.post("/v1/page", json={"anonymousId": "v-1"}) for _ in range(5)]
    assert {answer.status_code for answer in answers} == {200}
    assert is_used_up(await web.post("/v1/page", json={"anonymousId": "v-1"}), "events of this person")
    for n in (2, 3):
        assert (await web.post("/v1/page", json={"anonymousId": f"v-{n}"})).status_code == 200
    assert is_used_up(await web.post("/v1/page", json={"anonymousId": "v-2"}), "requests of this network")
    other = httpx.ASGITransport(web._transport.app, client=("203.0.113.9", 1))
    async with httpx.AsyncClient(transport=other, base_url="http://api", auth=(key.secret, "")) as neighbour:
        assert (await neighbour.post("/v1/page", json={"anonymousId": "v-9"})).status_code == 200


async def test_requests_beyond_a_quota_wait_for_their_refusals_side_by_side_and_take_no_place(database_url):
    app = application(database_url, limits=Limits(**{**FEW, "network_requests": 1, "network_in_flight": 1}))
    async with client(app) as operator:
        key = await make_api_key(operator, "website", "public")
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://api", auth=(key.secret, "")) as web:
            assert (await web.post("/v1/page", json={"anonymousId": "v-1"})).status_code == 200
            began = time.monotonic()
            answers = await asyncio.gather(*(web.post("/v1/page", json={"anonymousId": "v-1"}) for _ in range(30)))
            took = time.monotonic() - began
    assert all(is_used_up(answer, "requests of this network") for answer in answers)
    assert took < 30 * REFUSAL_SECONDS[0], "one after another they would take twice as long"


class UnreadBody:
    """A body of a known size that notes whether somebody asks for it."""

    def __init__(self, size: int) -> None:
        self.size, self.is_read = size, False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.is_read = True
        yield b" " * self.size


@pytest.mark.parametrize("path", ["/v1/page", "/v1/batch"])
async def test_a_request_whose_quota_of_bytes_is_used_up_is_refused_before_its_body_is_read(narrow, path, monkeypatch):
    """By `refuse_early`: what this process knows to be used up costs neither memory nor a question."""
    monkeypatch.setattr(quotas, "REMEMBERED_SECONDS", 60.0)
    web, _ = narrow
    for _ in range(5):
        large = {"anonymousId": "v-1", "context": {"note": "x" * 30_000}}
        if is_refused := (answer := await web.post("/v1/page", json=large)).status_code == 429:
            break
    assert is_refused
    assert is_used_up(answer, "bytes")
    body = UnreadBody(20_000)
    answer = await web.post(path, content=body, headers={"Content-Length": str(body.size)})
    assert is_used_up(answer, "bytes")
    assert not body.is_read


async def test_new_people_of_one_network_are_counted(narrow):
    web, _ = narrow
    batch = [{"type": "page", "anonymousId": f"v-{n}"} for n in range(4)]
    assert is_used_up(await web.post("/v1/batch", json={"batch": batch}), "new people of this network")
    assert (await web.post("/v1/batch", json={"batch": batch[:3]})).json()["accepted"] == 3
    assert is_used_up(await web.post("/v1/page", json={"anonymousId": "v-4"}), "new people of this network")
    assert (await web.post("/v1/page", json={"anonymousId": "v-0"})).status_code == 200


async def test_a_user_is_joined_to_few_new_visitors(narrow):
    """Each is a row that stays, so that one signed-in user would fill the store as many new people would."""
    web, key = narrow
    ada = signed_in(key, "ada")
    for n in (0, 0, 1, 2):
        assert (await web.post("/v1/page", json={**ada, "anonymousId": f"v-{n}"})).status_code == 200
    assert is_used_up(await web.post("/v1/page", json={**ada, "anonymousId": "v-3"}), "new people of this network")


async def test_an_address_is_asked_about_a_few_times_a_day_whoever_claims_it(narrow):
    web, _ = narrow
    for n in range(2):
        call = {"anonymousId": f"v-{n}", "traits": {"email": "Bombed@example.com"}}
        assert (await web.post("/v1/identify", json=call)).status_code == 200
        assert (await web.post("/v1/identify", json=call)).status_code == 200, "the same address again is no claim"
    call = {"anonymousId": "v-2", "traits": {"email": "bombed@example.com "}}
    assert is_used_up(await web.post("/v1/identify", json=call), "requests about this address")
    asked = {"anonymousId": "v-0", "traits": {"consents": {"email": {"offers": True}}}}
    assert is_used_up(await web.post("/v1/identify", json=asked), "requests about this address")


async def test_the_addresses_that_a_network_gives_people_are_counted(narrow):
    web, _ = narrow
    calls = [{"anonymousId": f"v-{n % 2}", "traits": {"email": f"person{n}@example.com"}} for n in range(5)]
    for call in calls[:4]:
        assert (await web.post("/v1/identify", json=call)).status_code == 200
    assert is_used_up(await web.post("/v1/identify", json=calls[4]), "addresses given by this network")


async def test_a_mailbox_is_asked_about_a_few_times_a_day_however_its_address_is_written(narrow):
    web, _ = narrow
    spellings = ("bombed@bücher.example", "Bombed+1@xn--bcher-kva.example", "bombed+2@BÜCHER.example")
    sent = [
        await web.post("/v1/identify", json={"anonymousId": f"v-{n % 2}", "traits": {"email": spelling}})
        for n, spelling in enumerate(spellings)
    ]
    assert [answer.status_code for answer in sent] == [200, 200, 429], [answer.text for answer in sent]


async def test_the_events_of_a_network_are_counted_in_however_few_requests_they_come(narrow):
    web, _ = narrow
    page = {"type": "page", "anonymousId": "v-1"}
    refused = {"type": "group", "anonymousId": "v-1", "groupId": "victims"}
    assert (await web.post("/v1/batch", json={"batch": [page] * 10})).status_code == 200
    for batch in ([page] * 11, [page, *[refused] * 10]):
        assert is_used_up(await web.post("/v1/batch", json={"batch": batch}), "events of this network")


async def test_strangers_do_not_fill_the_quarantine(narrow, database):
    web, _ = narrow
    page = {"type": "page", "anonymousId": "v-1"}
    order = {"type": "track", "event": "Order Completed", "anonymousId": "v-1"}
    first, second, third = ({**order, "messageId": f"order-{n}"} for n in range(3))
    invalid = {"event": "feature_used", "anonymousId": "v-1", "properties": {"feature": []}}
    assert (await web.post("/v1/batch", json={"batch": [page, first, second]})).json()["quarantined"] == 2
    assert is_used_up(await web.post("/v1/batch", json={"batch": [page, third]}), "for quarantine")
    assert is_used_up(await web.post("/v1/track", json=invalid), "for quarantine")
    assert (await web.post("/v1/batch", json={"batch": [page]})).json()["accepted"] == 1
    assert (await web.post("/v1/track", json=third)).status_code == 403, "alone it is stored nowhere, nor counted"
    async with database.reading() as connection:
        assert len(await connection.fetch("SELECT 1 FROM quarantine")) == 2


async def test_the_networks_of_one_site_are_counted_together(narrow):
    web, key = narrow
    answers = []
    for n in range(2 * SITE_NETWORKS):
        client_address = (f"2001:db8:1:{n:x}::1", 1)
        transport = httpx.ASGITransport(web._transport.app, client=client_address)
        async with httpx.AsyncClient(transport=transport, base_url="http://api", auth=(key.secret, "")) as visitor:
            batch = [{"type": "page", "anonymousId": f"v-{n}-{m}"} for m in range(FEW["network_people"])]
            answers.append((await visitor.post("/v1/batch", json={"batch": batch})).status_code)
    assert answers == [200] * SITE_NETWORKS + [429] * SITE_NETWORKS


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await condition():
            await asyncio.sleep(0.01)


async def test_requests_of_strangers_that_do_not_end_leave_room_for_those_of_servers(database_url):
    app = application(database_url, limits=Limits(in_flight=8, commits=8))
    async with client(app) as operator:
        key = await make_api_key(operator, "website", "public")
        async with unfinished(app, key.secret) as requests, visitor_locked(database_url, app, key.secret) as blocked:
            for n in range(8):
                requests.complete(f"203.0.113.{n}")

            async def half_are_refused() -> bool:
                return await blocked() > 0 and len(requests.statuses) == 4

            await until(half_are_refused)
            assert requests.statuses == [429] * 4, "half of the room is for strangers"
            event = {"event": "pricing_viewed", "userId": "ada"}
            assert (await operator.post("/v1/track", json=event, auth=(WRITE, ""))).status_code == 200


async def test_the_networks_of_one_site_wait_in_one_line(database_url):
    app = application(database_url, limits=Limits(network_in_flight=2, commits=8))
    async with client(app) as operator:
        key = await make_api_key(operator, "website", "public")
        async with unfinished(app, key.secret) as requests, visitor_locked(database_url, app, key.secret) as blocked:
            for n in (1, 2):
                requests.complete(f"2001:db8:1:{n}::1")

                async def waits(number: int = n) -> bool:
                    return bool(await blocked() == number)

                await until(waits)
            transport = httpx.ASGITransport(app, client=("2001:db8:1:3::1", 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://api", auth=(key.secret, "")) as visitor:
                line = asyncio.create_task(visitor.post("/v1/page", json={"anonymousId": "v-1"}))
                other = httpx.ASGITransport(app, client=("2001:db8:2:1::1", 1))
                async with httpx.AsyncClient(transport=other, base_url="http://api", auth=(key.secret, "")) as stranger:
                    assert (await stranger.post("/v1/page", json={"anonymousId": "v-2"})).status_code == 200
                assert not line.done(), "it waits behind its neighbours"
                line.cancel()


async def test_a_request_that_waits_long_for_its_network_is_refused_as_the_networks(database_url):
    """Not as the database's fault: the sender has to send less at the same time."""
    app = application(database_url, limits=Limits(network_in_flight=1, patience_seconds=PLACE_SECONDS + 2))
    async with client(app) as operator:
        key = await make_api_key(operator, "website", "public")
        async with unfinished(app, key.secret) as requests, visitor_locked(database_url, app, key.secret) as blocked:
            requests.complete("203.0.113.1")

            async def waits() -> bool:
                return bool(await blocked() == 1)

            await until(waits)
            transport = httpx.ASGITransport(app, client=("203.0.113.1", 2))
            async with httpx.AsyncClient(transport=transport, base_url="http://api", auth=(key.secret, "")) as visitor:
                answer = await visitor.post("/v1/page", json={"anonymousId": "v-1"})
    assert answer.status_code == 429, answer.text
    assert answer.json()["type"].endswith("quota-exceeded")
    assert "Send this one again in a moment." in answer.json()["detail"]


async def test_the_bytes_of_a_key_are_counted_over_all_its_senders(narrow):
    web, _ = narrow
    first, second = (
        {"batch": [{"type": "page", "anonymousId": visitor, "properties": {"a": "x" * 25_000}}] * 3}
        for visitor in ("v-1", "v-2")
    )
    assert (await web.post("/v1/batch", json=first)).status_code == 200
    assert is_used_up(await web.post("/v1/batch", json=second), "bytes of this key")


async def test_quotas_hold_over_two_processes(database_url):
    apps = [application(database_url, limits=Limits(**FEW)) for _ in range(2)]
    async with client(apps[0]) as operator, client(apps[1]):
        key = await make_api_key(operator, "website", "public")
        answers = []
        for n in range(12):
            transport = httpx.ASGITransport(apps[n % 2])
            async with httpx.AsyncClient(transport=transport, base_url="http://api", auth=(key.secret, "")) as web:
                answers.append((await web.post("/v1/page", json={"anonymousId": f"v-{n % 3}"})).status_code)
        assert answers.count(200) == 8
