"""Webhooks of providers: accepted only with a valid signature, once, as events of the recipient."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, urlencode

import httpx
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook
from twilio.request_validator import RequestValidator

from activities.content.templates import load_templates
from activities.gate.dry_run import dry_run
from activities.preview import ContentPreview
from api.app import build_app
from api.http.auth import BootstrapKeys
from api.inbound.signatures import WebhookSecrets
from api.inbound.vendors import resend_events, twilio_events
from api.parts import Parts
from journeys.events.inbound import InboundEvent
from journeys.tokens.reply_addresses import ReplyAddresses
from store.database import Database
from store.definitions.registry import DefinitionRegistry
from store.events import ingest
from tests.support.api import CATALOG, FakeRunCommands, client
from tests.support.asgi_calls import MeasuringCaller
from worker.catalogue.check import check_catalogue
from worker.composition.catalog import consent_rules, policy, tracking_plan
from worker.composition.clients import payload_codec
from worker.composition.dependencies import dependencies
from worker.settings import Settings

SVIX = "whsec_" + base64.b64encode(b"resend-signs-with-this-secret").decode()
TOKEN, ZENDESK, ZOOM = "twilio-token", "zendesk-secret", "zoom-secret"
URL, ACCOUNT = "https://tenure.example/v1/hooks/twilio", "AC" + "7" * 32
SECRETS = WebhookSecrets(resend=SVIX, twilio=TOKEN, twilio_url=URL, twilio_account=ACCOUNT, zendesk=ZENDESK, zoom=ZOOM)
REPLIES = ReplyAddresses("replies@in.example.com", ("k" * 32,))
INSERT = """
INSERT INTO messages (key, run, step, subject_key, recipient, journey, state, visit, action, template, via, priority, data, at,
  status, channel, reference, address, decided_at)
SELECT $1, 'r', 1, key, key, 'j', 's', 1, 'a', 'export/ready', '[]', 'transactional', $2::jsonb, now(), 'sent', $3, $4, $5, now()
FROM subjects WHERE key = (SELECT subject_key FROM identities WHERE value = $6)
"""


def application(database_url: str, secrets: WebhookSecrets):
    rules, database = policy(CATALOG), Database(database_url)
    return build_app(
        Parts(
            database=database,
            engine=FakeRunCommands(),
            codec=payload_codec(Settings()),
            keys=BootstrapKeys(write="w", operator="o"),
            plan=tracking_plan(CATALOG),
            policy=rules,
            consent=consent_rules(Settings(catalog=CATALOG)),
            templates=dict,
            check_catalogue=check_catalogue,
            desk=ContentPreview(templates=lambda: load_templates(CATALOG / "templates")),
            dry_run=partial(dry_run, dependencies(Settings(catalog=CATALOG, smtp_url="smtp://127.0.0.1:9"), database)),
            webhook_secrets=secrets,
            replies=REPLIES,
        )
    )


@pytest_asyncio.fixture(scope="module")
async def hooks(module_database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with client(application(module_database_url, SECRETS), "") as made:
        yield made


@pytest_asyncio.fixture(scope="module", autouse=True)
async def _people(module_database_url: str, db) -> None:
    database = Database(module_database_url)
    calls = [
        InboundEvent("identify", f"i-{who}", "identify", user_id=who, traits={"a": 1}) for who in ("ada", "ben", "cyd")
    ]
    await ingest.accept(database, DefinitionRegistry(policy(CATALOG).urgent_ticket), calls, source="test")
    await database.close()
    for key, data, channel, reference, address, who in (
        ("m1", {}, "email", "d1", "ada@x.example", "ada"),
        ("m2", {}, "sms", "d2", "+4915112345678", "ben"),
        ("m3", {}, "support", "d3", "ada@x.example", "ada"),
        ("m4", {"webinar_id": "77"}, "webinar", "d4", "ada@x.example", "ada"),
        ("m5", {"webinar_id": "77"}, "webinar", "d5", "cyd@x.example", "cyd"),
        ("m6", {"webinar_id": "78"}, "webinar", "d6", "ada@x.example", "ada"),
        ("m7", {"webinar_id": "78"}, "webinar", "d7", "cyd@x.example", "cyd"),
    ):
        await db.execute(INSERT, key, json.dumps(data), channel, reference, address, who)


async def events_from(db, source: str) -> list[tuple[str, str, dict[str, Any]]]:
    """The events that a provider's webhooks made, each with its user id."""
    rows = await db.fetch(
        "SELECT e.name, i.value, e.data FROM events e JOIN identities i USING (subject_key) WHERE source = $1 ORDER BY e.id",
        f"hook:{source}",
    )
    return [(row["name"], row["value"], json.loads(row["data"])) for row in rows]


