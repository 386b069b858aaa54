"""Reading definitions: any text becomes a journey or problems with their places, never an exception."""

from __future__ import annotations

import json
import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from journeys.checks.checker import PublishableDefinition, publishable
from journeys.language.parsing import read_journey
from journeys.language.source import MAX_BYTES, MAX_DEPTH, read_yaml
from tests.support import shipped_catalog

SMALL = """journey: small
entry: {on: signed_up}
goal: {on: activated}
start: here
states:
  here:
    on: {setup_completed: done}
  done: {final: set_up}
"""


def codes(text: str | bytes) -> list[str]:
    return [problem.code for problem in read_journey(text)[1].problems]


def test_a_small_definition_is_read():
    journey, source = read_journey(SMALL)
    assert source.problems == []
    assert journey is not None
    assert journey.states["here"].on["setup_completed"][0].to == "done"


def test_on_yes_and_no_are_read_as_text():
    source = read_yaml("on: yes\nno: off\n")
    assert source.value == {"on": "yes", "no": "off"}


def test_dates_and_clock_times_are_read_as_text():
    assert read_yaml("a: 2026-01-01\nb: 12:30:00\nc: 0777\n").value == {"a": "2026-01-01", "b": "12:30:00", "c": 777}


def test_a_definition_in_json_equals_the_same_in_yaml():
    as_json = json.dumps(yaml.safe_load(SMALL.replace("on:", "'on':")), indent="\t")
    assert read_journey(as_json)[0] == read_journey(SMALL)[0]


def test_json_escapes_are_decoded():
    assert read_yaml('{"a": "\\ud83d\\ude00 \\/ \\u00e9"}').value == {"a": "😀 / é"}


def test_a_problem_in_json_has_its_line_and_column():
    problems = read_journey(json.dumps({"journey": "x", "strat": 1}, indent=2))[1].problems
    misspelt = next(problem for problem in problems if problem.code == "T108")
    assert (misspelt.line, misspelt.column) == (3, 3)
    assert "start" in misspelt.mend


def test_all_structural_faults_are_reported_at_once_with_their_lines():
    text = SMALL.replace("start: here", "start: Here").replace("final", "finl").replace("goal: {", "goal: {unless: 3, ")
    problems = {(problem.code, problem.line) for problem in read_journey(text)[1].problems}
    assert problems == {("T108", 3), ("T111", 4), ("T108", 8)}


def test_a_fault_in_an_action_is_reported_once_at_this_action():
    text = SMALL.replace("on: {setup_completed: done}", "on: {setup_completed: done}\n    do: [{send: a, vai: email}]")
    [problem] = read_journey(text)[1].problems
    assert (problem.code, problem.place, problem.line) == ("T108", "states.here.do[0].vai", 8)
    assert "via" in problem.mend


def test_a_duplicate_key_is_reported_with_the_line_of_the_first():
    [problem] = read_yaml("a: 1\nb: 2\na: 3\n").problems
    assert (problem.code, problem.line) == ("T106", 3)
    assert "line 1" in problem.what


@pytest.mark.parametrize("key", ["1", "true", "null", "~", "3.5"])
def test_a_key_that_is_not_text_is_refused(key):
    assert [problem.code for problem in read_yaml(f"{key}: x\n").problems] == ["T107"]


def test_a_quoted_key_is_read_as_text():
    assert read_yaml("'1': x\n").value == {"1": "x"}


def test_nested_aliases_are_refused_without_expanding_them():
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)
    )
    began = time.perf_counter()
    assert codes(bomb) == ["T103"]
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize("text", ["x: !!python/object/apply:os.system [ls]", "a: !mine 1", "? !t k\n: v", "a: &x 1"])
def test_tags_and_anchors_are_refused(text):
    assert codes(text) == ["T103"]


def test_a_merge_key_is_refused():
    assert "T103" in codes("base: &b {a: 1}\nmore: {<<: *b}\n")


@pytest.mark.parametrize("opened", ["[" * 2000 + "]" * 2000, "- " * 2000, "{a: " * 2000 + "1" + "}" * 2000])
def test_deep_nesting_is_refused(opened):
    assert [problem.code for problem in read_yaml(opened).problems] == ["T104"]


def test_nesting_up_to_the_limit_is_accepted():
    assert read_yaml("[" * MAX_DEPTH + "]" * MAX_DEPTH).problems == []


@pytest.mark.parametrize("number", ["9" * 5000, "1e400", "-1e400", "1e16", "-" + "9" * 17])
def test_huge_numbers_are_refused(number):
    assert [problem.code for problem in read_yaml(f"a: {number}").problems] == ["T105"]


@pytest.mark.parametrize("text", ["a: \x00", "\x00", "a: '\x1b[31m'", b"\xff\xfe", b"a: \x80", "a: \ud800", "", " \n "])
def test_control_characters_invalid_utf_8_and_empty_text_are_refused(text):
    assert codes(text) == ["T101"]


def test_a_text_over_the_size_limit_is_refused_unread():
    began = time.perf_counter()
    assert codes("a: b\n" * MAX_BYTES) == ["T101"]
    assert time.perf_counter() - began < 1


