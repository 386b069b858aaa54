"""Every problem code has an example in `docs/problems.md` that triggers this code alone."""

from __future__ import annotations

import re

import pytest

from journeys.checks.checker import publishable
from journeys.checks.policy import check_policy
from journeys.content.template_info import TemplateInfo
from journeys.events.tracking_plan import read_plan
from journeys.gate.policy import Policy
from journeys.language.parsing import read_journey, read_model
from journeys.language.problem_codes import CODES
from journeys.language.problems import Problem
from journeys.tasks.team import read_team
from tests.support import shipped_catalog

TEXT = (shipped_catalog.DOCS / "problems.md").read_text("utf-8")
SECTIONS = {match[1]: match[0] for match in re.finditer(r"^### (T\d+) .*?(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL)}
FENCE = re.compile(r"^```yaml ?(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXTRA = {
    "examples/retired": TemplateInfo("examples/retired", topic="onboarding", status="retired"),
    "examples/odd-checklist": TemplateInfo(
        "examples/odd-checklist", topic="onboarding", channels=("in_app",), awaits=("set_up_completely",)
    ),
    "examples/odd-field": TemplateInfo(
        "examples/odd-field", topic="onboarding", fields=frozenset({"profile.shoe_size"})
    ),
    "examples/by-phone": TemplateInfo("examples/by-phone", topic="onboarding", channels=("sms",)),
}


def problems_of(section: str) -> list[Problem]:
    live = []
    for kind, text in FENCE.findall(section):
        match kind:
            case "live":
                journey, source = read_journey(text)
                assert journey is not None, source.problems
                live.append(journey)
            case "plan":
                return read_plan(text)[1].problems
            case "team":
                return read_team(text)[1].problems
            case "policy":
                policy, source = read_model(text, Policy)
                assert policy is not None, source.problems
                return check_policy(
                    [shipped_catalog.journey(name) for name in shipped_catalog.TEXTS],
                    shipped_catalog.templates(),
                    source,
                )
            case _:
                templates = {**shipped_catalog.templates(), **EXTRA}
                result = publishable(text, shipped_catalog.plan(), templates, live, shipped_catalog.policy())
                return result if isinstance(result, list) else []
    return []


@pytest.mark.parametrize("code", CODES)
def test_the_example_of_a_code_triggers_only_this_code(code):
    problems = problems_of(SECTIONS[code])
    assert {problem.code for problem in problems} == {code}, "\n".join(map(str, problems))


@pytest.mark.parametrize("code", CODES)
def test_a_section_has_the_title_harm_and_fix_of_the_table(code):
    kind = CODES[code]
    assert SECTIONS[code].startswith(f"### {code} {kind.title}\n\n{kind.harm} {kind.mend}\n")


@pytest.mark.parametrize("code", CODES)
def test_every_problem_has_a_line_a_harm_and_a_fix(code):
    for problem in problems_of(SECTIONS[code]):
        assert (problem.line or 0) >= 1
        assert (problem.column or 0) >= 1
        assert all((problem.what, problem.harm, problem.mend))


def test_the_page_has_a_section_for_every_code_and_no_other():
    assert set(SECTIONS) == set(CODES)
