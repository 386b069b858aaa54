"""The SMTP channel against servers that accept, refuse, hang and disconnect."""

from __future__ import annotations

import asyncio
import email
import email.policy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.header import decode_header, make_header

import pytest
from aiosmtpd.smtp import SMTP

from activities.channels import channels
from activities.channels.email.message import MailMessage, mail_address, mail_bytes
from activities.channels.email.relay_settings import SmtpRelay
from activities.channels.email.smtp import EmailChannel, EmailSettings
from activities.channels.in_app import InAppChannel
from activities.channels.message_hash import message_hash
from activities.content.templates import load_templates
from activities.ports import Ambiguity, AttemptResult, Outgoing, Prepared, Promise, TemplateFault
from journeys.tokens.signed_links import Link, Links
from worker.stack.mail_sink import MailFaults, listen_for_mail
from worker.stack.maildir import find_mails

AT = datetime(2026, 5, 3, 9, 30, tzinfo=UTC)
TEMPLATE = """---
owner: team
topic: onboarding
stage: setup
action: {label: Go on, url: "https://app.example/"}
review_date: 2026-12-31
status: live
subject: "{{ subject }}"
variables: {subject: {type: string}, body: {type: string, default: Hello.}}
---
{{ body }}
"""
KEY = "journey/setup/sk_1/-/1#a.1/send:x.1>sk_1"


@pytest.fixture(scope="module")
def templates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("templates")
    (folder / "it.md").write_text(TEMPLATE, "utf-8")
    return load_templates(folder)


@pytest.fixture
def channel(templates):
    def build(port: int = 1, *, search=None, keep=4, mails_each=100, idle_seconds=30.0, **settings) -> EmailChannel:
        relay = SmtpRelay("127.0.0.1", port, keep=keep, mails_each=mails_each, idle_seconds=idle_seconds)
        settings = {"attempt": timedelta(seconds=1.5)} | settings
        return EmailChannel(templates, EmailSettings(relay=relay, **settings), search=search, clock=lambda: AT)

    return build


def outgoing(subject="Hi", *, body="Hello.", address="ada@example.com", key=KEY) -> Outgoing:
    return Outgoing(key, "it", address, {}, {}, {"subject": subject, "body": body}, "onboarding")


def parsed(prepared: Prepared) -> email.message.EmailMessage:
    return email.message_from_bytes(prepared.body, policy=email.policy.default)


class Inbox:
    """The handler of a real SMTP server. The local part of the recipient chooses the fault."""

    def __init__(self) -> None:
        self.mails: list[tuple[str, list[str], bytes]] = []
        self.connections: set[object] = set()

    async def handle_RCPT(self, server, session, envelope, address, options):
        answers = {"gone": f"550 5.1.1 <{address}> no such user Gone", "busy": "451 4.3.0 try later"}
        if answer := answers.get(address.partition("@")[0]):
            return answer
        envelope.rcpt_tos.append(address)
        return "250 ok"

    async def handle_DATA(self, server, session, envelope):
        self.connections.add(session.peer)
        match envelope.rcpt_tos[0].partition("@")[0]:
            case "spam":
                return "554 5.7.1 we do not want this"
            case "overfull":
                return "452 4.2.2 mailbox full"
            case "vanish":
                self.mails.append((envelope.mail_from, envelope.rcpt_tos, envelope.content))
                server.transport.abort()
            case "silent":
                self.mails.append((envelope.mail_from, envelope.rcpt_tos, envelope.content))
                await asyncio.Event().wait()
            case _:
                self.mails.append((envelope.mail_from, envelope.rcpt_tos, envelope.content))
        return "250 accepted"


@asynccontextmanager
async def listening(protocol) -> AsyncIterator[int]:
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@asynccontextmanager
async def real_server(**options) -> AsyncIterator[tuple[Inbox, int]]:
    inbox = Inbox()
    options = {"enable_SMTPUTF8": True} | options
    sessions: list[SMTP] = []

    def protocol() -> SMTP:
        sessions.append(SMTP(inbox, hostname="test", **options))
        return sessions[-1]

    async with listening(protocol) as port:
        yield inbox, port
        for session in sessions:
            if session._handler_coroutine is not None:
                session._handler_coroutine.cancel()
            if isinstance(session.transport, asyncio.Transport):
                session.transport.abort()


