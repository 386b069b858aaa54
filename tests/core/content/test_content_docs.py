"""`docs/content.md`: its templates load, its journeys can be published, its table lists the variants chosen."""

from __future__ import annotations

import json
import re
from datetime import date

import pytest

from activities.channels.in_app import InAppChannel
from activities.content.template_files import read_rules
from activities.content.templates import load_templates
from activities.ports import Outgoing
from journeys.checks.checker import PublishableDefinition, publishable
from tests.support import shipped_catalog

TEXT = (shipped_catalog.DOCS / "content.md").read_text("utf-8")
FILES = dict(re.findall(r"^```markdown (\S+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))
JOURNEYS = re.findall(r"^```yaml journey\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
(CONTENT,) = re.findall(r"^```yaml content\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
PEOPLE = re.findall(r"^\| `(\{.*?\})` by (\w+) \| (\S+) \|$", TEXT, re.MULTILINE)
DATA = {"plan": "pro"}


@pytest.fixture(scope="module")
def templates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("catalog")
    (folder / "content.yaml").write_text(CONTENT)
    for name, text in FILES.items():
        path = folder / "templates" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return load_templates(folder / "templates", lambda: date(2026, 6, 1))


def test_C11_every_template_of_the_page_renders_on_its_channels(templates):
    assert len(templates) == 5
    for name in set(templates) - {"digest/together"}:
        for channel in templates[name].matter.channels:
            assert templates.render(Outgoing("k", name, "a@example.com", {}, {}, DATA), channel=channel).subject
    assert templates.render_digest("digest/together", [Outgoing("k", "setup/first-steps", "", {}, {}, DATA)]).items


@pytest.mark.parametrize("text", JOURNEYS)
def test_a_journey_of_the_page_can_be_published(templates, text):
    infos = {name: template.info() for name, template in templates.items()}
    result = publishable(text, shipped_catalog.plan(), infos)
    assert isinstance(result, PublishableDefinition), "\n".join(map(str, result))


@pytest.mark.parametrize(("profile", "channel", "variant"), PEOPLE)
def test_C9_each_row_of_the_table_names_the_variant_that_is_chosen(templates, profile, channel, variant):
    outgoing = Outgoing("k", "setup/first-steps", "a@example.com", json.loads(profile), {}, DATA)
    assert templates.render(outgoing, channel=channel).variant == variant


def test_the_page_has_a_table_of_variants_and_every_key_of_the_rules(tmp_path):
    assert len(PEOPLE) == 6
    (tmp_path / "content.yaml").write_text(CONTENT)
    rules, problems = read_rules(tmp_path / "content.yaml")
    assert problems == []
    assert all(name in CONTENT for name in type(rules).model_fields)


def test_C1_a_tooltip_has_a_page_and_an_anchor_and_a_checklist_has_signals(templates):
    channel = InAppChannel(templates)
    tooltip = json.loads(channel.prepare(Outgoing("k", "setup/invite-tooltip", "u", {}, {}, {})).body)
    assert (tooltip["kind"], tooltip["page"], tooltip["anchor"], tooltip["action"]) == (
        "tooltip",
        "/settings/*",
        "#invite",
        None,
    )
    checklist = json.loads(channel.prepare(Outgoing("k", "setup/your-checklist", "u", {}, {}, {})).body)
    assert [item["signal"] for item in checklist["items"]] == ["integration_connected", "setup_completed"]