# -- Resend ------------------------------------------------------------------------------------------------------------


def svix(
    event: dict[str, Any], identity: str = "msg_1", secret: str = SVIX, at: datetime | None = None
) -> dict[str, Any]:
    at, body = at or datetime.now(UTC), json.dumps(event)
    signed = Webhook(secret).sign(identity, at, body)
    headers = {"svix-id": identity, "svix-timestamp": str(int(at.timestamp())), "svix-signature": signed}
    return {"content": body, "headers": headers}


def mail(kind: str, reference: str = "d1", **more: Any) -> dict[str, Any]:
    at = datetime.now(UTC).isoformat()
    return {"type": kind, "created_at": at, "data": {"email_id": "e", "tags": {"tenure_key": reference}, **more}}


async def test_an_inbound_mail_to_a_reply_address_becomes_a_message_replied_event(hooks, db):
    person = await db.fetchval("SELECT subject_key FROM identities WHERE value = 'ada'")
    to = REPLIES.address(person, hashlib.sha256(b"m1").hexdigest())
    for number, sent_to in enumerate((["hello@x.example", to], ["hello@x.example"], "nobody", None)):
        event = {"type": "email.received", "data": {"to": sent_to, "subject": "Re: your export"}}
        assert (await hooks.post("/v1/hooks/resend", **svix(event, f"in_{number}"))).json()["taken"] == (number == 0)
    (replies,) = [(who, data) for name, who, data in await events_from(db, "resend") if name == "message_replied"]
    assert replies[0] == "ada"
    assert (replies[1]["channel"], replies[1]["text"]) == ("email", "Re: your export")
    await db.execute("DELETE FROM events WHERE name = 'message_replied'")


async def test_a_bounce_and_a_complaint_become_one_event_each_of_the_recipient(hooks, db):
    bounce = mail("email.bounced", bounce={"type": "Permanent", "message": "no such mailbox"})
    for call in (
        svix(bounce),
        svix(bounce),
        svix(mail("email.complained"), "msg_2"),
        svix(mail("email.sent"), "msg_3"),
    ):
        assert (await hooks.post("/v1/hooks/resend", **call)).status_code == 202
    events = await events_from(db, "resend")
    assert [(name, who) for name, who, _ in events] == [("message_bounced", "ada"), ("message_complained", "ada")]
    assert events[0][2]["reason"] == "no such mailbox"
    assert events[0][2]["permanent"] is True
    assert events[0][2]["channel"] == "email"
    assert await suppressed(db) == [("email", "hard_bounce", "hook:resend:message_bounced")]


@pytest.mark.parametrize("subject", ["Automatic reply: Your export", "Abwesenheitsnotiz: Ihr Export", "Out of Office"])
def test_an_absence_notice_at_resend_is_no_answer(subject):
    assert resend_events({"type": "email.received", "data": {"to": ["a@b.example"], "subject": subject}}) is None
    assert resend_events({"type": "email.received", "data": {"to": [], "subject": f"Re: {subject}"}}) is not None


@pytest.mark.parametrize(
    ("kind", "more", "expected"),
    [
        ("email.bounced", {"bounce": {"type": "Permanent", "subType": "General"}}, "hard"),
        ("email.bounced", {"bounce": {"type": "Permanent", "subType": "OfTheFuture"}}, "hard"),
        ("email.bounced", {"bounce": {"type": "Transient", "subType": "MailboxFull"}}, "soft"),
        ("email.bounced", {"bounce": {"type": "Transient", "subType": "ContentRejected"}}, "sender"),
        ("email.bounced", {"bounce": {"type": "Undetermined"}}, "soft"),
        ("email.bounced", {}, "soft"),
        ("email.failed", {"failed": {"reason": "reached_daily_quota"}}, "sender"),
        ("email.suppressed", {"suppressed": {"type": "OnAccountSuppressionList", "message": "on the list"}}, "hard"),
        ("email.suppressed", {}, "hard"),
    ],
)  # fmt: skip
def test_a_failure_at_resend_is_about_the_address_the_mailbox_or_the_sender(kind, more, expected):
    event = resend_events(mail(kind, **more))
    assert event is not None
    assert (event.signal, event.data["kind"]) == ("message_bounced", expected)


