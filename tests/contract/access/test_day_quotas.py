"""Bytes of a day: of each key, with more room for imports, and of each provider."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import pytest_asyncio
from standardwebhooks.webhooks import Webhook

from api.http.limits import Limits
from api.inbound.signatures import WebhookSecrets
from tests.support.api import application, client
from tests.support.api_keys import make_api_key

FEW = Limits(
    public_day_bytes=2_000,
    secret_day_bytes=4_000,
    operator_day_bytes=8_000,
    provider_day_bytes=3_000,
    wrong_key_seconds=0,
)
SVIX = "whsec_" + base64.b64encode(b"resend-signs-with-this-secret").decode()


@pytest_asyncio.fixture
async def operator(database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with client(application(database_url, limits=FEW, secrets=WebhookSecrets(resend=SVIX))) as made:
        yield made


def page(n: int) -> dict[str, Any]:
    return {"anonymousId": f"v-{n}", "properties": {"text": "x" * 900}}


def is_used_up(answer: httpx.Response, what: str) -> bool:
    assert answer.status_code == 429, answer.text
    assert 0 < int(answer.headers["retry-after"]) <= 24 * 3600
    return f"{what} in a day" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("kind", "scopes", "calls"), [("public", (), 2), ("secret", (), 4), ("operator", ("operate",), 8)]
)
async def test_a_key_has_its_bytes_of_a_day_and_another_key_its_own(operator, kind, scopes, calls):
    keys = [await make_api_key(operator, f"{kind}-{n}", kind, *scopes) for n in range(2)]
    for n in range(calls):
        assert (await operator.post("/v1/page", json=page(n), auth=(keys[0].secret, ""))).status_code == 200
    refused = await operator.post("/v1/page", json=page(99), auth=(keys[0].secret, ""))
    assert is_used_up(refused, "bytes of this key")
    signal = {"name": "setup_completed", "data": {"text": "x" * 900}}
    if kind != "public":
        assert is_used_up(
            await operator.post("/v1/users/ada/signals", json=signal, auth=(keys[0].secret, "")), "bytes of this key"
        )
    assert (await operator.post("/v1/page", json=page(1), auth=(keys[1].secret, ""))).status_code == 200


async def test_inbound_mails_have_their_own_bytes_of_a_day(operator):
    mail = b"From: ada@example.com\r\nIn-Reply-To: <none@example.com>\r\n\r\n" + b"x" * 1_300
    answers = [await operator.post("/v1/inbound-mails", content=mail) for _ in range(3)]
    assert [answer.status_code for answer in answers[:2]] == [202, 202]
    assert is_used_up(answers[2], "bytes of this provider")
    assert (await operator.post("/v1/page", json=page(1))).status_code == 200


async def test_a_provider_has_its_bytes_of_a_day_which_unsigned_calls_do_not_use_up(operator):
    async def call(identity: str, *, signed: bool = True) -> httpx.Response:
        body = json.dumps({"type": "email.delivered", "data": {"tags": {"tenure_key": "k"}, "text": "x" * 1_300}})
        at = datetime.now(UTC)
        signature = Webhook(SVIX).sign(identity, at, body) if signed else "v1,none"
        headers = {"svix-id": identity, "svix-timestamp": str(int(at.timestamp())), "svix-signature": signature}
        answer: httpx.Response = await operator.post("/v1/hooks/resend", content=body, headers=headers, auth=None)
        return answer

    assert [(await call(f"u-{n}", signed=False)).status_code for n in range(4)] == [401] * 4
    answers = [await call(f"s-{n}") for n in range(3)]
    assert [answer.status_code for answer in answers[:2]] == [202, 202]
    assert is_used_up(answers[2], "bytes of this provider")
