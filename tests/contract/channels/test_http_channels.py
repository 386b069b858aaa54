"""Every HTTP channel against the local provider: what arrives, how often, and the result of each answer."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import http_ece
import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from activities.channels.email.resend import ResendChannel
from activities.channels.http.channel import Reach
from activities.channels.http.reply_tables import ReplyMeaning, ReplyRow
from activities.channels.push.channel import PushChannel
from activities.channels.push.web_push import padless, unpadded
from activities.channels.slack import SlackChannel
from activities.channels.twilio import TwilioChannel
from activities.channels.webhook import WebhookChannel, WebhookSettings
from activities.channels.zendesk import ZendeskChannel
from activities.channels.zoom import ZoomChannel
from activities.content.templates import Templates, load_templates
from activities.content.tracked_links import ClickLinks
from activities.outgoing.client import HttpClient
from activities.outgoing.guarded_channel import GuardedChannel
from activities.outgoing.rate_limit import Rate
from activities.ports import Ambiguity, AttemptResult, ClockTime, Prepared, Promise, Receipt, TemplateFault
from journeys.events.tracing import trace_id_of
from tests.support.provider import ADA, URGENT, VENDORS, channels_at, outgoing, templates
from worker.stack.providers.environment import KEY as PROVIDER_KEY
from worker.stack.providers.environment import MISSING_ID
from worker.stack.providers.faults import ProviderFault
from worker.stack.providers.mail_and_phone import GONE, NO_NUMBER, STOPPED
from worker.stack.providers.serving import LocalProvider, local_provider

KEY = "journey/j/u_1/-/1#s.1/send.1>u_1"
NAMES = sorted(VENDORS)


@pytest_asyncio.fixture(scope="module")
async def server() -> AsyncIterator[LocalProvider]:
    async with local_provider() as made:
        yield made


@pytest.fixture
def local(server: LocalProvider) -> LocalProvider:
    """The provider of the module, with its accepted messages, faults and counts cleared."""
    server.provider.accepted.clear()
    server.provider.faults.clear()
    server.provider.requests.clear()
    server.provider.key = PROVIDER_KEY
    return server


@pytest.fixture
def known(tmp_path: Path) -> Templates:
    return templates(tmp_path / "templates")


@pytest.fixture
def channels(local: LocalProvider, known: Templates, http_client: HttpClient):
    return channels_at(local, known, http_client)


def accepted_by(local: LocalProvider, name: str, kind: str | None = None) -> list[dict[str, Any]]:
    """The messages that the vendor accepted on this channel."""
    accepted = local.provider.accepted.search(provider=VENDORS[name])
    return [item for item in accepted if kind is None or item.get("kind") == kind]


@pytest.mark.parametrize("name", NAMES)
async def test_a_message_arrives_with_our_reference(local, channels, name):
    channel = channels[name]
    prepared = channel.prepare(outgoing(channel))
    assert (await channel.deliver(prepared, KEY)).result is AttemptResult.SENT
    (item,) = accepted_by(local, name)
    assert prepared.reference[:32] in item["key"] or name == "webinar"


@pytest.mark.parametrize("name", NAMES)
async def test_an_empty_profile_has_an_address_only_on_shared_channels(channels, name):
    shared = {"chat": "C0ALL", "webhook": channels["webhook"].address({}, "u")}
    assert channels[name].address({}, "u_1") == shared.get(name)


@pytest.mark.parametrize("name", ["sms", "push"])
async def test_C7_a_template_that_is_not_time_sensitive_is_refused_by_sms_and_push(channels, name):
    channel = channels[name]
    calm = replace(outgoing(channel), template="export/calm")
    with pytest.raises(TemplateFault, match="time-sensitive"):
        channel.prepare(calm)


# -- clicks ------------------------------------------------------------------------------------------------------------

CLICKS = ClickLinks(("a secret of at least sixteen",), "https://l.example", "https://t.example")
URL = "https://app.example.com/exports"


def tracked_links(prepared: Prepared) -> list[tuple[tuple[str, int] | None, str]]:
    """For each tracked link in the body: the message and link of its token, and the target in the ledger."""
    tokens = re.findall(r"https://l\.example/c/([A-Za-z0-9_-]+)", prepared.body.decode())
    links = [link["url"] for link in prepared.summary.get("links", [])]
    return list(zip(map(CLICKS.read, dict.fromkeys(tokens)), links, strict=True))


@pytest.mark.parametrize("name", ["email", "sms", "push", "chat", "support"])
async def test_M1_links_are_tracked_on_channels_whose_links_the_recipient_opens(local, known, http_client, name):
    channel = channels_at(local, known, http_client, clicks=CLICKS)[name]
    prepared = channel.prepare(outgoing(channel))
    assert (await channel.deliver(prepared, KEY)).result is AttemptResult.SENT
    (item,) = accepted_by(local, name)
    assert URL not in str(item["content"])
    assert "https://l.example/c/" in str(item["content"])
    assert tracked_links(prepared) == [((prepared.reference, 0), URL)]
    assert len(CLICKS.token(prepared.reference, 0)) == 67, "a short message has 160 characters"


@pytest.mark.parametrize("name", ["webhook", "webinar", "support"])
async def test_M1_links_are_not_tracked_where_no_recipient_opens_them(local, known, http_client, name):
    channel = channels_at(local, known, http_client, clicks=CLICKS)[name]
    prepared = channel.prepare(outgoing(channel, ticket_id="77", ticket_internal=name == "support"))
    assert (URL in prepared.body.decode()) == (name != "webinar")
    assert "links" not in prepared.summary
    assert "l.example" not in prepared.body.decode()


async def test_M1_links_to_our_own_pages_are_not_tracked(local, tmp_path, http_client):
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "ready.md").write_text(URGENT.replace(URL, "https://t.example/p/token"))
    channel = channels_at(local, load_templates(tmp_path), http_client, clicks=CLICKS)["sms"]
    prepared = channel.prepare(outgoing(channel))
    assert "https://t.example/p/token" in prepared.body.decode()
    assert tracked_links(prepared) == []


# -- promises ----------------------------------------------------------------------------------------------------------

LOST = ["hang_after_accept", "reset_after_accept"]


@pytest.mark.parametrize("name", [name for name in NAMES if name in {"email", "webhook"}])
@pytest.mark.parametrize("kind", LOST)
async def test_class_a_a_retry_after_a_lost_answer_makes_one_message(local, channels, name, kind):
    channel = channels[name]
    assert channel.promise is Promise.KEYED
    prepared = channel.prepare(outgoing(channel))
    local.provider.faults.add(ProviderFault(provider=VENDORS[name], kind=kind))
    assert (await channel.deliver(prepared, KEY)).result is AttemptResult.UNKNOWN
    assert (await channel.deliver(prepared, KEY)).result is AttemptResult.SENT
    assert len(accepted_by(local, name)) == 1


@pytest.mark.parametrize("name", ["chat", "support", "webinar"])
@pytest.mark.parametrize("kind", LOST)
async def test_class_b_a_message_whose_answer_was_lost_is_found(local, channels, name, kind):
    channel = channels[name]
    assert channel.promise is Promise.SEARCHABLE
    prepared = channel.prepare(outgoing(channel))
    assert await channel.find(prepared) is False
    local.provider.faults.add(ProviderFault(provider=VENDORS[name], kind=kind))
    assert (await channel.deliver(prepared, KEY)).result is AttemptResult.UNKNOWN
    assert await channel.find(prepared) is True


@pytest.mark.parametrize("name", ["chat", "support", "webinar"])
async def test_class_b_a_search_at_an_unavailable_provider_returns_none(local, channels, name):
    channel = channels[name]
    prepared = channel.prepare(outgoing(channel))
    local.provider.faults.add(ProviderFault(provider=VENDORS[name], kind="status", status=503, times=None))
    assert await channel.find(prepared) is None


@pytest.mark.parametrize("name", ["sms", "push"])
@pytest.mark.parametrize("kind", LOST)
async def test_class_c_a_message_whose_answer_was_lost_is_unknown(local, channels, name, kind):
    channel = channels[name]
    prepared = channel.prepare(outgoing(channel))
    if name == "push":
        await channel.deliver(prepared, KEY)  # so that the access token is cached
    local.provider.faults.add(ProviderFault(provider=VENDORS[name], kind=kind))
    assert (await channel.deliver(prepared, KEY)).result is AttemptResult.UNKNOWN
    assert channel.promise is Promise.BLIND


def test_class_c_channels_declare_their_policy_for_unknown_results(channels):
    assert channels["sms"].ambiguity is Ambiguity.AT_MOST_ONCE
    assert channels["push"].ambiguity is Ambiguity.AT_LEAST_ONCE  # a device shows one notification of a tag


@pytest.mark.parametrize("name", NAMES)
async def test_a_refused_connection_is_retried_because_nothing_left(tmp_path, local, known, name):
    dead = replace(local, url="http://127.0.0.1:9")
    http_client = HttpClient(frozenset({dead.origin}))
    channel = channels_at(dead, known, http_client)[name]
    receipt = await channel.deliver(channel.prepare(outgoing(channel)), KEY)
    assert (receipt.result, receipt.outage, receipt.left) == (AttemptResult.TRY_AGAIN, True, False)
    await http_client.close()


@pytest.mark.parametrize("name", NAMES)
async def test_an_attempt_past_its_deadline_sends_nothing(local, channels, name):
    channel = channels[name]
    prepared = replace(channel.prepare(outgoing(channel)), until=datetime.now(UTC) - timedelta(seconds=1))
    receipt = await channel.deliver(prepared, KEY)
    assert receipt.result is AttemptResult.TRY_AGAIN
    assert not accepted_by(local, name)


# -- error tables ------------------------------------------------------------------------------------------------------

_RESULT = {
    ReplyMeaning.ACCEPTED: AttemptResult.SENT,
    ReplyMeaning.PERMANENT: AttemptResult.REFUSED,
    ReplyMeaning.TRANSIENT: AttemptResult.TRY_AGAIN,
    ReplyMeaning.DOWN: AttemptResult.TRY_AGAIN,
    ReplyMeaning.OURS: AttemptResult.TRY_AGAIN,
    ReplyMeaning.AMBIGUOUS: AttemptResult.UNKNOWN,
    ReplyMeaning.LOST: AttemptResult.UNKNOWN,
}
_NUMBER = {"2xx": 200, "3xx": 307, "4xx": 418, "5xx": 502}


def rows() -> list[tuple[str, ReplyRow]]:
    kinds = (ResendChannel, TwilioChannel, PushChannel, SlackChannel, WebhookChannel, ZendeskChannel, ZoomChannel)
    return [(kind.name, row) for kind in kinds for row in kind.table]


@pytest.mark.parametrize(("name", "row"), rows(), ids=lambda value: getattr(value, "status", value))
async def test_every_reply_has_the_result_of_its_row_in_the_reply_table(local, channels, name, row):
    channel = channels[name]
    prepared = channel.prepare(outgoing(channel))
    if name in {"push", "webinar"}:
        await channel._token.token()
    if row.code == "unreadable":
        local.provider.faults.add(ProviderFault(provider=VENDORS[name], kind="garbage"))
    elif row.means is not ReplyMeaning.ACCEPTED:
        code = "odd_word" if row.code == "*" else row.code
        status = _NUMBER.get(row.status) or int(row.status)
        local.provider.faults.add(
            ProviderFault(provider=VENDORS[name], kind="status", status=status, code=code, retry_after=7)
        )
    receipt = await channel.deliver(prepared, KEY)
    assert receipt.result is _RESULT[row.means]
    assert receipt.outage is (row.means in {ReplyMeaning.DOWN, ReplyMeaning.OURS, ReplyMeaning.LOST})
    if row.means in {ReplyMeaning.TRANSIENT, ReplyMeaning.DOWN} and row.code != "unreadable":
        assert receipt.after == timedelta(seconds=7)


async def test_a_wrong_api_key_is_an_outage_and_not_a_refusal(local, known, http_client):
    local.provider.key = "another"
    for name, channel in channels_at(local, known, http_client).items():
        if name in {"webhook", "push"}:  # these have signatures, which are tested below
            continue
        receipt = await channel.deliver(channel.prepare(outgoing(channel)), KEY)
        assert (receipt.result, receipt.outage) == (AttemptResult.TRY_AGAIN, True), name
        assert not accepted_by(local, name)


async def test_a_recipient_whom_the_provider_cannot_reach_is_refused(channels):
    async def sent(name, address, **data):
        channel = channels[name]
        message = replace(outgoing(channel, **data), address=address)
        return (await channel.deliver(channel.prepare(message), KEY)).result

    assert await sent("sms", STOPPED) is AttemptResult.REFUSED
    assert await sent("sms", NO_NUMBER) is AttemptResult.REFUSED
    assert await sent("push", GONE) is AttemptResult.REFUSED
    assert await sent("email", "eve@bounce.example") is AttemptResult.REFUSED
    assert await sent("chat", "CNONE") is AttemptResult.REFUSED
    assert await sent("webinar", "ada@example.com", webinar_id=MISSING_ID) is AttemptResult.REFUSED
    assert await sent("support", "ada@example.com", ticket_id=MISSING_ID) is AttemptResult.REFUSED


async def test_the_detail_of_a_refusal_does_not_contain_the_address(channels):
    for name, address in (("sms", STOPPED), ("email", "eve@bounce.example")):
        channel = channels[name]
        message = replace(outgoing(channel), address=address)
        detail = (await channel.deliver(channel.prepare(message), KEY)).detail
        assert address not in detail
        assert "…" in detail


async def test_retries_end_before_the_provider_forgets_the_idempotency_key(channels):
    assert channels["email"].retry.within < timedelta(hours=24)


async def test_webhooks_are_retried_on_the_standard_webhooks_schedule(channels):
    retry = channels["webhook"].retry
    waits = [retry.wait(attempt).total_seconds() for attempt in range(1, 10)]
    assert waits == [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400]
    assert sum(waits) < retry.within.total_seconds() < sum(waits) + retry.wait(10).total_seconds()


# -- support -----------------------------------------------------------------------------------------------------------


async def test_a_message_with_a_ticket_id_comments_on_and_tags_that_ticket(local, channels):
    channel = channels["support"]
    prepared = channel.prepare(outgoing(channel, ticket_id="77", ticket_tags="onboarding, at-risk"))
    assert await channel.find(prepared) is False
    local.provider.faults.add(ProviderFault(provider="zendesk", kind="reset_after_accept", to="comment"))
    assert (await channel.deliver(prepared, KEY)).result is AttemptResult.UNKNOWN
    assert await channel.find(prepared) is True
    (comment,), (tags,) = accepted_by(local, "support", "comment"), accepted_by(local, "support", "tags")
    assert (comment["to"], tags["content"]) == ("77", ["at-risk", "onboarding"])


async def test_a_comment_is_searched_in_all_audits_and_the_result_is_none_beyond_the_limit(local, channels):
    channel = channels["support"]
    ours, another = (channel.prepare(outgoing(channel, f"{KEY}{n}", ticket_id="77")) for n in range(2))
    for number in range(60):
        local.provider.accepted.add("zendesk", to="77", content={"metadata": {"key": f"k{number}"}}, kind="comment")
    assert await channel.find(ours) is False
    assert (await channel.deliver(ours, f"{KEY}0")).result is AttemptResult.SENT
    assert (await channel.find(ours), await channel.find(another)) == (True, False)
    for number in range(500):
        local.provider.accepted.add("zendesk", to="77", content={"metadata": {"key": f"l{number}"}}, kind="comment")
    assert (await channel.find(ours), await channel.find(another)) == (True, None)


async def test_a_comment_is_found_among_long_comments(local, channels):
    channel = channels["support"]
    ours, another = (channel.prepare(outgoing(channel, f"{KEY}{n}", ticket_id="77")) for n in range(2))
    for number in range(30):
        comment = {"comment": {"body": "w" * 6_000}, "metadata": {"key": f"k{number}"}}
        local.provider.accepted.add("zendesk", to="77", content=comment, kind="comment")
    assert (await channel.deliver(ours, f"{KEY}0")).result is AttemptResult.SENT
    assert (await channel.find(ours), await channel.find(another)) == (True, False)


async def test_tags_and_comment_share_the_time_of_one_attempt(local, channels):
    """Each call alone fits into the attempt, both together do not: another attempt could then comment again."""
    channel = channels["support"]
    prepared = channel.prepare(outgoing(channel, ticket_id="77", ticket_tags="at-risk"))
    delay = channel.attempt.total_seconds() * 0.6
    local.provider.faults.add(ProviderFault(provider="zendesk", kind="slow", seconds=delay, times=None))
    receipt = await channel.deliver(prepared, KEY)
    assert (receipt.result, receipt.left) == (AttemptResult.UNKNOWN, True), "the comment may have arrived"
    again = replace(prepared, until=datetime.now(UTC) + timedelta(seconds=delay / 2))
    early = await channel.deliver(again, KEY)
    assert (early.result, early.left) == (AttemptResult.TRY_AGAIN, False), (
        "setting the tags took all the time that was left"
    )


async def test_a_chat_message_is_found_behind_later_messages(local, channels):
    channel = channels["chat"]
    prepared = channel.prepare(outgoing(channel))
    assert (await channel.deliver(prepared, KEY)).result is AttemptResult.SENT
    for number in range(180):
        message = {"text": "w" * 7_000, "metadata": {"event_payload": {"key": f"k{number}"}}}
        local.provider.accepted.add("slack", to=prepared.address, content=message)
    assert await channel.find(prepared) is True


async def test_a_registrant_is_found_among_hundreds(local, channels):
    channel = channels["webinar"]
    prepared = channel.prepare(outgoing(channel))
    person = {"first_name": "Grace", "custom_questions": [{"title": "Why?", "value": "w" * 500}]}
    for number in range(400):
        email = f"grace-{number}@example.com"
        local.provider.accepted.add("zoom", to=email, content={"email": email, **person}, webinar="987654321")
    assert await channel.find(prepared) is False
    assert (await channel.deliver(prepared, KEY)).result is AttemptResult.SENT
    assert await channel.find(prepared) is True


async def test_a_ticket_number_that_is_a_path_is_refused(channels):
    with pytest.raises(TemplateFault):
        channels["support"].prepare(outgoing(channels["support"], ticket_id="../users/1"))


# -- the guard ---------------------------------------------------------------------------------------------------------


class ManualClock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = datetime(2026, 5, 3, 10, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


async def test_the_breaker_opens_for_a_provider_that_is_down_and_closes_after_one_probe(local, channels):
    moment = ManualClock()
    guarded = GuardedChannel(channels["email"], clock=moment)
    prepared = guarded.prepare(outgoing(channels["email"]))
    local.provider.faults.add(ProviderFault(provider="resend", kind="status", status=500, times=None))
    for _ in range(20):
        assert (await guarded.deliver(prepared, KEY)).result is AttemptResult.TRY_AGAIN
    assert guarded.state == "open"
    assert await guarded.find(prepared) is None
    refused = await guarded.deliver(prepared, KEY)
    assert (refused.left, refused.pause) == (False, timedelta(seconds=10))
    local.provider.faults.clear()
    moment.now += timedelta(seconds=11)
    assert (await guarded.deliver(prepared, KEY)).result is AttemptResult.SENT
    assert guarded.state == "closed"
    assert local.provider.requests["resend"] == 1


async def test_a_retry_after_of_one_answer_pauses_the_whole_channel(local, channels):
    moment = ManualClock()
    guarded = GuardedChannel(channels["sms"], clock=moment)
    prepared = guarded.prepare(outgoing(channels["sms"]))
    local.provider.faults.add(ProviderFault(provider="twilio", kind="status", status=429, retry_after=30))
    assert (await guarded.deliver(prepared, KEY)).after == timedelta(seconds=30)
    moment.now += timedelta(seconds=10)
    assert (await guarded.deliver(prepared, "another")).after == timedelta(seconds=20)
    assert guarded.state == "closed"
    moment.now += timedelta(seconds=20)
    assert (await guarded.deliver(prepared, KEY)).result is AttemptResult.SENT


async def test_refusals_of_one_recipient_do_not_open_the_breaker(channels):
    guarded = GuardedChannel(channels["sms"], clock=ManualClock())
    message = replace(outgoing(channels["sms"]), address=STOPPED)
    for _ in range(20):
        assert (await guarded.deliver(guarded.prepare(message), KEY)).result is AttemptResult.REFUSED
    assert guarded.state == "closed"


@pytest.mark.parametrize("code", ["21408", "21606", "21659"])
async def test_twilio_errors_about_one_country_do_not_open_the_breaker(local, channels, code):
    guarded = GuardedChannel(channels["sms"], clock=ManualClock())
    prepared = guarded.prepare(outgoing(channels["sms"]))
    local.provider.faults.add(ProviderFault(provider="twilio", kind="status", status=400, code=code, times=5))
    receipts = [await guarded.deliver(prepared, KEY) for _ in range(5)]
    assert {receipt.result for receipt in receipts} == {
        AttemptResult.REFUSED if code == "21408" else AttemptResult.TRY_AGAIN
    }
    assert guarded.state == "closed"
    assert (await guarded.deliver(prepared, KEY)).result is AttemptResult.SENT


async def test_a_retry_after_on_a_test_clock_passes_by_that_clock_and_pauses_nobody_else(local, channels):
    guarded, start = GuardedChannel(channels["sms"], clock=ManualClock()), datetime(2027, 1, 1, tzinfo=UTC)
    prepared = guarded.prepare(outgoing(channels["sms"]))

    async def deliver(clock: str | None, passed: int = 0) -> Receipt:
        by = ClockTime(clock, start + timedelta(seconds=passed)) if clock is not None else None
        receipt: Receipt = await guarded.deliver(replace(prepared, clock=by), KEY)
        return receipt

    local.provider.faults.add(ProviderFault(provider="twilio", kind="status", status=429, retry_after=30))
    assert (await deliver("a")).after == timedelta(seconds=30)
    local.provider.faults.clear()
    assert ((held := await deliver("a", 29)).after, held.pause) == (timedelta(seconds=1), None)
    assert (await deliver("b")).result is AttemptResult.SENT
    assert (await deliver(None)).result is AttemptResult.SENT
    assert (await deliver("a", 30)).result is AttemptResult.SENT


async def test_attempts_over_the_rate_limit_return_at_once_with_the_time_to_wait(local, channels):
    moment = ManualClock()
    guarded = GuardedChannel(channels["chat"], rate=Rate(1, 2), clock=moment)
    prepared = guarded.prepare(outgoing(channels["chat"]))
    receipts = [await guarded.deliver(prepared, f"journey/a/{n}") for n in range(4)]
    assert [receipt.result for receipt in receipts] == [AttemptResult.SENT] * 2 + [AttemptResult.TRY_AGAIN] * 2
    assert [round(receipt.pause.total_seconds()) for receipt in receipts[2:]] == [1, 2]
    moment.now += timedelta(seconds=1)
    assert (await guarded.deliver(prepared, "journey/a/2")).result is AttemptResult.SENT


async def test_profile_text_cannot_become_a_mention_or_a_link_in_chat(local, channels):
    channel = channels["chat"]
    message = replace(outgoing(channel), profile={**ADA, "first_name": "<!channel> <https://evil.example|you>"})
    assert (await channel.deliver(channel.prepare(message), KEY)).result is AttemptResult.SENT
    (item,) = accepted_by(local, "chat")
    assert "<!channel>" not in item["content"]["text"]
    assert "<https://evil" not in item["content"]["text"]


async def test_a_webhook_signed_with_another_secret_is_rejected(local, channels, known, http_client):
    other = WebhookSettings(f"{local.url}/receiver/", "whsec_YW5vdGhlci1zZWNyZXQtb2YtdGhlLXNlbmRlcg==")
    channel = WebhookChannel(known, http_client, Reach(near=True), other)
    assert (await channel.deliver(channel.prepare(outgoing(channel)), KEY)).result is AttemptResult.TRY_AGAIN
    assert not accepted_by(local, "webhook")


async def test_the_trace_is_sent_in_headers_of_webhooks_and_mails(channels):
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    hook, mail = channels["webhook"], channels["email"]
    prepared = hook.prepare(outgoing(hook))
    call = await hook.call({}, replace(prepared, trace=trace), "digest")
    assert trace_id_of(call.headers["traceparent"]) == trace
    assert "traceparent" not in (await hook.call({}, prepared, "digest")).headers
    written = json.loads(mail.prepare(replace(outgoing(mail), trace=trace)).body)
    assert written["headers"]["X-Tenure-Trace"] == trace


# -- push ---------------------------------------------------------------------------------------------------------------


def browser(url: str) -> tuple[dict[str, Any], ec.EllipticCurvePrivateKey, bytes]:
    """A browser's push subscription, with its private key and its secret."""
    key, secret = ec.generate_private_key(ec.SECP256R1()), b"0123456789abcdef"
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return {"endpoint": url, "keys": {"p256dh": padless(point), "auth": padless(secret)}}, key, secret