@pytest.mark.parametrize(
    ("code", "kind"),
    [("30005", "hard"), ("30003", "soft"), ("30007", "sender"), ("30034", "sender"), ("", "soft"), ("9", "soft")],
)
def test_a_failure_at_twilio_is_about_the_number_the_handset_or_the_sender(code, kind):
    event = twilio_events({"MessageStatus": "undelivered", "ErrorCode": code}, "d2")
    assert event is not None
    assert event.data["kind"] == kind


async def test_an_address_on_resends_suppression_list_is_suppressed_whoever_has_it(hooks, db):
    before = await suppressed(db)
    for number, (address, origin) in enumerate(
        (
            ("gone@x.example", "bounce"),
            ("annoyed@x.example", "complaint"),
            ("by-hand@x.example", "manual"),
            ("", "bounce"),
        )
    ):
        event = {"type": "suppression.added", "data": {"id": "1", "email": address, "origin": origin}}
        for _ in range(2):
            answer = await hooks.post("/v1/hooks/resend", **svix(event, f"sup_{number}"))
            assert answer.status_code == 202
    assert [item[1:] for item in await suppressed(db) if item not in before] == [
        ("hard_bounce", "hook:resend:suppression_added"),
        ("complaint", "hook:resend:suppression_added"),
        ("operator", "hook:resend:suppression_added"),
    ]
    await db.execute("DELETE FROM suppressions WHERE source = 'hook:resend:suppression_added'")


async def test_a_webhook_about_a_foreign_mail_is_ignored(hooks):
    answer = await hooks.post("/v1/hooks/resend", **svix(mail("email.bounced", "somebody-elses"), "msg_9"))
    assert (answer.status_code, answer.json()) == (202, {"taken": 0})


async def test_a_webhook_with_a_wrong_signature_or_an_old_timestamp_is_refused(hooks):
    old = datetime.now(UTC) - timedelta(minutes=10)
    other = "whsec_" + base64.b64encode(b"another secret altogether").decode()
    calls = [svix(mail("email.bounced"), secret=other), svix(mail("email.bounced"), at=old), {"content": b"{}"}]
    changed = svix(mail("email.bounced"))
    changed["content"] += " "
    for call in (*calls, changed):
        assert (await hooks.post("/v1/hooks/resend", **call)).status_code == 401


# -- Twilio ------------------------------------------------------------------------------------------------------------


def sid(name: str) -> str:
    """The id of a message as Twilio writes it, for `SM1`."""
    return f"SM{int(name[2:]):032x}"


def form(fields: dict[str, str], query: str = "", token: str = TOKEN) -> dict[str, Any]:
    fields = {"AccountSid": ACCOUNT, **fields, "MessageSid": sid(fields["MessageSid"])}
    signature = RequestValidator(token).compute_signature(URL + query, fields)  # the vendor's own code signs
    headers = {"x-twilio-signature": signature, "content-type": "application/x-www-form-urlencoded"}
    return {"url": f"/v1/hooks/twilio{query}", "content": urlencode(fields), "headers": headers}


async def test_an_sms_reply_keeps_its_text_and_a_failure_its_code(hooks, db):
    reply = {"MessageSid": "SM1", "SmsStatus": "received", "From": "+4915112345678", "To": "+1", "Body": "STOP ü"}
    failed = {"MessageSid": "SM2", "MessageStatus": "undelivered", "ErrorCode": "30006", "To": "+4915112345678"}
    for call in (form(reply), form(reply), form(failed, "?m=d2")):
        assert (await hooks.post(**call)).status_code == 202
    assert (await hooks.post(**form(reply, token="wrong"))).status_code == 401
    events = await events_from(db, "twilio")
    assert [(name, who) for name, who, _ in events] == [("message_replied", "ben"), ("message_bounced", "ben")]
    assert events[0][2]["text"] == "STOP ü"
    assert (events[1][2]["reason"], events[1][2]["permanent"]) == ("30006", True)
    assert ("sms", "hard_bounce", "hook:twilio:message_bounced") in await suppressed(db)


async def test_C5_a_stop_reply_suppresses_the_number_and_a_soft_failure_suppresses_nothing(hooks, db):
    before = await suppressed(db)
    stop = {"MessageSid": "SM7", "SmsStatus": "received", "From": "+4915198765432", "To": "+1", "Body": " Stop! "}
    assert (await hooks.post(**form(stop))).status_code == 202
    soft = {"MessageSid": "SM8", "MessageStatus": "undelivered", "ErrorCode": "30003", "To": "+4915112345678"}
    assert (await hooks.post(**form(soft, "?m=d2"))).status_code == 202
    assert [suppression for suppression in await suppressed(db) if suppression not in before] == [
        ("sms", "stop_word", "hook:twilio")
    ]


