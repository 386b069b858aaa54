"""Claims of public keys: one mailbox has many addresses, and is counted as one."""

from __future__ import annotations

import pytest

from journeys.access.claims import mailbox_of

SAME = {
    "case and space": ("ada@example.com", " ADA@Example.com"),
    "a detail": ("ada@example.com", "ada+shop@example.com"),
    "details": ("ada@example.com", "ada+shop+2@example.com"),
    "dots of Gmail": ("adalovelace@gmail.com", "ada.love.lace+x@googlemail.com"),
    "a domain in Unicode": ("ada@bücher.example", "ada@xn--bcher-kva.example"),
    "full-width letters": ("ada@example.com", "ａda@example.com"),
}
NUMBERS = (
    "+43 664 123-4567",
    "0043 (664) 1234567",
    "+43 (0)664 1234567",
    "0664/1234567",
    "+436641234567;ext=12",
    "+436641234567 x9",
)
OTHERS = ("ada@example.com", "a.da@example.com", "ada@example.org", "+ada@example.com", "@example.com", "ada", "")


@pytest.mark.parametrize("spelling", SAME)
def test_addresses_of_one_mailbox_are_one(spelling):
    first, second = SAME[spelling]
    assert mailbox_of("email", first) == mailbox_of("email", second)


def test_a_number_is_one_however_it_is_written():
    assert len({mailbox_of("sms", number) for number in NUMBERS}) == 1
    assert mailbox_of("sms", "+436641234568") != mailbox_of("sms", NUMBERS[0])


def test_other_mailboxes_are_others_and_no_text_is_too_strange():
    assert len({mailbox_of("email", address) for address in OTHERS}) == len(OTHERS)
    for strange in ("a@" + "b" * 40_000, "a@" + "b." * 300, "@" * 1_000, "a@\ud800", "a@..", "\x00"):
        assert isinstance(mailbox_of("email", strange), str)
        assert isinstance(mailbox_of("sms", strange), str)