class Scripted(asyncio.Protocol):
    """A server that answers each command with the next line of its script, or closes, waits or stops reading."""

    def __init__(self, script: list[str]) -> None:
        self._script = list(script)
        self._transport: asyncio.Transport
        self._buffer = b""

    def connection_made(self, transport) -> None:
        self._transport = transport
        self._next()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while b"\r\n" in self._buffer:
            _, _, self._buffer = self._buffer.partition(b"\r\n")
            self._next()

    def _next(self) -> None:
        line = self._script.pop(0) if self._script else "wait"
        if line == "close":
            self._transport.abort()
        elif line == "stop reading":
            self._transport.pause_reading()
            asyncio.get_running_loop().call_later(0.05, self._transport.abort)
        elif line != "wait":
            self._transport.write(line.encode() + b"\r\n")


def scripted(*script: str):
    return listening(lambda: Scripted(list(script)))


UP_TO_DATA = ("220 hi", "250 hello", "250 sender", "250 recipient", "354 go on")


# -- delivering ------------------------------------------------------------------------------------------------------


async def test_a_mail_arrives_with_the_bytes_that_were_prepared(channel):
    async with real_server() as (inbox, port):
        email_channel = channel(port)
        prepared = email_channel.prepare(outgoing("Hi", body=".dots\n..more\n.\nend"))
        assert (await email_channel.deliver(prepared, KEY)).result is AttemptResult.SENT
        await email_channel.close()
    assert inbox.mails == [("hello@tenure.example", ["ada@example.com"], prepared.body)]


async def test_delivery_works_on_uvloop(channel):
    async def once() -> tuple[AttemptResult, AttemptResult]:
        async with real_server() as (_, port):
            email_channel = channel(port)
            small = await email_channel.deliver(email_channel.prepare(outgoing()), KEY)
            large = await email_channel.deliver(
                Prepared("<x@y>", "ada@example.com", (b"x" * 500 + b"\r\n") * 6_000), KEY
            )
            await email_channel.close()
            return small.result, large.result

    uvloop = pytest.importorskip("uvloop")
    assert await asyncio.to_thread(uvloop.run, once()) == (AttemptResult.SENT, AttemptResult.SENT)


async def test_a_retry_sends_the_same_bytes_and_message_id(channel):
    async with real_server() as (inbox, port):
        email_channel = channel(port)
        prepared = email_channel.prepare(outgoing())
        for _ in range(2):
            await email_channel.deliver(Prepared(prepared.reference, prepared.address, prepared.body), KEY)
        await email_channel.close()
    assert inbox.mails[0] == inbox.mails[1]
    assert channel().prepare(outgoing()).body == prepared.body


async def test_a_connection_is_reused_and_replaced_after_its_limit_of_mails(channel):
    async with real_server() as (inbox, port):
        email_channel = channel(port, mails_each=3)
        for _ in range(6):
            await email_channel.deliver(email_channel.prepare(outgoing()), KEY)
        assert len(inbox.connections) == 2
        await email_channel.close()


async def test_concurrent_mails_share_a_limited_number_of_connections(channel):
    async with real_server() as (inbox, port):
        email_channel = channel(port, keep=2)
        prepared = email_channel.prepare(outgoing())
        receipts = await asyncio.gather(*(email_channel.deliver(prepared, KEY) for _ in range(20)))
        assert {receipt.result for receipt in receipts} == {AttemptResult.SENT}
        assert len(inbox.mails) == 20
        assert len(inbox.connections) == 2
        await email_channel.close()


async def test_a_refused_mail_does_not_close_the_connection(channel):
    async with real_server() as (inbox, port):
        email_channel = channel(port)
        results = []
        for name in ("ada", "gone", "spam", "ada"):
            prepared = email_channel.prepare(outgoing(address=f"{name}@example.com"))
            results.append((await email_channel.deliver(prepared, KEY)).result)
        assert results == [AttemptResult.SENT, AttemptResult.REFUSED, AttemptResult.REFUSED, AttemptResult.SENT]
        assert len(inbox.connections) == 1
        await email_channel.close()


