"""Replies to mails: reply addresses, the mail parser, and replies in the gate and the simulator."""

from __future__ import annotations

import hashlib
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.inbound.mail_parsing.mail_parser import read_mail
from journeys.gate.judge import judge
from journeys.gate.policy import load_policy
from journeys.gate.verdicts import OpenConversation, RecipientContext, SendNow, SendRequest, Withhold
from journeys.simulation.recording import RecordedEvent
from journeys.simulation.timeline import Scenario
from journeys.simulation.world import World
from journeys.tokens.reply_addresses import MAX_LOCAL_PART, ReplyAddresses
from journeys.whynot.changes import SuggestedChange, as_recorded
from tests.support.reached import must_reach, reached
from tests.support.run_script import chart, day

OURS = ReplyAddresses("replies@in.example.com", ("k" * 32, "old" * 12))
KEYS = st.binary(min_size=8, max_size=8).map(lambda raw: f"u_{raw.hex()}")
DIGESTS = st.binary().map(lambda raw: hashlib.sha256(raw).hexdigest())


@given(KEYS, DIGESTS)
def test_a_reply_address_names_person_and_message_also_in_capitals_and_after_key_rotation(person, digest):
    made = OURS.address(person, digest)
    assert made is not None
    assert len(made.partition("@")[0]) <= 64  # RFC 5321 §4.5.3.1.1
    for written in (made, made.upper(), f" {made} "):
        assert OURS.read(written) == (person, digest[:16])
    rotated = ReplyAddresses(OURS.base, ("new" * 12, *OURS.keys))
    assert rotated.read(made) == (person, digest[:16])


