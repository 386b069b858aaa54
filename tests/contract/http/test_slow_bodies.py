"""Bodies that arrive slowly: they take neither places nor time of others, and end."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from api.http.arrivals import LEAST
from api.http.limits import Limits
from api.inbound.signatures import WebhookSecrets
from tests.support.api import OPERATE, WRITE, application, client
from tests.support.api_keys import make_api_key
from tests.support.unfinished import unfinished

EVENT = {"event": "pricing_viewed", "userId": "ada"}
SECRETS = WebhookSecrets(zendesk="secret-of-tests")


@pytest.mark.parametrize("sender", ["public key", "secret key", "no key"])
async def test_half_sent_bodies_shut_nobody_out(database_url, sender):
    app = application(database_url, limits=Limits(in_flight=8, network_in_flight=2), secrets=SECRETS)
    async with client(app) as server:
        public = (await make_api_key(server, "website", "public")).secret
        key, path = {
            "public key": (public, "/v1/identify"),
            "secret key": (WRITE, "/v1/batch"),
            "no key": ("", "/v1/hooks/zendesk"),
        }[sender]
        async with unfinished(app, key) as slow:
            await slow.half_sent(["203.0.113.1"] * 258, path, sent=b"{")
            assert slow.statuses == [], "their time is not over"
            assert (await server.post("/v1/track", json=EVENT, auth=(WRITE, ""))).status_code == 200
            visit = await server.post("/v1/page", json={"anonymousId": "v-1"}, auth=(public, ""))
            assert visit.status_code == 200, visit.text


@pytest.mark.parametrize("path", ["/v1/batch", "/v1/users/ada/signals", "/v1/journeys:check", "/v1/hooks/zendesk"])
async def test_a_body_that_is_late_gets_408_whatever_the_route(database_url, path):
    """The answer's own time has not begun: the database is not at fault."""
    app = application(database_url, limits=Limits(body_seconds=0.3, patience_seconds=0.2), secrets=SECRETS)
    async with client(app), unfinished(app, OPERATE) as slow:
        await slow.half_sent(["203.0.113.1"], path, sent=b"{")
        async with asyncio.timeout(10):
            await asyncio.gather(*slow.requests)
        assert slow.statuses == [408]


async def test_a_body_that_takes_longer_than_the_answer_may_is_accepted(database_url):
    app = application(database_url, limits=Limits(patience_seconds=1.5, body_seconds=20))
    content = json.dumps(EVENT).encode()

    async def slowly() -> Any:
        for start in range(0, len(content), 20):
            await asyncio.sleep(1)
            yield content[start : start + 20]

    async with client(app, WRITE) as server:
        assert (await server.post("/v1/track", content=slowly())).status_code == 200


async def test_where_too_much_arrives_the_largest_owner_loses_its_slowest(database_url):
    app = application(database_url, limits=Limits(arriving_bytes=10 * LEAST))
    async with client(app) as server:
        public = (await make_api_key(server, "website", "public")).secret
        async with unfinished(app, public) as others, unfinished(app, public) as slow:
            await others.half_sent([f"198.51.100.{n}" for n in range(3)], sent=b"{")
            await slow.half_sent(["203.0.113.1"] * 9, sent=b"{")
            async with asyncio.timeout(10):
                while len(slow.statuses) < 2:
                    await asyncio.sleep(0.01)
            assert (slow.statuses, others.statuses) == ([429, 429], [])
            assert slow.requests[0].done(), "the oldest"
            assert slow.requests[1].done()
            assert (await server.post("/v1/track", json=EVENT)).status_code == 200
