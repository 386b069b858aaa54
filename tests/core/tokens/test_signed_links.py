"""Signed links: one spelling, one purpose, one person; whatever is changed about one is refused."""

from __future__ import annotations

from base64 import urlsafe_b64decode
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeys.tokens.address_hash import AddressHash, canonical_address
from journeys.tokens.signed_links import LIFETIMES, Link, LinkError, LinkExpired, Links, Purpose

AT = datetime(2026, 5, 3, 10, tzinfo=UTC)
LINKS = Links("https://acme.example", ("k" * 32, "old" * 16))
LINK = Link("unsubscribe", "u_0123456789abcdef", "email", "onboarding", "0123456789abcdef")
words = st.text("abcdefghijklmnopqrstuvwxyz_-*0123456789", max_size=20)
purposes = st.sampled_from(sorted(LIFETIMES))


@given(purposes, words, words, words, words)
def test_what_was_signed_is_read_again(purpose: Purpose, person: str, channel: str, topic: str, ref: str):
    link = Link(purpose, person, channel, topic, ref)
    token = LINKS.token(link, AT)
    assert LINKS.read(token, purpose, AT) == link
    assert token.replace("-", "").replace("_", "").isalnum(), "fit for a URL as it is"


@given(st.data())
def test_whichever_bit_is_tampered_with_the_link_is_refused(data: st.DataObject):
    token = LINKS.token(LINK, AT).encode()
    place = data.draw(st.integers(0, len(token) - 1))
    changed = bytearray(token)
    changed[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(LinkError):
        LINKS.read(changed.decode("latin-1"), "unsubscribe", AT)


def test_every_single_bit_of_one_link():
    token = LINKS.token(LINK, AT)
    for place in range(len(token)):
        for bit in range(8):
            changed = token[:place] + chr(ord(token[place]) ^ (1 << bit)) + token[place + 1 :]
            with pytest.raises(LinkError):
                LINKS.read(changed, "unsubscribe", AT)


@given(st.text(max_size=600) | st.binary(max_size=100).map(lambda raw: raw.decode("latin-1")))
def test_what_is_not_ours_is_refused_and_nothing_else_happens(text: str):
    with pytest.raises(LinkError):
        LINKS.read(text, "preferences", AT)


@pytest.mark.parametrize("changed", ["=", "\n", " ", "A", "=="])
def test_a_link_has_one_spelling(changed):
    with pytest.raises(LinkError):
        LINKS.read(LINKS.token(LINK, AT) + changed, "unsubscribe", AT)


@pytest.mark.parametrize("purpose", sorted(set(LIFETIMES) - {"unsubscribe"}))
def test_a_link_for_one_purpose_opens_no_other(purpose):
    with pytest.raises(LinkError, match="something else"):
        LINKS.read(LINKS.token(LINK, AT), purpose, AT)


def test_a_way_out_is_good_for_ever_and_a_way_in_is_not():
    """CAN-SPAM asks for thirty days; people find old mails."""
    assert LINKS.read(LINKS.token(LINK, AT), "unsubscribe", AT + timedelta(days=4000)) == LINK
    for purpose, days in (("preferences", 180), ("confirm", 7)):
        token = LINKS.token(Link(purpose, "u_1"), AT)
        assert LINKS.read(token, purpose, AT + timedelta(days=days))
        with pytest.raises(LinkExpired):
            LINKS.read(token, purpose, AT + timedelta(days=days, seconds=1))


def test_keys_rotate_the_first_signs_and_all_are_understood():
    before, after = Links("https://a.example", ("old" * 16,)), Links("https://a.example", ("new" * 16, "old" * 16))
    assert after.read(before.token(LINK, AT), "unsubscribe", AT) == LINK
    with pytest.raises(LinkError):
        before.read(after.token(LINK, AT), "unsubscribe", AT)
    dropped = Links("https://a.example", ("new" * 16,))
    with pytest.raises(LinkError):
        dropped.read(before.token(LINK, AT), "unsubscribe", AT)


def test_nothing_of_the_person_but_their_random_key_is_in_it():
    raw = urlsafe_b64decode(LINKS.token(LINK, AT) + "==")
    assert raw[:-16].decode() == f"u|u_0123456789abcdef|email|onboarding|0123456789abcdef|{int(AT.timestamp()):x}"


@pytest.mark.parametrize(
    "base", ["http://acme.example", "ftp://127.0.0.1", "acme.example", "http://127.0.0.1.evil.example"]
)
def test_links_that_would_travel_in_the_clear_are_refused_at_start(base):
    with pytest.raises(ValueError, match="https"):
        Links(base, ("k",))


def test_a_field_that_could_be_read_as_another_is_refused():
    with pytest.raises(ValueError, match="the separator"):
        LINKS.token(Link("unsubscribe", "u_1|email"), AT)


ADDRESSES = AddressHash(("new" * 16, "old" * 16))


@pytest.mark.parametrize(
    ("channel", "one", "other"),
    [
        ("email", "Ada@Example.COM ", "ada@example.com"),
        ("sms", "+43 (664) 123-45", "0043664 12345"),
        ("sms", "+4366412345", "٤٣66412345"),
    ],
)
def test_one_address_in_two_spellings_is_one(channel, one, other):
    assert canonical_address(channel, one) == canonical_address(channel, other)
    assert ADDRESSES.digest(channel, one) == ADDRESSES.digest(channel, other)


def test_an_address_is_kept_as_a_keyed_hash_that_outlives_its_key():
    kept = AddressHash(("old" * 16,)).digest("email", "ada@example.com")
    assert kept in ADDRESSES.digests("email", "ada@example.com")
    assert kept not in AddressHash(("new" * 16,)).digests("email", "ada@example.com")
    assert "ada" not in kept
    assert ADDRESSES.digest("sms", "1") != ADDRESSES.digest("email", "1"), "an address is one of its channel"