async def test_a_pooled_connection_that_the_relay_closed_is_replaced(channel):
    async with real_server() as (inbox, port):
        email_channel = channel(port)
        prepared = email_channel.prepare(outgoing())
        await email_channel.deliver(prepared, KEY)
        email_channel._pool._free[0]._smtp.transport.abort()
        assert (await email_channel.deliver(prepared, KEY)).result is AttemptResult.SENT
        assert len(inbox.mails) == 2
        await email_channel.close()


async def test_a_connection_idle_for_too_long_is_not_reused(channel):
    async with real_server() as (inbox, port):
        email_channel = channel(port, idle_seconds=0.0)
        for _ in range(2):
            await email_channel.deliver(email_channel.prepare(outgoing()), KEY)
        assert len(inbox.connections) == 2
        await email_channel.close()


async def test_a_mail_lost_after_its_final_dot_on_a_pooled_connection_is_not_resent(channel):
    async with real_server() as (inbox, port):
        email_channel = channel(port)
        await email_channel.deliver(email_channel.prepare(outgoing()), KEY)
        lost = email_channel.prepare(outgoing(address="vanish@example.com"))
        assert (await email_channel.deliver(lost, KEY)).result is AttemptResult.UNKNOWN
        assert [to for _, [to], _ in inbox.mails] == ["ada@example.com", "vanish@example.com"]
        await email_channel.close()


@pytest.mark.parametrize("goodbye", ["421 4.4.2 idle for too long", None])
async def test_a_mail_is_sent_on_a_new_connection_when_the_relay_closes_a_pooled_one(channel, goodbye):
    first = True
    inbox = Inbox()

    class Tired(SMTP):
        async def smtp_MAIL(self, arg):
            nonlocal first
            if inbox.mails and first:
                first = False
                if goodbye:
                    await self.push(goodbye)
                self.transport.close()
                return
            await super().smtp_MAIL(arg)

    async with listening(lambda: Tired(inbox, hostname="test")) as port:
        email_channel = channel(port)
        prepared = email_channel.prepare(outgoing())
        for _ in range(2):
            assert (await email_channel.deliver(prepared, KEY)).result is AttemptResult.SENT
        assert not first
        await email_channel.close()


# -- results of an attempt -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "result", "words"),
    [
        ("gone", AttemptResult.REFUSED, "550 5.1.1 <…> no such user …"),
        ("busy", AttemptResult.TRY_AGAIN, "451 4.3.0 try later"),
        ("spam", AttemptResult.REFUSED, "554 5.7.1 we do not want this"),
        ("overfull", AttemptResult.TRY_AGAIN, "452 4.2.2 mailbox full"),
    ],
)
async def test_a_reply_code_decides_the_result_and_its_text_is_kept_without_the_address(channel, name, result, words):
    async with real_server() as (_, port):
        email_channel = channel(port)
        receipt = await email_channel.deliver(email_channel.prepare(outgoing(address=f"{name}@example.com")), KEY)
        assert (receipt.result, receipt.detail) == (result, words)
        await email_channel.close()


@pytest.mark.parametrize(
    ("script", "failure"),
    [
        (["250 sender", "550 5.1.1 no such user", "250 reset"], "hard"),
        (["250 sender", "550-5.1.1 <ada@example.com>", "250 reset"], None),  # the reply is incomplete
        (["550 5.1.8 sender address rejected", "250 reset"], "sender"),
        (
            ["250 sender", "550 5.1.8 sender address rejected", "250 reset"],
            "sender",
        ),  # Postfix rejects the sender at RCPT
        (["250 sender", "550 no such user", "250 reset"], "hard"),
        (["250 sender", "550 rejected", "250 reset"], "soft"),
        (["250 sender", "552 5.3.4 message too big", "250 reset"], "sender"),
        (["250 sender", "554 5.7.1 relay access denied", "250 reset"], "sender"),
        (["250 sender", "450 4.1.1 not yet verified", "250 reset"], None),
    ],
)
async def test_a_permanent_rejection_is_about_the_address_the_mailbox_or_the_sender(channel, script, failure):
    async with scripted("220 hi", "250 hello", *script) as port:
        email_channel = channel(port, attempt=timedelta(seconds=0.3))
        receipt = await email_channel.deliver(email_channel.prepare(outgoing()), KEY)
        assert (receipt.failure.value if receipt.failure is not None else None) == failure
        assert receipt.result is not AttemptResult.SENT
        await email_channel.close()


