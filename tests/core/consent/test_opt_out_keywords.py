"""The words that stop (47 CFR 64.1200(a)(10)), however they are written, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeys.consent.opt_out_keywords import START, STOP, keyword_of
from tests.support.reached import must_reach, reached

NOISE = " \t\n.,;:!?-_'\"()*…\u200b"
SPOKEN = ("stop", "quit", "end", "revoke", "opt out", "cancel", "unsubscribe")
noise = st.text(NOISE, max_size=4)


@given(st.data())
def test_C5_case_punctuation_and_space_mean_nothing(data: st.DataObject):
    word = data.draw(st.sampled_from((*SPOKEN, "start", "unstop")))
    written = "".join(
        data.draw(noise) + data.draw(st.sampled_from((mark.lower(), mark.upper()))) for mark in word
    ) + data.draw(noise)
    assert keyword_of(written) == ("start" if word in START else "stop")


AROUND = st.text(max_size=40) | noise


@must_reach(alone=5, within=5)
@given(AROUND, st.sampled_from(SPOKEN), AROUND)
def test_C5_a_word_within_a_sentence_is_for_a_person_to_read(before: str, word: str, after: str):
    more = any(mark.isalnum() for mark in before + after)
    found = keyword_of(f"{before} {word} {after}")
    whole = "".join(mark for mark in f"{before}{word}{after}".casefold() if mark.isalnum())
    if not more:
        reached("alone")
        assert found == "stop"
    elif whole not in STOP | START:
        reached("within")
        assert found is None


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
def test_what_is_none_of_them(text):
    assert keyword_of(text) is None


@pytest.mark.parametrize("text", ["ＳＴＯＰ", "Opt-Out", "OPT OUT!", "optout", "“Stop.”", "StopAll", "s.t.o.p"])
def test_what_is_one_in_any_dress(text):
    assert keyword_of(text) == "stop"
