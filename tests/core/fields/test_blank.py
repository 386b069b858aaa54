"""A blank text of a field is unknown: in conditions, in the fields that a message needs, in templates."""

from __future__ import annotations

import pytest

from activities.content.templates import load_templates
from activities.ports import Outgoing
from journeys.language.conditions import compile_condition
from journeys.language.values import is_unknown
from tests.support import shipped_catalog
from tests.support.run_script import chart

TYPES = {"profile.first_name": "string", "account.name": "string", "event.name": "string"}


@pytest.mark.parametrize("blank", ["", " ", "\t\n"])
def test_a_blank_field_is_not_known_in_conditions(blank):
    for scope, field in (("profile", "first_name"), ("account", "name")):
        values = {f"{scope}.{field}": blank}
        assert not compile_condition(f"known.{scope}.{field}", TYPES).holds(values.get)[0]
        held, why = compile_condition(f"{scope}.{field} != 'x'", TYPES).holds(values.get)
        assert not held
        assert "is not known" in why


def test_a_blank_of_an_event_is_what_the_event_says():
    assert compile_condition("event.name == ''", TYPES).holds({"event.name": ""}.get)[0]


def test_other_values_are_known():
    assert not any(map(is_unknown, ["a", 0, False, [], 0.0]))
    assert is_unknown(None)


@pytest.mark.parametrize("name", ["", "  ", None])
def test_a_blank_name_is_no_name_in_a_shipped_subject(name):
    outgoing = Outgoing("k", "setup/first-steps", "ann@x.example", {"first_name": name}, {}, {})
    assert (
        load_templates(shipped_catalog.CATALOG / "templates").render(outgoing, "").subject == "Your first three steps"
    )


def test_H8_a_message_that_needs_a_field_is_not_sent_for_a_blank_one():
    text = "states: {a: {do: [{send: hello, when: profile.plan != 'x'}]}}"
    needs = chart(text).missing("send:hello", {"plan": " "}, {})
    assert needs == ("profile.plan",)