@pytest.mark.parametrize("name", ["vanish", "silent"])
async def test_a_mail_whose_reply_never_comes_is_unknown(channel, name):
    async with real_server() as (inbox, port):
        email_channel = channel(port, attempt=timedelta(seconds=0.3))
        receipt = await email_channel.deliver(email_channel.prepare(outgoing(address=f"{name}@example.com")), KEY)
        assert receipt.result is AttemptResult.UNKNOWN
        assert len(inbox.mails) == 1
        await email_channel.close()


@pytest.mark.parametrize("good", range(5))
@pytest.mark.parametrize("ending", ["close", "wait", "421 4.3.2 closing", "no reply at all"])
async def test_a_failure_before_the_content_is_retried(channel, good, ending):
    async with scripted(*UP_TO_DATA[:good], ending) as port:
        email_channel = channel(port, attempt=timedelta(seconds=0.1))
        receipt = await email_channel.deliver(email_channel.prepare(outgoing()), KEY)
        assert receipt.result is AttemptResult.TRY_AGAIN
        await email_channel.close()


async def test_a_mail_whose_content_was_cut_off_is_retried(channel):
    async with scripted(*UP_TO_DATA, "stop reading") as port:
        email_channel = channel(port)
        large = Prepared("<x@y>", "ada@example.com", b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n") * 400_000)
        receipt = await email_channel.deliver(large, KEY)
        assert receipt.result is AttemptResult.TRY_AGAIN
        await email_channel.close()


@pytest.mark.parametrize("reply", ["no reply at all", "354 go on"])
async def test_an_invalid_reply_after_the_final_dot_leaves_the_mail_unknown(channel, reply):
    body = b"one line\r\n"
    async with scripted(*UP_TO_DATA, "wait", reply) as port:
        email_channel = channel(port)
        receipt = await email_channel.deliver(Prepared("<x@y>", "ada@example.com", body), KEY)
        assert receipt.result is AttemptResult.UNKNOWN
        await email_channel.close()


@pytest.mark.parametrize(
    "script",
    [
        ["554 no mail from your network"],
        ["220 hi", "550 go away", "550 go away"],
        ["220 hi", "250 hello", "530 5.7.0 log in first", "250 reset"],
    ],
)
async def test_a_relay_that_rejects_the_client_does_not_refuse_the_mail(channel, script):
    async with scripted(*script) as port:
        email_channel = channel(port, attempt=timedelta(seconds=0.2))
        receipt = await email_channel.deliver(email_channel.prepare(outgoing()), KEY)
        assert receipt.result is AttemptResult.TRY_AGAIN
        await email_channel.close()


async def test_an_unreachable_relay_is_retried(channel):
    async with scripted() as port:
        pass
    receipt = await channel(port).deliver(channel().prepare(outgoing()), KEY)
    assert receipt.result is AttemptResult.TRY_AGAIN


async def test_a_relay_that_closes_after_a_refusal_has_refused_the_mail(channel):
    async with scripted("220 hi", "250 hello", "250 sender", "550 no such user", "close") as port:
        email_channel = channel(port)
        receipt = await email_channel.deliver(email_channel.prepare(outgoing()), KEY)
        assert receipt.result is AttemptResult.REFUSED


async def test_a_connection_that_opens_too_slowly_for_one_attempt_serves_the_next(channel):
    greet = asyncio.Event()
    inbox = Inbox()

    class Slow(SMTP):
        async def _handle_client(self):
            await greet.wait()
            await super()._handle_client()

    async with listening(lambda: Slow(inbox, hostname="test")) as port:
        email_channel = channel(port, attempt=timedelta(seconds=0.05))
        prepared = email_channel.prepare(outgoing())
        assert (await email_channel.deliver(prepared, KEY)).result is AttemptResult.TRY_AGAIN
        greet.set()
        await asyncio.wait(email_channel._pool._opening)
        greet.clear()
        assert (await email_channel.deliver(prepared, KEY)).result is AttemptResult.SENT
        await email_channel.close()


async def test_a_cancelled_attempt_does_not_return_its_connection_to_the_pool(channel):
    async with real_server() as (inbox, port):
        email_channel = channel(port)
        silent = email_channel.prepare(outgoing(address="silent@example.com"))
        attempt = asyncio.ensure_future(email_channel.deliver(silent, KEY))
        while not inbox.mails:
            await asyncio.sleep(0)
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt
        assert (await email_channel.deliver(email_channel.prepare(outgoing()), KEY)).result is AttemptResult.SENT
        await email_channel.close()


# -- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("ada@example.com", "ada@example.com"),
        (" Ada.L+x@Example.COM ", "Ada.L+x@example.com"),
        ("ada@bücher.example", "ada@xn--bcher-kva.example"),
        ("用户@example.com", "用户@example.com"),
        ("o'hara@example.com", "o'hara@example.com"),
        *((given, None) for given in (None, 7, "", "ada", "@example.com", "ada@", "a b@example.com", "a@b@c.com")),
        *(
            (given, None)
            for given in ("ada@example.com\r\nBcc: eve@x.com", "ada@example.com, eve@x.com", "a\x00@x.com")
        ),
        *(
            (given, None)
            for given in ("Ada <ada@example.com>", '"a b"@x.com', "<a@x.com>", "a@[127.0.0.1]", "a\u202e@x.com")
        ),
        *(
            (given, None)
            for given in ("a..b@x.com", ".a@x.com", "a@-x.com", "a@x..com", "x" * 65 + "@x.com", "a@" + "x" * 64)
        ),
        *(
            (given, None)
            for given in ("a@x.com>\r\nRCPT TO:<b@x.com", "a@" + "x." * 130 + "com", "a;b@x.com", "a\\@x.com")
        ),
    ],
)
def test_only_a_plain_address_is_accepted(channel, given, address):
    assert channel().address({"email": given}, "sk_1") == address
    if isinstance(given, str) and given != address:
        with pytest.raises(TemplateFault, match="address"):
            channel().prepare(outgoing(address=given))


