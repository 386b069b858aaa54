"""Every feedback report of the corpus names our message and its kind of feedback; other mails are no complaints."""

from __future__ import annotations

import pytest

from api.inbound.mail_parsing.mail_parser import read_mail
from tests.support.bounce_corpus import CORPUS as BOUNCES
from tests.support.complaint_corpus import CORPUS, OURS
from tests.support.reply_corpus import CORPUS as REPLIES


@pytest.mark.parametrize("complaint", CORPUS, ids=[complaint.label for complaint in CORPUS])
def test_a_feedback_report_has_a_kind_and_names_the_mail(complaint):
    mail = read_mail(complaint.mail)
    assert mail.complaint is not None
    assert (mail.complaint.kind, mail.complaint.returned) == (complaint.kind, (OURS,))
    assert (mail.automatic, mail.report, mail.unread) == (True, None, False)


def test_neither_a_bounce_nor_a_reply_is_a_complaint():
    mails = [*(bounce.mail for bounce in BOUNCES), *(reply.raw for reply in REPLIES)]
    assert [read_mail(raw).complaint for raw in mails] == [None] * len(mails)
