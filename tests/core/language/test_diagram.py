"""Diagrams of journeys, escaping in labels, and the JSON schema for editors."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.commands.schema import json_schema
from journeys.builder import JourneyBuilder, send
from journeys.language.diagram import MAX_LABEL, diagram, label
from journeys.language.source import read_yaml
from tests.support import shipped_catalog

LINE = re.compile(
    r'(?:state "[^"\n]*" as \w+|\w+: [^\n:]+|(?:\[\*\]|\w+) --> (?:\[\*\]|\w+): [^\n:]+|classDef here [\w:-]+|class \w+ here)'
)


@pytest.mark.parametrize("name", sorted(shipped_catalog.TEXTS))
def test_every_line_of_a_shipped_diagram_matches_the_grammar(name):
    first, *lines = diagram(shipped_catalog.journey(name)).splitlines()
    assert first == "stateDiagram-v2"
    assert [line for line in lines if not LINE.fullmatch(line.strip())] == []


def test_transitions_timers_ends_and_internal_actions_are_drawn():
    text = diagram(shipped_catalog.journey("setup-and-activation"), here="needs_help")
    for line in (
        "[*] --> s0: signed_up",
        "s0 --> s2: setup_completed",
        "s0 --> s1: after P7D [profile.account_fit #62;= 0.5]",
        "s0: after P1D / send#58;setup/first-steps",
        "s1: entry / onboarding-call",
        "s3 --> [*]: not_activated",
        "any --> [*]: goal activated",
        "any --> [*]: missed after P30D",
        "any --> [*]: exit account_closed",
        "class s1 here",
    ):
        assert f"    {line}\n" in text


def test_anchors_and_transitions_of_the_journey_are_drawn_from_any_state():
    text = diagram(shipped_catalog.journey("renewal-readiness"))
    assert "any --> s1: P180D before account.renewal_date" in text
    assert "any --> s0: contract_renewed" in text


def test_a_journey_with_unknown_targets_can_be_drawn():
    b = JourneyBuilder("x").enters("a")
    b.state("here").on("s", to="nowhere", do=[send("t")])
    assert "nowhere" not in diagram(b.build(start="gone"), here="gone")


@pytest.mark.parametrize(
    "hostile",
    ['"]; click s0 "javascript:alert(1)"', "<img src=x onerror=1>", "a\n--> b", "%%{init}%%", "a: b; c", "&lt;b&gt;"],
)
def test_a_hostile_condition_is_escaped(hostile):
    b = JourneyBuilder("x").enters("a")
    b.state("here").on("s", to="here", when=hostile)
    for line in diagram(b.build(start="here")).splitlines()[1:]:
        assert LINE.fullmatch(line.strip())
        assert "<" not in line
        assert "%" not in line


@given(st.text())
def test_any_label_is_one_line_without_characters_of_the_grammar(text):
    shown = label(text)
    assert not set(re.sub(r"#\d+;", "", shown)) & set('\n\r:;"<>{}#%&`$\\')
    assert len(re.sub(r"#\d+;", "x", shown)) <= MAX_LABEL


# -- the schema for editors ------------------------------------------------------------------------------------------------


def test_the_schema_describes_every_key_and_the_short_forms():
    schema = json_schema()
    assert schema["$schema"].endswith("2020-12/schema")
    assert {"journey", "entry", "states", "handoff", "on", "after", "every", "at"} <= set(schema["properties"])
    assert "for" in schema["$defs"]["Send"]["properties"]
    [reaction] = schema["$defs"]["State"]["properties"]["on"]["patternProperties"].values()
    forms = reaction["anyOf"]
    assert {item.get("type", "object") for item in forms} == {"string", "object", "array"}


def test_the_shipped_catalogue_is_valid_under_the_schemas():
    validator = pytest.importorskip("jsonschema_rs")

    journeys = validator.validator_for(json_schema("journey"))
    for name, text in shipped_catalog.TEXTS.items():
        assert [str(error) for error in journeys.iter_errors(read_yaml(text).value)] == [], name
    plan = read_yaml((shipped_catalog.CATALOG / "tracking-plan.yaml").read_text("utf-8")).value
    assert validator.validator_for(json_schema("tracking-plan")).is_valid(plan)


def test_the_schema_refuses_a_misspelt_key():
    validator = pytest.importorskip("jsonschema_rs")

    value = read_yaml(shipped_catalog.TEXTS["urgent-support"]).value
    value["strat"] = "x"
    assert not validator.validator_for(json_schema()).is_valid(value)