async def test_an_internationalised_address_is_delivered(channel):
    async with real_server() as (inbox, port):
        email_channel = channel(port)
        prepared = email_channel.prepare(outgoing("Grüße", address="用户@xn--bcher-kva.example"))
        assert (await email_channel.deliver(prepared, KEY)).result is AttemptResult.SENT
        await email_channel.close()
    assert inbox.mails[0][1] == ["用户@xn--bcher-kva.example"]
    assert parsed(prepared)["to"] == "用户@xn--bcher-kva.example"
    assert parsed(prepared)["subject"] == "Grüße"


async def test_an_internationalised_address_is_refused_by_a_relay_without_smtputf8(channel):
    async with real_server(enable_SMTPUTF8=False) as (inbox, port):
        email_channel = channel(port)
        for address in ("用户@example.com", "ada@example.com"):
            receipt = await email_channel.deliver(email_channel.prepare(outgoing(address=address)), KEY)
            assert receipt.result is (AttemptResult.SENT if address.isascii() else AttemptResult.REFUSED)
        assert len(inbox.mails) == 1
        await email_channel.close()


async def test_an_invalid_stored_address_is_refused_without_a_connection(channel):
    async with real_server() as (inbox, port):
        stored = Prepared("<x@y>", "ada@example.com>\r\nRCPT TO:<eve@x.com", b"x\r\n")
        assert (await channel(port).deliver(stored, KEY)).result is AttemptResult.REFUSED
        assert not inbox.connections


# -- headers and parts -----------------------------------------------------------------------------------------------


def test_the_headers_contain_no_personal_data_but_the_address(channel):
    links = Links("https://acme.example/", ("k" * 32,))
    mail = parsed(channel(links=links).prepare(outgoing("Grüße, Ada")))
    digest = message_hash(KEY)
    link = Link("unsubscribe", "sk_1", "email", "onboarding", digest[:16])
    assert dict(mail.items()) | {"Content-Type": ""} == {
        "From": "Tenure <hello@tenure.example>",
        "To": "ada@example.com",
        "Subject": "Grüße, Ada",
        "Date": "Sun, 03 May 2026 09:30:00 +0000",
        "Message-ID": f"<{digest}@tenure.example>",
        "X-Tenure-Key": digest,
        "Auto-Submitted": "auto-generated",
        "List-Unsubscribe": f"<https://acme.example/u/{links.token(link, AT)}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        "MIME-Version": "1.0",
        "Content-Type": "",
    }
    assert not mail.defects


def test_there_is_no_list_unsubscribe_header_without_signed_links(channel):
    assert "List-Unsubscribe" not in parsed(channel().prepare(outgoing()))


