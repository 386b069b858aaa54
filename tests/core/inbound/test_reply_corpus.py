"""Every reply of the corpus is read as what the person wrote, as an opt-out, or as a program's mail."""

from __future__ import annotations

import pytest

from api.inbound.mail_parsing.mail_parser import read_mail
from journeys.consent.opt_out_keywords import keyword_of
from tests.support.reply_corpus import AUTOMATIC, CORPUS, OURS


@pytest.mark.parametrize("reply", CORPUS, ids=[reply.label for reply in CORPUS])
def test_a_reply_is_what_the_person_wrote(reply):
    mail = read_mail(reply.raw)
    assert mail.answers == (OURS,)
    assert (AUTOMATIC if mail.automatic else mail.text) == reply.expected
    assert (keyword_of(mail.text) == "stop") is reply.stops or mail.automatic


def test_the_corpus_has_at_least_eighty_replies_with_names_of_their_own():
    labels = [reply.label for reply in CORPUS]
    assert len(labels) == len(set(labels)) >= 80