async def test_a_browser_decrypts_its_push_message_and_verifies_the_vapid_signature(local, channels):
    subscription, key, secret = browser(f"{local.url}/webpush/browser-of-ada")
    channel = channels["push"]
    profile = {"first_name": "Ada", "push_subscription": subscription}
    message = replace(outgoing(channel), profile=profile, address=channel.address(profile, "u_1"))
    prepared = channel.prepare(message)
    assert (await channel.deliver(prepared, KEY)).result is AttemptResult.SENT
    (item,) = local.provider.accepted.search(provider="webpush")
    body = bytes.fromhex(item["content"]["body"])
    shown = json.loads(http_ece.decrypt(body, private_key=key, auth_secret=secret, version="aes128gcm"))
    assert shown["title"] == "Your export is ready, Ada"
    assert shown["tag"] == item["content"]["topic"] == prepared.reference[:32]
    token, public = re.fullmatch(r"vapid t=(\S+), k=(\S+)", item["content"]["authorization"]).groups()
    signer = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), unpadded(public))
    claims = jwt.decode(token, signer, algorithms=["ES256"], audience=local.url)
    assert claims["sub"] == "mailto:ops@tenure.example"


async def test_a_push_to_a_gone_browser_is_refused(local, channels):
    subscription, _, _ = browser(f"{local.url}/webpush/{GONE}")
    channel = channels["push"]
    message = replace(outgoing(channel), address=channel.address({"push_subscription": subscription}, "u_1"))
    assert (await channel.deliver(channel.prepare(message), KEY)).result is AttemptResult.REFUSED


