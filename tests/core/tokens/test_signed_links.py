"""Signed links and address hashes: signatures, purposes, expiry, key rotation and canonical addresses."""

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
def test_a_signed_link_is_read_back_unchanged(purpose: Purpose, person: str, channel: str, topic: str, ref: str):
    link = Link(purpose, person, channel, topic, ref)
    token = LINKS.token(link, AT)
    assert LINKS.read(token, purpose, AT) == link
    assert token.replace("-", "").replace("_", "").isalnum(), "needs no escaping in a URL"


@given(st.data())
def test_a_link_with_any_changed_bit_is_refused(data: st.DataObject):
    token = LINKS.token(LINK, AT).encode()
    place = data.draw(st.integers(0, len(token) - 1))
    changed = bytearray(token)
    changed[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(LinkError):
        LINKS.read(changed.decode("latin-1"), "unsubscribe", AT)


def test_every_single_bit_change_of_one_link_is_refused():
    token = LINKS.token(LINK, AT)
    for place in range(len(token)):
        for bit in range(8):
            changed = token[:place] + chr(ord(token[place]) ^ (1 << bit)) + token[place + 1 :]
            with pytest.raises(LinkError):
                LINKS.read(changed, "unsubscribe", AT)


@given(st.text(max_size=600) | st.binary(max_size=100).map(lambda raw: raw.decode("latin-1")))
def test_any_other_text_raises_a_link_error(text: str):
    with pytest.raises(LinkError):
        LINKS.read(text, "preferences", AT)


@pytest.mark.parametrize("changed", ["=", "\n", " ", "A", "=="])
def test_a_link_with_appended_characters_is_refused(changed):
    with pytest.raises(LinkError):
        LINKS.read(LINKS.token(LINK, AT) + changed, "unsubscribe", AT)


@pytest.mark.parametrize("purpose", sorted(set(LIFETIMES) - {"unsubscribe"}))
def test_a_link_for_one_purpose_is_refused_for_another(purpose):
    with pytest.raises(LinkError, match="another purpose"):
        LINKS.read(LINKS.token(LINK, AT), purpose, AT)


def test_unsubscribe_links_never_expire_but_preference_and_confirmation_links_do():
    """CAN-SPAM requires thirty days; people follow links in older mails."""
    assert LINKS.read(LINKS.token(LINK, AT), "unsubscribe", AT + timedelta(days=4000)) == LINK
    for purpose, days in (("preferences", 180), ("confirm", 7)):
        token = LINKS.token(Link(purpose, "u_1"), AT)
        assert LINKS.read(token, purpose, AT + timedelta(days=days))
        with pytest.raises(LinkExpired):
            LINKS.read(token, purpose, AT + timedelta(days=days, seconds=1))


def test_the_first_key_signs_and_every_listed_key_verifies():
    before, after = Links("https://a.example", ("old" * 16,)), Links("https://a.example", ("new" * 16, "old" * 16))
    assert after.read(before.token(LINK, AT), "unsubscribe", AT) == LINK
    with pytest.raises(LinkError):
        before.read(after.token(LINK, AT), "unsubscribe", AT)
    dropped = Links("https://a.example", ("new" * 16,))
    with pytest.raises(LinkError):
        dropped.read(before.token(LINK, AT), "unsubscribe", AT)


def test_a_link_contains_only_the_random_key_of_the_person():
    raw = urlsafe_b64decode(LINKS.token(LINK, AT) + "==")
    assert raw[:-16].decode() == f"u|u_0123456789abcdef|email|onboarding|0123456789abcdef|{int(AT.timestamp()):x}"


@pytest.mark.parametrize(
    "base", ["http://acme.example", "ftp://127.0.0.1", "acme.example", "http://127.0.0.1.evil.example"]
)
def test_a_base_url_without_https_is_refused(base):
    with pytest.raises(ValueError, match="https"):
        Links(base, ("k",))


def test_a_field_that_contains_the_separator_is_refused():
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
def test_two_spellings_of_one_address_have_the_same_hash(channel, one, other):
    assert canonical_address(channel, one) == canonical_address(channel, other)
    assert ADDRESSES.digest(channel, one) == ADDRESSES.digest(channel, other)


def test_a_hash_of_an_address_matches_while_its_key_is_listed():
    old_hash = AddressHash(("old" * 16,)).digest("email", "ada@example.com")
    assert old_hash in ADDRESSES.digests("email", "ada@example.com")
    assert old_hash not in AddressHash(("new" * 16,)).digests("email", "ada@example.com")
    assert "ada" not in old_hash
    assert ADDRESSES.digest("sms", "1") != ADDRESSES.digest("email", "1"), "the hash depends on the channel"