async def test_C5_a_repeated_start_webhook_does_not_lift_a_later_stop(hooks, db):
    number = "+4915187654321"

    def text(sid: str, body: str) -> dict[str, Any]:
        return form({"MessageSid": sid, "SmsStatus": "received", "From": number, "To": "+1", "Body": body})

    async def stopped() -> int:
        return sum(reason == "stop_word" for _, reason, _ in await suppressed(db))

    before = await stopped()
    start = text("SM20", "START")
    for call in (start, text("SM21", "STOP"), start, start):
        assert (await hooks.post(**call)).status_code == 202
    assert await stopped() == before + 1
    await hooks.post(**text("SM22", "START"))
    assert await stopped() == before
    await hooks.post(**text("SM21", "STOP"))
    assert await stopped() == before, "a repeated STOP webhook suppresses nobody who sent START since"


def cut(call: dict[str, Any], fields: dict[str, str]) -> dict[str, Any]:
    """A captured call with other fields that have the same characters in the same order, so that its signature fits."""
    captured = dict(parse_qsl(call["content"], keep_blank_values=True))
    signed = "".join(f"{name}{captured[name]}" for name in sorted(captured))
    assert "".join(f"{name}{fields[name]}" for name in sorted(fields)) == signed
    return {**call, "content": urlencode(fields)}


async def test_a_captured_start_cannot_be_cut_into_another_call(hooks, db):
    number, before = "+4915111112222", await suppressed(db)
    stop = {"MessageSid": "SM30", "SmsStatus": "received", "From": number, "To": "+1", "Body": "STOP"}
    start = form({**stop, "MessageSid": "SM31", "Body": "START"})
    for call in (start, form(stop)):
        assert (await hooks.post(**call)).status_code == 202
    real = f"From{number}MessageSid{sid('SM31')}SmsStatusreceivedTo+1"
    head = {"AccountSid": ACCOUNT, "Body": "START"}
    for cut_fields in (
        {**head, "From": f"{number}MessageSid{sid('SM31')}SmsStatusreceivedTo+1"},
        {**head, "From": number, "MessageSid": f"{sid('SM31')}SmsStatus", "received": "To+1"},
        {**head, "From": number, "MessageSidSM": f"{sid('SM31')[2:]}SmsStatusreceivedTo+1"},
        {**head, real: ""},
    ):
        assert (await hooks.post(**cut(start, cut_fields))).status_code in {400, 401}
    assert len(await suppressed(db)) == len(before) + 1


async def test_a_text_cannot_hide_another_call_in_its_words(hooks, db):
    mallory, victim = "+4915133334444", "+4915155556666"
    stop = {"MessageSid": "SM40", "SmsStatus": "received", "From": victim, "To": "+1", "Body": "STOP"}
    assert (await hooks.post(**form(stop))).status_code == 202
    before = await suppressed(db)
    fake = f"From{victim}MessageSid{sid('SM77')}X"
    texted = form({**stop, "MessageSid": "SM41", "From": mallory, "Body": f"START{fake}"})
    rest = f"From{mallory}MessageSid{sid('SM41')}SmsStatusreceivedTo+1"
    forged = {"AccountSid": ACCOUNT, "Body": "START", "From": victim, "MessageSid": sid("SM77"), "X": rest}
    assert (await hooks.post(**cut(texted, forged))).status_code == 401
    assert await suppressed(db) == before


async def test_a_call_for_another_account_or_with_a_field_twice_is_refused(hooks):
    text = {"MessageSid": "SM50", "SmsStatus": "received", "From": "+4915112345678", "To": "+1", "Body": "Hi"}
    other = form({**text, "AccountSid": "AC" + "9" * 32})
    assert (await hooks.post(**other)).status_code == 401
    twice = form(text)
    assert (await hooks.post(**{**twice, "content": twice["content"] + "&Body=STOP"})).status_code == 400


async def suppressed(db) -> list[tuple[str, str, str]]:
    rows = await db.fetch("SELECT channel, reason, source FROM suppressions WHERE lifted_at IS NULL ORDER BY id")
    return [(row["channel"], row["reason"], row["source"]) for row in rows]


# -- Zendesk -----------------------------------------------------------------------------------------------------------


