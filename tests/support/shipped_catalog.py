"""The shipped catalogue, read once: tracking plan, templates, and texts of journeys."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml

from activities.content.templates import Templates, load_templates
from journeys.content.template_info import TemplateInfo
from journeys.events.tracking_plan import TrackingPlan, read_plan
from journeys.gate.policy import Policy, load_policy
from journeys.language.definition import Journey
from journeys.language.parsing import read_journey

CATALOG = Path(__file__).resolve().parents[2] / "catalog"
DOCS = Path(__file__).resolve().parents[2] / "docs"
TEXTS = {path.stem: path.read_text("utf-8") for path in sorted((CATALOG / "journeys").glob("*.yaml"))}
assert len(TEXTS) >= 5, "the shipped journeys have moved"


@cache
def plan() -> TrackingPlan:
    tracking_plan, source = read_plan((CATALOG / "tracking-plan.yaml").read_bytes())
    assert tracking_plan is not None, source.problems
    return tracking_plan


@cache
def policy() -> Policy:
    return load_policy(yaml.safe_load((CATALOG / "policy.yaml").read_text("utf-8")))


@cache
def parsed_templates() -> Templates:
    return load_templates(CATALOG / "templates")


@cache
def templates() -> dict[str, TemplateInfo]:
    return {name: template.info() for name, template in parsed_templates().items()}


@cache
def journey(name: str) -> Journey:
    definition, source = read_journey(TEXTS[name])
    assert definition is not None, source.problems
    return definition
