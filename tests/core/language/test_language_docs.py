"""`docs/journey-language.md`: its definitions can be published, its timelines are simulated, its Python runs."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import NamedTuple

import pytest
import yaml

from journeys.checks.checker import PublishableDefinition, publishable
from journeys.decision.compiler import load_chart
from journeys.events.tracking_plan import read_plan
from journeys.gate.policy import Policy
from journeys.language.definition import Journey
from journeys.language.parsing import all_keys, read_journey
from journeys.language.source import read_yaml
from journeys.simulation.recording import RecordedEvent, RecordedKind
from journeys.simulation.simulator import simulate
from journeys.simulation.timeline import Scenario
from tests.support import shipped_catalog

TEXT = (shipped_catalog.DOCS / "journey-language.md").read_text("utf-8")
FENCE = re.compile(r"^```(\w+)(?: (\w+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BASE = """
journey: example
entry: {on: signed_up}
goal: {on: activated}
exit: [{on: account_closed}]
topic: onboarding
on: {cancellation_clicked: there}
start: here
states: {here: {}, there: {final: done}}
"""
KINDS: dict[str, RecordedKind] = {"identify": "profile", "group": "account"}
SHOWN_KINDS = {"entered", "moved", "fired", "acted", "spent", "guard", "armed", "finished"}


class Block(NamedTuple):
    """A fenced block, and the line of the document where it begins."""

    kind: str
    word: str
    text: str
    line: int


BLOCKS = [Block(m[1], m[2] or "", m[3], TEXT.count("\n", 0, m.start()) + 1) for m in FENCE.finditer(TEXT)]
DEFINITIONS = [block for block in BLOCKS if block.kind == "yaml" and block.word != "plan"]
TIMELINES = [index for index, block in enumerate(BLOCKS) if block.kind == "timeline"]


def whole(block: Block) -> str:
    """The definition of a block; a fragment is placed in a small journey."""
    base = read_yaml(BASE).value
    match block.word:
        case "":
            return block.text
        case "state":
            base["states"]["here"] = read_yaml(block.text).value
        case "part":
            base |= read_yaml(block.text).value
        case other:
            raise AssertionError(f"line {block.line}: unknown kind of block {other}")
    return yaml.safe_dump(base, sort_keys=False)


@pytest.mark.parametrize("block", DEFINITIONS, ids=lambda block: f"line {block.line}")
def test_a_definition_of_the_reference_can_be_published(block):
    result = publishable(whole(block), shipped_catalog.plan(), shipped_catalog.templates())
    assert isinstance(result, PublishableDefinition), "\n".join(map(str, result))


@pytest.mark.parametrize("index", TIMELINES, ids=lambda index: f"line {BLOCKS[index].line}")
def test_the_events_of_the_reference_lead_to_the_timeline_below_them(index):
    events = BLOCKS[index - 1]
    definition = next(block for block in reversed(BLOCKS[:index]) if block in DEFINITIONS)
    assert events.kind == "events"
    result = publishable(whole(definition), shipped_catalog.plan(), shipped_catalog.templates())
    assert isinstance(result, PublishableDefinition)
    scenario = Scenario((load_chart(result.artifact_text),), Policy())
    moments = [m for m in simulate(scenario, map(recorded, events.text.splitlines())) if m.what in SHOWN_KINDS]
    shown = [re.split(r"  +", line) for line in BLOCKS[index].text.splitlines()]
    assert [[f"{m.at:%Y-%m-%d %H:%M}", m.what, m.why] for m in moments] == shown


def recorded(line: str) -> RecordedEvent:
    """`2026-03-01 09:00 signed_up plan=pro`; `identify` and `group` set fields."""
    day, time, name, *values = line.split()
    at = datetime.fromisoformat(f"{day}T{time}").replace(tzinfo=UTC)
    data = {key: yaml.safe_load(value) for key, value in (item.split("=", 1) for item in values)}
    data = {key: str(value) if key == "ticket_id" else value for key, value in data.items()}
    return RecordedEvent(at, "ada", KINDS.get(name, "signal"), name, data)


def test_the_tracking_plan_of_the_reference_is_valid():
    block = next(block for block in BLOCKS if block.word == "plan")
    plan, source = read_plan(block.text)
    assert plan is not None, source.problems
    assert plan.types()["event.order_completed.coupon"] == "string"


def test_the_python_of_the_reference_builds_its_first_journey():
    names: dict[str, object] = {}
    exec(compile(next(b for b in BLOCKS if b.kind == "python").text, "journey-language.md", "exec"), names)
    assert names["journey"] == read_journey(DEFINITIONS[0].text)[0]


def test_every_key_of_a_definition_is_in_the_reference():
    assert not {key for key in all_keys(Journey) if f"`{key}`" not in TEXT and f"{key}," not in TEXT}