def test_a_local_link_base_gets_a_footer_link_and_no_list_unsubscribe_header(channel):
    """RFC 8058 §3.1 requires HTTPS for the header; a link in the footer works without."""
    mail = parsed(channel(links=Links("http://127.0.0.1:8400", ("k" * 32,))).prepare(outgoing()))
    assert "List-Unsubscribe" not in mail
    text, html = mail.iter_parts()
    assert "Unsubscribe: http://127.0.0.1:8400/u/" in text.get_content()
    assert 'href="http://127.0.0.1:8400/u/' in html.get_content()


def test_both_parts_contain_the_text_in_any_script(channel):
    content = "Grüße 👋 " + "sehr lang " * 300 + "=3D <b> \t."
    mail = parsed(channel().prepare(outgoing(body=content)))
    assert mail.get_content_type() == "multipart/alternative"
    text, html = mail.iter_parts()
    assert text.get_content().replace("\r\n", "\n").startswith(f"{content}\n\nGo on:\nhttps://app.example/\n")
    assert "Grüße 👋" in html.get_content()
    assert "&lt;b&gt;" in html.get_content()


def test_every_line_is_ascii_short_and_ends_with_crlf(channel):
    body = channel().prepare(outgoing("ü" * 240, body="é" * 5_000 + "\r\rx\n\n\ny\u2028z\x0b")).body
    assert body.isascii()
    head, _, parts = body.partition(b"\r\n\r\n")
    assert max(map(len, parts.split(b"\r\n"))) <= 76
    assert max(len(line) for line in head.split(b"\r\n") if not line.startswith((b"Message-ID:", b"X-"))) <= 76
    assert b"\n" not in body.replace(b"\r\n", b"")
    assert b"\r" not in body.replace(b"\r\n", b"")


@pytest.mark.parametrize("mark", ["\r\n", "\n", "\r", "\x00", "\x85", "\u2028"])
def test_no_value_can_add_a_header(channel, mark):
    mail = parsed(channel().prepare(outgoing(f"Hi{mark}Bcc: eve@example.com{mark}{mark}<html>")))
    assert mail["bcc"] is None
    assert mail["subject"] == "Hi Bcc: eve@example.com <html>"


def test_a_subject_that_looks_like_an_encoded_word_is_shown_as_written(channel):
    sneaky = "=?utf-8?q?=0D=0ABcc:_eve?= x"
    body = channel().prepare(outgoing(sneaky)).body
    assert b"Bcc" not in body.partition(b"\r\n\r\n")[0]
    assert make_header(decode_header(message_from_bytes(body)["subject"])) == sneaky


@pytest.mark.parametrize(
    "subject", ["Hi", "word " * 40 + "end", "wort-ü " * 30 + "end", "ü" * 200, "👋" * 90, "x" * 240, "a =?b?"]
)
def test_a_subject_of_any_length_and_script_survives_encoding(channel, subject):
    assert parsed(channel().prepare(outgoing(subject)))["subject"] == subject


@pytest.mark.parametrize(
    "name", ['Ann "The" O\'Neil, Inc.', "Jörg <eve@evil.example>", "a\\", "Ünï" * 5, "=?utf-8?q?=0D=0AX?=", ""]
)
def test_a_hostile_sender_name_stays_a_display_name(channel, name):
    sender = parsed(channel(sender=(name, "hello@acme.example")).prepare(outgoing()))["from"]
    assert [(address.display_name, address.addr_spec) for address in sender.addresses] == [(name, "hello@acme.example")]


def test_a_long_sender_name_survives_folding(channel):
    mail = message_from_bytes(channel(sender=("Ünï" * 30, "hello@acme.example")).prepare(outgoing()).body)
    assert str(make_header(decode_header(mail["from"]))) == "Ünï" * 30 + " <hello@acme.example>"


@pytest.mark.parametrize(
    "settings",
    [
        {"sender": ("Eve\r\nBcc: x@y.z", "a@b.example")},
        {"sender": ("", "a@b.example\r\nBcc: x@y.z")},
        {"domain": "a b"},
    ],
)
def test_settings_that_would_make_an_invalid_mail_are_refused_at_the_start(settings):
    with pytest.raises(ValueError, match=r"."):
        EmailSettings(**settings)