async def test_a_push_subscription_with_an_internal_address_is_never_called(local, channels):
    subscription, _, _ = browser("https://169.254.169.254/latest/meta-data")
    channel = channels["push"]
    message = replace(outgoing(channel), address=channel.address({"push_subscription": subscription}, "u_1"))
    receipt = await channel.deliver(channel.prepare(message), KEY)
    assert (receipt.result, receipt.left) == (AttemptResult.REFUSED, False)
    assert "not public" in receipt.detail


def subscription_off_the_curve(url: str) -> dict[str, Any]:
    """A subscription whose key has the right length and is not a point of P-256."""
    subscription, _, _ = browser(url)
    return {**subscription, "keys": {**subscription["keys"], "p256dh": padless(b"\x04" + b"\x01" * 64)}}


async def test_a_subscription_key_off_its_curve_is_no_address_and_an_attempt_is_refused(local, channels):
    channel, subscription = channels["push"], subscription_off_the_curve(f"{local.url}/webpush/odd")
    assert channel.address({"push_subscription": subscription}, "u_1") is None
    waiting = replace(channel.prepare(outgoing(channel)), address=json.dumps(subscription))
    receipt = await channel.deliver(waiting, KEY)
    assert (receipt.result, receipt.left, receipt.outage) == (AttemptResult.REFUSED, False, False)
    assert not local.provider.accepted.items


@pytest.mark.parametrize("given", [None, 7, "x", "{}", {"endpoint": "https://x"}, {"endpoint": "ftp://x", "keys": {}}])
def test_a_malformed_push_subscription_is_no_address(channels, given):
    assert channels["push"].address({"push_subscription": given}, "u_1") is None
