"""Every bounce of the corpus is read as what it is about, or kept for a person."""

from __future__ import annotations

import pytest

from api.inbound.mail_parsing.mail_parser import ParsedMail, read_mail
from tests.support.bounce_corpus import CORPUS, HELD, LATE, OURS, TO


def meaning(mail: ParsedMail) -> str:
    """The class of the failure of our message's recipient; `late`, `held`, or what is wrong."""
    if mail.unread or (mail.report is not None and mail.report.failed and not mail.report.returned):
        return HELD
    if mail.report is None:
        return "no report"
    if not mail.report.failed:
        return LATE
    if OURS not in mail.report.returned:
        return "the message is not named"
    kinds = [failed.failure.value for failed in mail.report.failed if failed.is_about(TO)]
    return kinds[0] if kinds else f"about others: {mail.report.failed}"


@pytest.mark.parametrize("bounce", CORPUS, ids=[bounce.label for bounce in CORPUS])
def test_a_bounce_is_about_the_address_the_mailbox_or_the_sender(bounce):
    mail = read_mail(bounce.mail)
    assert mail.automatic
    assert meaning(mail) == bounce.expected


def test_the_corpus_has_at_least_eighty_bounces_with_names_of_their_own():
    labels = [bounce.label for bounce in CORPUS]
    assert len(labels) == len(set(labels)) >= 80
