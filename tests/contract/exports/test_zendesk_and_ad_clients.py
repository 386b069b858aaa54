"""Firebase's, Zendesk's, Google's and Meta's clients send the same as our adapters and read what those wrote."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import firebase_admin
import pytest
from facebook_business.adobjects.customaudience import CustomAudience
from facebook_business.api import FacebookAdsApi
from facebook_business.exceptions import FacebookRequestError
from facebook_business.session import FacebookSession
from firebase_admin import credentials, exceptions, messaging
from google.ads import datamanager_v1 as datamanager
from google.ads.datamanager_v1.services.ingestion_service.transports.rest import IngestionServiceRestTransport
from google.api_core.exceptions import BadRequest
from google.auth.credentials import AnonymousCredentials, Credentials
from zenpy import Zenpy
from zenpy.lib.api_objects import Comment, Ticket
from zenpy.lib.exception import APIException, RecordNotFoundException

from activities.channels.http.channel import HttpChannel
from activities.exports.audiences.ad_platforms import GoogleAudiences, GooglePlatform, MetaAudiences, MetaPlatform
from activities.exports.audiences.membership import hashed_address
from activities.outgoing.client import HttpClient
from activities.ports import AttemptResult
from tests.support.provider import channels_at, google_key, outgoing, templates
from worker.stack.providers.environment import KEY
from worker.stack.providers.faults import ProviderFault
from worker.stack.providers.mail_and_phone import GONE
from worker.stack.providers.serving import LocalProvider

pytestmark = pytest.mark.filterwarnings("ignore:Message.token is deprecated")
"""Firebase plans to replace registration tokens by installation ids; its API accepts both."""
ADA = hashlib.sha256(b"ada@example.com").hexdigest()


@pytest.fixture
def our_channels(local: LocalProvider, http_client: HttpClient, tmp_path: Path) -> dict[str, HttpChannel]:
    return channels_at(local, templates(tmp_path), http_client)


async def send(channel: HttpChannel, key: str, **data: Any) -> Any:
    message = outgoing(channel, key, **data)
    prepared = channel.prepare(message)
    assert (await channel.deliver(prepared, key)).result is AttemptResult.SENT
    return prepared


# -- FCM ---------------------------------------------------------------------------------------------------------------


class Token(Credentials):
    """A token that exists already and stays the same when it is refreshed."""

    def refresh(self, request: Any) -> None:
        self.token = KEY


class Signed(credentials.Base):  # type: ignore[misc]  # it publishes no types
    """The credential that gives Firebase this token."""

    def get_credential(self) -> Any:
        return Token()


@pytest.fixture
def firebase(local: LocalProvider, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    url = f"{local.url}/fcm/v1/projects/{{0}}/messages:send"
    monkeypatch.setattr(messaging._MessagingService, "FCM_URL", url)
    app = firebase_admin.initialize_app(Signed(), {"projectId": "p"}, name=local.origin)
    yield app
    firebase_admin.delete_app(app)


async def test_firebases_client_sends_the_same_message_as_our_channel(local, firebase, our_channels):
    await send(our_channels["push"], "k")
    (ours_sent,) = (item["content"] for item in local.provider.accepted.search(provider="fcm"))
    tag = ours_sent["data"]["tag"]
    theirs = messaging.Message(
        token="device-of-ada",
        notification=messaging.Notification(**ours_sent["notification"]),
        data=ours_sent["data"],
        android=messaging.AndroidConfig(collapse_key=tag, notification=messaging.AndroidNotification(tag=tag)),
        apns=messaging.APNSConfig(headers={"apns-collapse-id": tag}),
    )
    message_name = await asyncio.to_thread(messaging.send, theirs, app=firebase)
    assert message_name.startswith("projects/p/messages/")
    assert local.provider.accepted.search(provider="fcm")[-1]["content"] == ours_sent


@pytest.mark.parametrize(
    ("status", "code", "means"),
    [
        (404, "UNREGISTERED", messaging.UnregisteredError),
        (403, "SENDER_ID_MISMATCH", messaging.SenderIdMismatchError),
        (429, "QUOTA_EXCEEDED", messaging.QuotaExceededError),
        (401, "THIRD_PARTY_AUTH_ERROR", messaging.ThirdPartyAuthError),
        (400, "INVALID_ARGUMENT", exceptions.InvalidArgumentError),
    ],
)
async def test_firebases_client_parses_the_local_providers_errors(local, firebase, status, code, means):
    local.provider.faults.add(ProviderFault(provider="fcm", kind="status", status=status, code=code, times=None))
    with pytest.raises(means):
        await asyncio.to_thread(messaging.send, messaging.Message(token="t"), app=firebase)


async def test_firebases_client_reports_a_removed_app_as_unregistered(firebase):
    with pytest.raises(messaging.UnregisteredError):
        await asyncio.to_thread(messaging.send, messaging.Message(token=GONE), app=firebase)


# -- Zendesk -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def zenpy(local: LocalProvider, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("ZENPY_FORCE_SCHEME", "http")
    monkeypatch.setenv("ZENPY_FORCE_NETLOC", f"{local.origin}/zendesk")
    return Zenpy(subdomain="acme", email="agent@x.example", token=KEY)


async def test_zenpy_opens_tickets_and_reads_the_audits_of_our_comments(local, zenpy, our_channels):
    opened = await asyncio.to_thread(
        zenpy.tickets.create, Ticket(subject="Hello", comment=Comment(body="Is it ready?"), external_id="e-1")
    )
    number = str(opened.ticket.id)
    prepared = await send(our_channels["support"], "k", ticket_id=number, ticket_tags="late vip")
    assert await our_channels["support"].find(prepared) is True
    audits = await asyncio.to_thread(lambda: list(zenpy.tickets.audits(ticket=int(number))))
    assert [(audit.metadata.to_dict().get("custom") or {}).get("key") for audit in audits][-1] == prepared.reference
    first_events = [audit.events[0] for audit in audits]
    assert "export is ready" in str(first_events[-1]["body"])
    tags = await asyncio.to_thread(zenpy.tickets.add_tags, int(number), ["other"])
    assert sorted(tags) == ["late", "other", "vip"]


async def test_a_comment_is_found_among_hundreds_and_a_missing_one_is_not(local, our_channels):
    prepared = await send(our_channels["support"], "k", ticket_id="35")
    for number in range(70):
        await send(our_channels["support"], f"k{number}", ticket_id="35")
    assert await our_channels["support"].find(prepared) is True
    last = await send(our_channels["support"], "the-last", ticket_id="35")
    assert await our_channels["support"].find(last) is True
    other = our_channels["support"].prepare(outgoing(our_channels["support"], "never", ticket_id="35"))
    assert await our_channels["support"].find(other) is False
    for number in range(500):
        local.provider.accepted.add("zendesk", to="35", content={"comment": {}}, kind="comment", number_=number)
    assert await our_channels["support"].find(other) is None, "the search ended at its limit, so absence is not certain"


async def test_zenpy_parses_the_local_providers_errors(local, zenpy):
    with pytest.raises(APIException) as empty:
        await asyncio.to_thread(zenpy.tickets.create, Ticket(subject="Hello"))
    assert empty.value.response.status_code == 422
    missing = Ticket(id=404404404, comment=Comment(body="?"))
    with pytest.raises(RecordNotFoundException):
        await asyncio.to_thread(zenpy.tickets.update, missing)


# -- Google ------------------------------------------------------------------------------------------------------------


def ingesting(local: LocalProvider) -> Any:
    """Google's client over REST at the address of the local provider; its session adds the token."""
    host = f"{local.origin}/google"
    transport = IngestionServiceRestTransport(host=host, credentials=AnonymousCredentials(), url_scheme="http")
    transport._session.headers["authorization"] = f"Bearer {KEY}"
    return datamanager.IngestionServiceClient(transport=transport)


