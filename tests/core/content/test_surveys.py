"""Surveys: questions, allowed answers and the templates of surveys (C1, S7)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from activities.channels.in_app import InAppChannel
from activities.content.template_source import TemplateProblems
from activities.content.templates import load_templates
from activities.ports import Outgoing
from journeys.content.surveys import Survey

SCORE = Survey.model_validate({"scale": {"from": 0, "to": 10}, "comment": "Why?"})
CHOICE = Survey.model_validate({"choices": [{"value": "easy", "label": "Easy"}, {"value": "hard", "label": "Hard"}]})
TEMPLATE = """---
owner: product-team
kind: survey
topic: onboarding
stage: adoption
status: live
review_date: 2027-03-31
channels: [in_app]
subject: How was it?
asks: %s
---
One question.
"""


@given(st.one_of(st.integers(-3, 13), st.text(max_size=5), st.booleans(), st.floats(0, 10), st.none()))
def test_an_answer_is_accepted_only_if_the_survey_offers_it(value: Any) -> None:
    for survey, is_offered in (
        (SCORE, isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 10),
        (CHOICE, value in ("easy", "hard")),
    ):
        if is_offered:
            assert value in survey.answer_properties(value, None).values()
        else:
            with pytest.raises(ValueError, match="the answer is"):
                survey.answer_properties(value, None)


def test_a_comment_is_accepted_only_if_the_survey_asks_for_one() -> None:
    assert SCORE.answer_properties(9, "It is quick") == {"score": 9, "comment": "It is quick"}
    assert SCORE.answer_properties(9, "") == {"score": 9}
    with pytest.raises(ValueError, match="no comment"):
        CHOICE.answer_properties("easy", "It is quick")


@pytest.mark.parametrize(
    "asks",
    [
        {},
        {"scale": {"from": 5, "to": 5}},
        {"scale": {"from": 0, "to": 11}},
        {"choices": [{"value": "one", "label": "One"}]},
        {"scale": {}, "choices": [{"value": "one", "label": "One"}]},
        {"choices": [{"value": "one", "label": "One"}] * 2},
        {"scale": {}, "choices": [{"value": "a", "label": "A"}, {"value": "b", "label": "B"}]},
    ],
)
def test_a_survey_without_a_single_answerable_question_is_refused(asks: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Survey.model_validate(asks)


def write_templates(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name.replace('_', '.')}.md").write_text(text)
    return folder


def test_C1_an_in_app_survey_contains_its_question_and_its_answers(tmp_path: Path) -> None:
    asks = '{scale: {from: 1, to: 5, low: Bad}, comment: "Why?"}'
    known = load_templates(write_templates(tmp_path, how=TEMPLATE % asks))
    content = json.loads(InAppChannel(known).prepare(Outgoing("k", "how", "u", {}, {}, {})).body)
    assert (content["kind"], content["title"]) == ("survey", "How was it?")
    assert content["asks"]["scale"] == {"from": 1, "to": 5, "low": "Bad"}
    assert content["asks"]["comment"] == "Why?"
    assert known["how"].info().awaits == ("survey_answered",), "without it no journey may react to the answer (T531)"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (TEMPLATE.replace("asks: %s\n", ""), "a survey needs a scale or choices"),
        (TEMPLATE.replace("[in_app]", "[email]") % "{scale: {}}", "a survey appears in the product only"),
        (TEMPLATE.replace("kind: survey", "kind: tooltip") % "{scale: {}}", "only a survey asks something"),
    ],
)
def test_a_template_that_is_no_valid_survey_is_a_problem(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(TemplateProblems, match=words):
        load_templates(write_templates(tmp_path, how=text))


def test_a_variant_may_translate_a_survey_but_not_change_its_answers(tmp_path: Path) -> None:
    (tmp_path / "content.yaml").write_text("locales: {default: en, known: [en, de]}\n")
    folder = tmp_path / "templates"
    folder.mkdir()
    german = "---\nsubject: Wie war es?\nasks: {scale: {from: %d, to: 5, low: Schlecht}}\n---\nEine Frage.\n"
    write_templates(folder, how=TEMPLATE % "{scale: {from: 1, to: 5, low: Bad}}", how_de=german % 1)
    known = load_templates(folder)
    content = json.loads(InAppChannel(known).prepare(Outgoing("k", "how", "u", {"locale": "de"}, {}, {})).body)
    assert content["asks"]["scale"]["low"] == "Schlecht"
    write_templates(folder, how_de=german % 2)
    with pytest.raises(TemplateProblems, match="the template has other answers"):
        load_templates(folder)