@given(KEYS, DIGESTS, st.integers(8, 49), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
def test_a_reply_address_with_a_changed_character_is_rejected(person, digest, place, character):
    made = OURS.address(person, digest)
    changed = made[:place] + character + made[place + 1 :]
    read = OURS.read(changed)
    assert read is None or read == (person, digest[:16])  # the last character of a token has spare bits
    assert ReplyAddresses(OURS.base, ("x" * 32,)).read(made) is None


@pytest.mark.parametrize("odd", ["", "@", "replies@in.example.com", "replies+@in.example.com", "replies+é@in.example.com",
                                 "replies+" + "1" * 42 + "@in.example.com", "other+" + "a" * 42 + "@in.example.com"])  # fmt: skip
def test_an_address_without_a_valid_token_is_read_as_none(odd):
    assert OURS.read(odd) is None


def test_an_unusable_base_address_is_refused_and_a_malformed_key_gets_no_reply_address():
    for base in ("x" * (MAX_LOCAL_PART + 1) + "@a.example", "@a.example", "a+b@a.example", "nobody"):
        with pytest.raises(ValueError, match="the reply address needs"):
            ReplyAddresses(base, ("k" * 32,))
    assert OURS.address("u_1", "0" * 64) is None


HEADERS = (
    b"From: Ada <ada@example.com>", b"To: replies+x@in.example.com", b"Subject: =?utf-8?q?Re=3A?=", b"In-Reply-To: <b@x>",
    b"References: <a@x>", b"Content-Type: text/plain; charset=", b"Content-Type: multipart/report; boundary=b", b"Auto-Submitted:",
    b"Content-Transfer-Encoding: base64", b"Return-Path: <>", b"Message-ID: <m@x>",
)  # fmt: skip
DAMAGED = st.builds(bytes.__add__, st.sampled_from(HEADERS), st.binary(max_size=8))
MAILS = st.builds(
    lambda head, body: b"\r\n".join([*head, b"", body]),
    st.lists(st.sampled_from(HEADERS) | DAMAGED, min_size=1, max_size=6),
    st.binary(max_size=60) | st.sampled_from((b"Yes.\r\n> quoted", b"--b\r\n\r\nx\r\n--b--")),
)


@must_reach(read=5)
@given(st.binary(max_size=400) | MAILS)
def test_any_bytes_parse_as_a_mail_or_raise_value_error(raw):
    """Any other exception fails."""
    try:
        assert read_mail(raw) is not None
        reached("read")
    except ValueError:
        return


def test_a_mail_is_read_up_to_its_quotation_and_lists_the_answered_message_first():
    mail = EmailMessage()
    mail["To"] = "Tenure <replies+x@in.example.com>, Dana <dana@example.com>"
    mail["In-Reply-To"] = "<b@x>"
    mail["References"] = "<a@x> <b@x>"
    mail.set_content("Yes.\n\n> quoted\n")
    mail_read = read_mail(mail.as_bytes())
    assert (mail_read.answers, mail_read.text, mail_read.automatic) == (("<b@x>", "<a@x>"), "Yes.", False)
    assert mail_read.to == ("replies+x@in.example.com", "dana@example.com")


def test_a_quotation_ends_the_text_also_with_crlf_line_ends():
    head = b"From: ada@example.com\r\nTo: x@in.example.com\r\nContent-Type: text/plain\r\n\r\n"
    quoted = b"Unsubscribe\r\n\r\nOn Mon, Tenure <hello@t.example> wrote:\r\n> Hello\r\n"
    assert read_mail(head + quoted).text == "Unsubscribe"


# -- the gate and the simulator ----------------------------------------------------------------------------------------


def test_a_reply_withholds_lifecycle_messages_of_its_run_until_the_conversation_ends():
    policy, now = load_policy({}), day(1)
    recipient = RecipientContext(addresses={"email": True}, talks=(OpenConversation("r1", day(3), "dana"),))
    request = SendRequest(("email",), "t", "lifecycle", day(0), run="r1", journey="j")
    verdict = judge(policy, request, recipient, now)
    assert isinstance(verdict, Withhold)
    assert verdict.reasons[0].code == "in_conversation"
    assert "dana" in verdict.reasons[0].text
    for run, priority, at in (("r2", "lifecycle", now), ("r1", "transactional", now), ("r1", "lifecycle", day(3))):
        other = SendRequest(("email",), "t", priority, day(0), run=run, journey="j")
        assert isinstance(judge(policy, other, recipient, at), SendNow)


TEXT = "states: {a: {do: [{send: x, via: [in_app]}], on: {go: {do: [{send: y, via: [in_app]}]}}}}"


def signal(at: float, name: str, **data: object) -> RecordedEvent:
    return RecordedEvent(day(at), "p", "signal", name, data)


def test_the_simulator_withholds_messages_after_a_reply_until_it_is_closed_or_expired():
    def kinds(*events: RecordedEvent) -> list[str]:
        person = World(Scenario((chart(TEXT),), load_policy({}), frozenset({"in_app"})))
        for event in (signal(0, "begin"), *events):
            person.accept(event)
        return [line.kind for line in person.lines() if line.kind in {"sent", "withheld"}]

    replied = signal(1, "message_replied", template="x", text="Could you call me?")
    closed = as_recorded(SuggestedChange("close_conversation", "", {"run": "", "template": "x"}), "p", day(2))
    assert closed is not None
    assert kinds(replied, signal(3, "go")) == ["sent", "withheld"]
    assert kinds(replied, closed, signal(3, "go")) == ["sent", "sent"]
    assert kinds(replied, signal(16, "go")) == ["sent", "sent"]
    assert kinds(signal(1, "message_replied", template="x", text="STOP"), signal(3, "go")) == ["sent", "sent"]


def test_C5_a_reply_with_an_opt_out_keyword_refuses_email_in_the_simulator():
    text = TEXT.replace("send: x, via: [in_app]", "send: x, via: [email]").replace(
        "send: y, via: [in_app]", "send: y, via: [email]"
    )
    policy = load_policy({"consent": [{"default": "granted"}]})
    person = World(Scenario((chart(text),), policy, frozenset({"in_app"})))
    known = RecordedEvent(day(0), "p", "profile", "identify", {"email": "ada@example.com"})
    stop = signal(1, "message_replied", template="x", text="Unsubscribe.")
    for event in (known, signal(0, "begin"), stop, signal(3, "go")):
        person.accept(event)
    assert [line.kind for line in person.lines() if line.kind in {"sent", "withheld"}] == ["sent"]
    assert person.gate_of(person.subjects.user("p").subject).recipient.consents == {("email", "*"): False}