def test_a_text_of_the_largest_size_is_read_within_seconds():
    began = time.perf_counter()
    read_yaml("[" + "a," * (MAX_BYTES // 2 - 10) + "]")
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize(
    "text", ["a: [", "a: b: c", "\t- a", "'", "a: b\n c: d", "{a: 1", "- a\nb: c", "%YAML 9.9\n---\na"]
)
def test_broken_syntax_is_one_problem_with_a_place(text):
    [problem] = read_journey(text)[1].problems
    assert problem.code == "T102"
    assert problem.line is not None


@pytest.mark.parametrize("text", ["[]", "just words", "3", "null", "- a: 1"])
def test_a_definition_that_is_no_mapping_is_refused(text):
    assert codes(text) == ["T110"]


def test_a_second_document_is_refused():
    assert "T103" in codes(SMALL + "---\n" + SMALL)


@pytest.mark.parametrize("value", ["3", "true", "[]", "{}", "null", "3.5", "{a: [1]}"])
@pytest.mark.parametrize(
    "key", ["journey", "entry", "goal", "exit", "start", "states", "on", "at", "variables", "case"]
)
def test_a_value_of_the_wrong_kind_is_reported_as_a_problem(key, value):
    lines = [line for line in SMALL.splitlines() if not line.startswith(key)]
    result = publishable("\n".join([*lines, f"{key}: {value}"]), shipped_catalog.plan(), shipped_catalog.templates())
    assert isinstance(result, PublishableDefinition) or all(problem.line for problem in result)


@pytest.mark.parametrize("quote", ["'", '"', ""])
def test_a_problem_in_a_condition_has_its_column_in_the_line(quote):
    text = SMALL.replace(
        "{setup_completed: done}", "{setup_completed: {to: done, when: " + quote + "now > 3" + quote + "}}"
    )
    [problem] = publishable(text, shipped_catalog.plan(), shipped_catalog.templates())
    written = text.splitlines()[problem.line - 1]
    assert problem.code == "T401"
    assert written[problem.column - 1 :].startswith("> 3")


def test_a_problem_in_a_condition_of_several_lines_has_a_line():
    text = SMALL.replace(
        "{setup_completed: done}",
        "\n      setup_completed:\n        to: done\n        when: |\n          known.profile.plan &&\n          profile.paln == 'x'",
    )
    [problem] = publishable(text, shipped_catalog.plan(), shipped_catalog.templates())
    assert problem.code == "T403"
    assert problem.line is not None


WORDS = st.sampled_from(
    [
        "journey",
        "entry",
        "on",
        "states",
        "start",
        "do",
        "send",
        "when",
        "after",
        "at",
        "to",
        "here",
        "P1D",
        "null",
        "&a",
        "*a",
    ]
)


@given(st.one_of(st.text(max_size=300), st.binary(max_size=300)))
@settings(max_examples=300)
def test_any_text_gives_a_journey_or_problems(text):
    result = publishable(text, shipped_catalog.plan(), shipped_catalog.templates())
    assert isinstance(result, PublishableDefinition) or result


@given(st.lists(st.one_of(WORDS, st.sampled_from(list("{}[],:-?|>\"'\n \t#!%@`"))), max_size=60).map("".join))
@settings(max_examples=300)
def test_any_sequence_of_yaml_tokens_gives_a_journey_or_problems(text):
    result = publishable(text, shipped_catalog.plan(), shipped_catalog.templates())
    assert isinstance(result, PublishableDefinition) or result


@given(
    st.sampled_from(sorted(shipped_catalog.TEXTS)),
    st.lists(
        st.tuples(st.floats(0, 1), st.sampled_from(["", "{", "]", ":", "\n", " ", "P1X", "\x00", "'", "9" * 30, "é"])),
        max_size=4,
    ),
)
@settings(max_examples=200)
def test_any_damage_to_a_shipped_journey_gives_a_journey_or_problems(name, damage):
    text = shipped_catalog.TEXTS[name]
    for position, inserted in damage:
        at = int(position * len(text))
        text = text[:at] + inserted + text[at + 1 :]
    result = publishable(text, shipped_catalog.plan(), shipped_catalog.templates())
    assert isinstance(result, PublishableDefinition) or all(problem.line and problem.column for problem in result)


@pytest.mark.parametrize("line", ["kk{}: 1", "on: {{sig{}: here}}", "states: {{s{}: {{final: x}}}}", "x{}: {{a: [b]}}"])
def test_thousands_of_faults_are_reported_within_seconds(line):
    began = time.perf_counter()
    faults = codes("\n".join(line.format(n) for n in range(2200)))
    assert len(faults) > 2000
    assert time.perf_counter() - began < 5


def test_a_definition_over_the_size_limit_is_refused_and_a_smaller_one_read():
    assert codes("#" * MAX_BYTES + SMALL) == ["T101"]
    assert codes("#" * (MAX_BYTES - 1000) + "\n" + SMALL) == []
