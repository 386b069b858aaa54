"""The vendors' own clients against the local provider: its requests and answers have the vendors' shapes."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import pywebpush
import resend
from resend.exceptions import ResendError
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient
from standardwebhooks.webhooks import Webhook
from twilio.base.exceptions import TwilioRestException
from twilio.http import HttpClient
from twilio.http.response import Response
from twilio.rest import Client

from tests.contract.channels.test_http_channels import browser
from tests.support.provider import vapid_key
from worker.stack.providers.environment import KEY, WEBHOOK_SECRET
from worker.stack.providers.faults import ProviderFault
from worker.stack.providers.mail_and_phone import STOPPED
from worker.stack.providers.serving import LocalProvider, local_provider, provider

MAIL: dict[str, Any] = {"from": "A <a@x.example>", "to": ["b@x.example"], "subject": "Hello", "html": "<p>Hello</p>"}


@pytest.fixture
def resend_client(local: LocalProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resend, "api_key", KEY)
    monkeypatch.setattr(resend, "api_url", f"{local.url}/resend")


@pytest.mark.usefixtures("resend_client")
async def test_resends_client_sends_once_for_one_idempotency_key(local):
    options: Any = {"idempotency_key": "k-1"}
    sent = [await asyncio.to_thread(resend.Emails.send, dict(MAIL), options) for _ in range(2)]
    assert sent[0]["id"] == sent[1]["id"]
    assert len(local.provider.accepted.search(provider="resend", key="k-1")) == 1


@pytest.mark.usefixtures("resend_client")
async def test_resends_client_parses_the_local_providers_errors(local, monkeypatch):
    options: Any = {"idempotency_key": "k-1"}
    await asyncio.to_thread(resend.Emails.send, dict(MAIL), options)
    with pytest.raises(ResendError) as other:
        await asyncio.to_thread(resend.Emails.send, {**MAIL, "subject": "Another"}, options)
    assert other.value.error_type == "invalid_idempotent_request"
    monkeypatch.setattr(resend, "api_key", "wrong")
    with pytest.raises(ResendError) as unknown:
        await asyncio.to_thread(resend.Emails.send, dict(MAIL))
    assert unknown.value.error_type == "missing_api_key"


class Elsewhere(HttpClient):  # type: ignore[misc]  # the vendor publishes no types
    """Twilio's client has no base URL; this HTTP client sends its requests to the local provider."""

    def __init__(self, url: str) -> None:
        self._url = url

    def request(
        self, method, url, params=None, data=None, headers=None, auth=None, timeout=None, allow_redirects=False
    ):
        with httpx.Client() as client:
            there = url.replace("https://api.twilio.com", self._url)
            answer = client.request(method, there, params=params, data=data, headers=headers, auth=auth)
        return Response(answer.status_code, answer.text)


async def test_twilios_client_sends_and_parses_the_local_providers_errors(local):
    client = Client("AC1", KEY, http_client=Elsewhere(f"{local.url}/twilio"))
    sent = await asyncio.to_thread(client.messages.create, to="+4915112345678", from_="+15005550006", body="Hello")
    assert (sent.status, sent.sid[:2], sent.body) == ("queued", "SM", "Hello")
    with pytest.raises(TwilioRestException) as stopped:
        await asyncio.to_thread(client.messages.create, to=STOPPED, from_="+15005550006", body="Hello")
    assert (stopped.value.status, stopped.value.code) == (400, 21610)
    stranger = Client("AC1", "wrong", http_client=Elsewhere(f"{local.url}/twilio"))
    with pytest.raises(TwilioRestException) as unknown:
        await asyncio.to_thread(stranger.messages.create, to="+4915112345678", from_="+15005550006", body="Hello")
    assert unknown.value.code == 20003