def test_a_header_value_with_a_line_break_is_refused(channel):
    fine = {
        "sender": ("", "a@b.c"),
        "to": "a@b.c",
        "subject": "s",
        "date": AT,
        "message_id": "<a@b>",
        "text": "",
        "html": "",
    }
    assert mail_bytes(MailMessage(**fine))
    for bad in (
        {"subject": "a\r\nb: c"},
        {"subject": "ü\nb: c"},
        {"to": "a\r\nb"},
        {"message_id": "a\nb"},
        {"extra": (("X", "a\nb"),)},
    ):
        with pytest.raises(ValueError, match=r"."):
            mail_bytes(MailMessage(**(fine | bad)))


def test_the_message_id_depends_only_on_the_key(channel):
    first, same, other = (
        channel().prepare(outgoing(body, key=key)) for body, key in (("a", KEY), ("b", KEY), ("a", KEY + "x"))
    )
    assert first.reference == same.reference != other.reference
    assert "sk_1" not in first.reference


# -- promises --------------------------------------------------------------------------------------------------------


def test_smtp_without_a_search_is_class_c_and_sends_at_most_once(channel):
    assert (channel().promise, channel().ambiguity) == (Promise.BLIND, Ambiguity.AT_MOST_ONCE)
    assert channel(ambiguity=Ambiguity.AT_LEAST_ONCE).ambiguity is Ambiguity.AT_LEAST_ONCE


async def test_smtp_with_a_search_is_class_b(channel):
    sent = set()
    email_channel = channel(search=sent.__contains__)
    prepared = email_channel.prepare(outgoing())
    assert email_channel.promise is Promise.SEARCHABLE
    assert await email_channel.find(prepared) is False
    sent.add(prepared.reference)
    assert await email_channel.find(prepared) is True


async def test_a_search_in_the_mail_sink_resolves_a_lost_reply(channel, tmp_path):
    server = await listen_for_mail(tmp_path, faults=MailFaults(close_after_accept_rate=1.0))
    port = server.sockets[0].getsockname()[1]
    email_channel = channel(port, search=lambda message_id: find_mails(tmp_path, message_id).count > 0)
    sent, other = (email_channel.prepare(outgoing(key=key)) for key in (KEY, KEY + "x"))
    assert (await email_channel.deliver(sent, KEY)).result is AttemptResult.UNKNOWN
    assert (await email_channel.find(sent), await email_channel.find(other)) == (True, False)
    await email_channel.close()
    server.close()


async def test_a_failed_or_missing_search_returns_none(channel):
    def broken(_):
        raise OSError

    assert await channel(search=broken).find(channel().prepare(outgoing())) is None
    assert await channel().find(channel().prepare(outgoing())) is None


def test_the_registry_uses_the_channel_names_of_definitions(channel, templates):
    email_channel, in_app = channel(), InAppChannel(templates)
    assert {name: registered.name for name, registered in channels(email=email_channel, in_app=in_app).items()} == {
        "email": "email",
        "in_app": "in_app",
    }


@pytest.mark.parametrize(
    ("url", "relay"),
    [
        ("smtp://mail.example", ("mail.example", 25, None, None, False, None)),
        ("smtp://a%40b:p%3Aw@mail.example:2525", ("mail.example", 2525, "a@b", "p:w", False, True)),
        ("smtp://u:p@127.0.0.1:2525", ("127.0.0.1", 2525, "u", "p", False, None)),
        ("smtp+starttls://u:p@mail.example", ("mail.example", 587, "u", "p", False, True)),
        ("smtps://u:p@mail.example", ("mail.example", 465, "u", "p", True, None)),
    ],
)
def test_an_smtp_url_is_parsed_into_relay_settings(url, relay):
    made = SmtpRelay.from_url(url)
    assert (made.host, made.port, made.username, made.password, made.tls, made.start_tls) == relay


@pytest.mark.parametrize("url", ["http://mail.example", "smtp://", "mail.example:25"])
def test_a_url_that_is_not_an_smtp_url_is_refused(url):
    with pytest.raises(ValueError, match="give an SMTP URL such as"):
        SmtpRelay.from_url(url)


def test_an_address_is_checked_in_linear_time():
    assert mail_address("a" * 50_000 + "@") is None
    assert mail_address("a@" + "a-" * 50_000) is None