async def test_googles_own_types_parse_every_field_that_our_platform_sends(local, http_client):
    settings = GoogleAudiences("123", "s@p", google_key(), f"{local.url}/google", f"{local.url}/google/token")
    tool = GooglePlatform(http_client, settings)
    for add in (True, False):
        assert (await tool.change("8765", [ADA], add=add)).result is AttemptResult.SENT
    added, removed = (item["request"] for item in local.provider.accepted.search(provider="google"))
    ingested = datamanager.IngestAudienceMembersRequest.from_json(json.dumps(added), ignore_unknown_fields=False)
    account = ingested.destinations[0].operating_account
    assert (account.account_type, account.account_id) == (datamanager.ProductAccount.AccountType.GOOGLE_ADS, "123")
    assert ingested.audience_members[0].user_data.user_identifiers[0].email_address == ADA
    granted = datamanager.ConsentStatus.CONSENT_GRANTED
    assert (ingested.consent.ad_user_data, ingested.consent.ad_personalization) == (granted, granted)
    gone = datamanager.RemoveAudienceMembersRequest.from_json(json.dumps(removed), ignore_unknown_fields=False)
    assert (gone.encoding, gone.destinations[0].product_destination_id) == (datamanager.Encoding.HEX, "8765")


async def test_googles_client_adds_members_and_gets_an_error_for_an_unhashed_address(local):
    client = await asyncio.to_thread(ingesting, local)
    member = {"user_data": {"user_identifiers": [{"email_address": ADA}]}}
    account = {"account_type": "GOOGLE_ADS", "account_id": "123"}
    ingestion = {
        "destinations": [{"operating_account": account, "product_destination_id": "8765"}],
        "audience_members": [member],
        "encoding": datamanager.Encoding.HEX,
    }
    done = await asyncio.to_thread(client.ingest_audience_members, ingestion)
    assert done.request_id.startswith("request-")
    member["user_data"]["user_identifiers"][0]["email_address"] = "ada@example.com"
    with pytest.raises(BadRequest):
        await asyncio.to_thread(client.ingest_audience_members, ingestion)


