"""Opt-out keywords (47 CFR 64.1200(a)(10)) are recognised in any spelling, and no other text is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeys.consent.opt_out_keywords import START, STOP, keyword_of
from tests.support.reached import must_reach, reached

NOISE = " \t\n.,;:!?-_'\"()*…\u200b"
STOP_WORDS = ("stop", "quit", "end", "revoke", "opt out", "cancel", "unsubscribe")
noise = st.text(NOISE, max_size=4)


@given(st.data())
def test_C5_case_punctuation_and_spaces_of_a_keyword_are_ignored(data: st.DataObject):
    word = data.draw(st.sampled_from((*STOP_WORDS, "start", "unstop")))
    written = "".join(
        data.draw(noise) + data.draw(st.sampled_from((letter.lower(), letter.upper()))) for letter in word
    ) + data.draw(noise)
    assert keyword_of(written) == ("start" if word in START else "stop")


AROUND = st.text(max_size=40) | noise


@must_reach(alone=5, within=5)
@given(AROUND, st.sampled_from(STOP_WORDS), AROUND)
def test_C5_a_keyword_within_a_sentence_is_not_an_opt_out(before: str, word: str, after: str):
    has_other_words = any(character.isalnum() for character in before + after)
    keyword = keyword_of(f"{before} {word} {after}")
    whole = "".join(character for character in f"{before}{word}{after}".casefold() if character.isalnum())
    if not has_other_words:
        reached("alone")
        assert keyword == "stop"
    elif whole not in STOP | START:
        reached("within")
        assert keyword is None


@pytest.mark.parametrize(
    "text",
    [
        "please stop writing",
        "when does it end",
        "don't stop",
        "cancel my order",
        "start now",
        "",
        "?",
        "s",
        "stop" + " " * 300,
    ],
)
def test_other_text_is_not_a_keyword(text):
    assert keyword_of(text) is None


@pytest.mark.parametrize("text", ["ＳＴＯＰ", "Opt-Out", "OPT OUT!", "optout", "“Stop.”", "StopAll", "s.t.o.p"])
def test_a_keyword_in_another_script_or_notation_is_recognised(text):
    assert keyword_of(text) == "stop"