async def test_slacks_client_posts_reads_back_and_parses_the_local_providers_errors(local):
    client = AsyncWebClient(token=KEY, base_url=f"{local.url}/slack/")
    metadata = {"event_type": "tenure_message", "event_payload": {"key": "k"}}
    posted = await client.chat_postMessage(channel="C1", text="Hello", metadata=metadata)
    assert posted["ts"]
    history = await client.conversations_history(channel="C1", include_all_metadata=True)
    assert history["messages"][0]["metadata"] == metadata
    with pytest.raises(SlackApiError) as missing:
        await client.chat_postMessage(channel="CNONE", text="Hello")
    assert missing.value.response["error"] == "channel_not_found"
    local.provider.faults.add(
        ProviderFault(provider="slack", kind="status", status=429, code="ratelimited", retry_after=30)
    )
    with pytest.raises(SlackApiError) as fast:
        await client.chat_postMessage(channel="C1", text="Hello")
    assert fast.value.response.headers["Retry-After"] == "30"


async def test_a_push_from_pywebpush_is_accepted(local):
    subscription, _, _ = browser(f"{local.url}/webpush/b")
    taken = await asyncio.to_thread(
        pywebpush.webpush,
        subscription,
        json.dumps({"title": "Hello"}),
        vapid_private_key=pywebpush.Vapid.from_pem(vapid_key().encode()),
        vapid_claims={"sub": "mailto:a@x.example"},
        ttl=60,
    )
    assert taken.status_code == 201


async def test_the_receiver_verifies_signatures_of_the_standardwebhooks_library(local):
    now, body = datetime.now(UTC), json.dumps({"type": "message", "data": {}})
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(WEBHOOK_SECRET).sign("msg_1", now, body),
    }
    async with httpx.AsyncClient() as client:
        answers = [await client.post(f"{local.url}/receiver/", content=body, headers=headers) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [204, 204]
        forged = await client.post(f"{local.url}/receiver/", content=body + " ", headers=headers)
    assert forged.status_code == 401
    assert len(local.provider.accepted.search(provider="receiver")) == 1


async def test_faults_are_set_and_accepted_messages_are_listed_over_http(local):
    async with httpx.AsyncClient(base_url=local.url) as client:
        fault = {"provider": "resend", "kind": "status", "status": 429, "retry_after": 3}
        assert (await client.post("/_faults", json=fault)).status_code == 201
        assert (await client.post("/_faults", json={"kind": "nonsense"})).status_code == 422
        headers = {"authorization": f"Bearer {KEY}", "idempotency-key": "k"}
        refused = await client.post("/resend/emails", json=MAIL, headers=headers)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "3")
        assert (await client.post("/resend/emails", json=MAIL, headers=headers)).status_code == 200
        (accepted,) = (await client.get("/_accepted", params={"provider": "resend", "key": "k"})).json()
        assert accepted["to"] == "b@x.example"
        assert (await client.get("/_accepted", params={"key": "other"})).json() == []


async def test_accepted_messages_survive_a_restart_of_the_local_provider(tmp_path):
    headers = {"authorization": f"Bearer {KEY}", "idempotency-key": "k"}
    for _ in range(2):
        async with local_provider(tmp_path) as made, httpx.AsyncClient(base_url=made.url) as client:
            assert (await client.post("/resend/emails", json=MAIL, headers=headers)).status_code == 200
            assert len((await client.get("/_accepted")).json()) == 1


async def test_with_a_token_the_record_and_the_faults_are_for_those_who_know_it():
    app = provider(token="the-token-of-this-stack")
    transport = httpx.ASGITransport(app.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://provider") as client:
        headers = {"authorization": f"Bearer {KEY}", "idempotency-key": "k"}
        assert (await client.post("/resend/emails", json=MAIL, headers=headers)).status_code == 200
        fault = {"provider": "resend", "kind": "status", "status": 429}
        for wrong in ({}, {"token": ""}, {"token": "another"}):
            for method, path in (
                ("GET", "/_accepted"),
                ("GET", "/_faults"),
                ("POST", "/_faults"),
                ("DELETE", "/_faults"),
            ):
                refused = await client.request(method, path, params=wrong, json=fault if method == "POST" else None)
                assert (refused.status_code, "b@x.example" in refused.text) == (401, False)
        for given in ({"params": {"token": app._token}}, {"headers": {"authorization": f"Bearer {app._token}"}}):
            (accepted,) = (await client.get("/_accepted", **given)).json()
            assert accepted["to"] == "b@x.example"
        assert (await client.get("/_health")).json() == {"accepted": 1}
