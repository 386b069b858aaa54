"""Ids that name nobody: the list of every plan, and what a plan adds."""

import pytest

from journeys.events.ids.placeholder_ids import is_placeholder, with_placeholders


@pytest.mark.parametrize(
    "value",
    ["undefined", "UNDEFINED", "null", "NaN", "None", 0, "0", -1, "anonymous", "Anonymous ", "[object Object]", " ", "\t\n",
     "\u00a0", "00000000-0000-0000-0000-000000000000", "(null)"],
    ids=repr,
)  # fmt: skip
def test_a_placeholder_names_nobody(value):
    assert is_placeholder(value)


@pytest.mark.parametrize(
    "value", ["ann", 1, "00", "nullable", "undefined@example.com", "null island", None, [], 0.5], ids=repr
)
def test_another_id_names_somebody(value):
    assert not is_placeholder(value)


def test_a_plan_adds_placeholders_and_removes_none():
    more = with_placeholders(["Walk-In "])
    assert is_placeholder("walk-in", more)
    assert is_placeholder("null", more)