def ticket(kind: str, identity: str, now: str = "", before: str = "", secret: str = ZENDESK) -> dict[str, Any]:
    detail = {"id": "35436", "external_id": "d3", "priority": "URGENT", "status": now}
    event = {
        "type": f"zen:event-type:ticket.{kind}",
        "id": identity,
        "time": datetime.now(UTC).isoformat(),
        "detail": detail,
    }
    event["event"] = {"current": now, "previous": before}
    at, body = datetime.now(UTC).isoformat().replace("+00:00", "Z"), json.dumps(event)
    signed = base64.b64encode(hmac.new(secret.encode(), (at + body).encode(), hashlib.sha256).digest()).decode()
    headers = {"x-zendesk-webhook-signature": signed, "x-zendesk-webhook-signature-timestamp": at}
    return {"content": body, "headers": headers}


async def test_ticket_webhooks_become_signals_with_the_priority(hooks, db):
    calls = [
        ticket("created", "1", "NEW"),
        ticket("status_changed", "2", "SOLVED", "OPEN"),
        ticket("status_changed", "3", "CLOSED", "SOLVED"),
        ticket("status_changed", "4", "OPEN", "CLOSED"),
    ]
    for call in calls:
        assert (await hooks.post("/v1/hooks/zendesk", **call)).status_code == 202
    assert (await hooks.post("/v1/hooks/zendesk", **ticket("created", "5", secret="wrong"))).status_code == 401
    events = await events_from(db, "zendesk")
    assert [name for name, _, _ in events] == ["ticket_opened", "ticket_resolved", "ticket_reopened"]
    assert {who for _, who, _ in events} == {"ada"}
    assert events[0][2]["ticket_id"] == "35436"
    assert events[0][2]["priority"] == "urgent"


# -- Zoom --------------------------------------------------------------------------------------------------------------


def zoom(event: dict[str, Any], secret: str = ZOOM) -> dict[str, Any]:
    at, body = str(int(datetime.now(UTC).timestamp())), json.dumps(event)
    signed = "v0=" + hmac.new(secret.encode(), f"v0:{at}:{body}".encode(), hashlib.sha256).hexdigest()
    return {"content": body, "headers": {"x-zm-signature": signed, "x-zm-request-timestamp": at}}


async def test_J16_a_participant_has_attended_and_an_absent_registrant_has_missed(hooks, db):
    def event(kind: str, stamp: int, **thing: Any) -> dict[str, Any]:
        return zoom({"event": f"webinar.{kind}", "event_ts": stamp, "payload": {"object": {"id": "77", **thing}}})

    calls = [
        event("registration_created", 1, registrant={"email": "ada@x.example"}),
        event("participant_joined", 2, participant={"email": "ada@X.example"}),
        event("participant_joined", 3, participant={"email": "stranger@x.example"}),
        event("ended", 4),
        event("ended", 4),
    ]
    for call in calls:
        assert (await hooks.post("/v1/hooks/zoom", **call)).status_code == 202
    ended = {"event": "webinar.ended", "event_ts": 5, "payload": {"object": {"id": "77"}}}
    assert (await hooks.post("/v1/hooks/zoom", **zoom(ended, secret="wrong"))).status_code == 401
    events = [(name, who) for name, who, _ in await events_from(db, "zoom")]
    assert events == [("webinar_registered", "ada"), ("webinar_attended", "ada"), ("webinar_missed", "cyd")]


async def test_two_participants_of_the_same_millisecond_have_both_attended(hooks, db):
    before = await events_from(db, "zoom")
    for who in ("ada", "cyd", "ada"):  # one of them is reported twice
        thing = {"id": "78", "participant": {"email": f"{who}@x.example"}}
        joined = {"event": "webinar.participant_joined", "event_ts": 1777802400000, "payload": {"object": thing}}
        assert (await hooks.post("/v1/hooks/zoom", **zoom(joined))).json() == {"taken": 1}
    ended = {"event": "webinar.ended", "event_ts": 1777806000000, "payload": {"object": {"id": "78"}}}
    assert (await hooks.post("/v1/hooks/zoom", **zoom(ended))).json() == {"taken": 0}
    events = [(name, who) for name, who, _ in (await events_from(db, "zoom"))[len(before) :]]
    assert events == [("webinar_attended", "ada"), ("webinar_attended", "cyd")]


async def test_zooms_challenge_is_answered(hooks):
    call = zoom({"event": "endpoint.url_validation", "payload": {"plainToken": "abc"}})
    answer = (await hooks.post("/v1/hooks/zoom", **call)).json()
    assert answer == {
        "plainToken": "abc",
        "encryptedToken": hmac.new(ZOOM.encode(), b"abc", hashlib.sha256).hexdigest(),
    }