# -- Meta --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def custom_audience(local: LocalProvider, monkeypatch: pytest.MonkeyPatch) -> CustomAudience:
    monkeypatch.setattr(FacebookSession, "GRAPH", f"{local.url}/meta")
    return CustomAudience("120", api=FacebookAdsApi(FacebookSession(access_token=KEY)))


async def test_metas_client_hashes_and_sends_the_same_as_our_platform(local, http_client, custom_audience):
    address = " Ada@Example.com "
    await asyncio.to_thread(custom_audience.add_users, CustomAudience.Schema.email_hash, [address])
    tool = MetaPlatform(http_client, MetaAudiences(KEY, f"{local.url}/meta/v26.0"))
    assert (await tool.change("120", [hashed_address(address.strip(), "meta")], add=True)).result is AttemptResult.SENT
    theirs, our_channels = (item["content"] for item in local.provider.accepted.search(provider="meta"))
    assert theirs == our_channels == {"change": "add", "hashes": [ADA]}
    gone = await asyncio.to_thread(
        custom_audience.remove_users, CustomAudience.Schema.email_hash, [ADA], pre_hashed=True
    )
    assert gone.json()["num_received"] == 1


async def test_metas_client_parses_the_local_providers_errors(local, custom_audience):
    local.provider.faults.add(ProviderFault(provider="meta", kind="status", status=400, code="80003"))
    with pytest.raises(FacebookRequestError) as fast:
        await asyncio.to_thread(custom_audience.add_users, CustomAudience.Schema.email_hash, ["ada@example.com"])
    assert (fast.value.http_status(), fast.value.api_error_code()) == (400, 80003)
    stranger = CustomAudience("120", api=FacebookAdsApi(FacebookSession(access_token="wrong")))
    with pytest.raises(FacebookRequestError) as unknown:
        await asyncio.to_thread(stranger.add_users, CustomAudience.Schema.email_hash, ["ada@example.com"])
    assert unknown.value.api_error_code() == 190
