"""Bounces: relay answers and delivery reports, in the forms that real relays produce."""

from __future__ import annotations

import pytest

from api.inbound.mail_parsing.mail_parser import read_mail
from journeys.consent.failure_classes import FailureClass
from tests.support.delivery_reports import TO, exchange, headless, postfix

OURS = "<9f86d081884c7d65@tenure.example>"


@pytest.mark.parametrize("report_from", [postfix, exchange, headless])
def test_a_report_names_the_undelivered_mail_and_the_failed_recipient(report_from):
    mail = read_mail(report_from(OURS))
    assert mail.automatic
    assert mail.report is not None
    (failed,) = mail.report.failed
    assert mail.report.returned[0] == OURS
    assert (failed.is_about(TO), failed.is_about("ADA@Example.com"), failed.is_about("bo@example.com")) == (
        True, True, False,
    )  # fmt: skip
    assert failed.failure is FailureClass.ADDRESS_GONE


@pytest.mark.parametrize(
    ("status", "answer", "kind"),
    [
        ("5.0.0", "550 5.1.1 <ada@example.com> no such user", "hard"),  # Exim reports 5.0.0 for every failure
        ("5.0.0", "550-5.1.1 no such user", "hard"),
        ("5.0.0", "550 administrative prohibition", "sender"),
        ("5.7.1", "554 5.7.1 blocked", "sender"),
        ("5.2.2", "552 5.2.2 mailbox full", "soft"),
        ("4.4.7", "delivery time expired", "soft"),
        ("4.4.7", "550 5.1.1 a mail before", "soft"),
        ("", "unknown", "soft"),
    ],
)
def test_a_bounce_is_hard_only_if_the_address_does_not_exist(status, answer, kind):
    report = read_mail(postfix(OURS, status=status, said=answer)).report
    assert report is not None
    assert [failed.failure.value for failed in report.failed] == [kind]


@pytest.mark.parametrize(
    ("action", "status"), [("delayed", "4.4.1"), ("delivered", "2.0.0"), ("relayed", "2.0.0"), ("expanded", "2.0.0")]
)
def test_a_report_of_a_delay_or_a_delivery_is_no_bounce(action, status):
    mail = read_mail(postfix(OURS, action=action, status=status))
    assert mail.automatic
    assert mail.report is not None
    assert mail.report.failed == ()


def test_a_failed_forwarding_address_also_counts_for_the_original_address():
    report = read_mail(postfix(OURS, to="ada@private.example", original=TO)).report
    assert report is not None
    (failed,) = report.failed
    assert (failed.is_about(TO), failed.is_about("ada@private.example")) == (True, True)


def test_a_mail_that_only_quotes_a_report_is_no_report():
    quoted = (
        b"From: eve@example.com\r\nContent-Type: message/delivery-status\r\n\r\n"
        + postfix(OURS).partition(b"\r\n\r\n")[2]
    )
    assert read_mail(quoted).report is None
    plain = b"From: eve@example.com\r\nContent-Type: text/plain\r\n\r\n" + postfix(OURS)
    assert read_mail(plain).report is None