# -- all ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resend", "twilio", "zendesk", "zoom"])
async def test_a_webhook_of_a_provider_without_a_secret_gets_404(module_database_url, name):
    async with client(application(module_database_url, WebhookSecrets()), "") as api:
        assert (await api.post(f"/v1/hooks/{name}", content=b"{}")).status_code == 404


@pytest.mark.parametrize("name", ["resend", "twilio", "zendesk", "zoom"])
async def test_a_body_over_the_limit_gets_413(hooks, name):
    assert (await hooks.post(f"/v1/hooks/{name}", content=b"x" * 300_000)).status_code == 413


@pytest.mark.parametrize(
    "data", [None, [], "x", {"tags": 7}, {"tags": [1]}, {"tags": {"tenure_key": None}, "bounce": []}]
)
async def test_a_signed_webhook_with_unexpected_data_is_ignored(hooks, data):
    call = svix({"type": "email.bounced", "data": data}, "msg_odd")
    assert (await hooks.post("/v1/hooks/resend", **call)).json() == {"taken": 0}
    odd = zoom({"event": "webinar.ended", "payload": data})
    assert (await hooks.post("/v1/hooks/zoom", **odd)).json() == {"taken": 0}


# -- signed, and still junk ----------------------------------------------------------------------------------------------

JUNK = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=40),
        st.sampled_from(["\u0000", "2026-13-99", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "x" * 5_000]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=12,
)  # fmt: skip
TYPES = st.sampled_from(
    [
        "email.bounced", "email.received", "zen:event-type:ticket.created", "zen:event-type:ticket.status_changed",
        "webinar.ended", "webinar.participant_joined", "endpoint.url_validation",
    ]
)  # fmt: skip


@st.composite
def events(draw: st.DrawFn) -> Any:
    """A provider's event with any values where it has known fields."""
    names = ("data", "detail", "event", "payload", "time", "created_at", "id", "event_ts")
    event = {name: draw(JUNK) for name in draw(st.lists(st.sampled_from(names), unique=True))}
    inner = draw(st.dictionaries(st.sampled_from(
        ["object", "to", "tags", "bounce", "external_id", "id", "email", "participant", "registrant", "plainToken", "subject"]
    ), JUNK))  # fmt: skip
    for name in ("data", "detail", "payload"):
        if draw(st.booleans()):
            event[name] = {**inner, "object": inner}
    return draw(st.one_of(JUNK, st.just({**event, "type": draw(TYPES), "event": event.get("event", draw(TYPES))})))


def signed_calls(event: Any) -> list[tuple[str, dict[str, Any]]]:
    """The event as each provider would sign it."""
    body = json.dumps(event)
    now = datetime.now(UTC)
    at = now.isoformat()
    zendesk = base64.b64encode(hmac.new(ZENDESK.encode(), (at + body).encode(), hashlib.sha256).digest()).decode()
    fields = {"MessageSid": "SM60", "Body": body[:900], "From": body[:40], "MessageStatus": body[:20]}
    return [
        ("/v1/hooks/resend", svix(event, hashlib.sha256(body.encode()).hexdigest()[:20])),
        ("/v1/hooks/zoom", zoom(event)),
        (
            "/v1/hooks/zendesk",
            {
                "content": body,
                "headers": {"x-zendesk-webhook-signature": zendesk, "x-zendesk-webhook-signature-timestamp": at},
            },
        ),
        ("/v1/hooks/twilio", form(fields)),
    ]


def test_signed_junk_is_answered_and_never_a_server_error(module_database_url):
    statuses: set[int] = set()

    @settings(max_examples=150, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(events())
    @example({"event": "endpoint.url_validation", "payload": [1]})
    @example({"event": "webinar.ended", "payload": {"object": {"id": "\u0000"}}})
    @example({"type": "email.received", "data": {"to": [{}, None, "a" * 9_000]}})
    def answers(event):
        for path, call in signed_calls(event):
            headers = [
                (name.encode(), str(value).encode("latin-1", "replace")) for name, value in call["headers"].items()
            ]
            answer = caller.call("POST", path, call["content"].encode("utf-8", "surrogatepass"), headers)
            statuses.add(answer.status)
            assert answer.status < 500, (path, event, answer.body)
            assert answer.status != 401, (path, event)

    with MeasuringCaller(application(module_database_url, SECRETS)) as caller:
        answers()
    assert {202, 400} <= statuses
