"""Checks of a policy: the journeys, topics and templates that its rules name.

A rule for an unknown journey or topic would never apply.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from journeys.content.template_info import TemplateInfos
from journeys.gate.policy import TOGETHER
from journeys.language import definition as d
from journeys.language.actions import Send
from journeys.language.problems import Path, Problem, problem, sorted_problems
from journeys.language.source import YamlSource
from journeys.language.traversal import actions_of

_RULES = ("caps", "cooldowns", "quiet_hours", "send_windows")


def check_policy(journeys: Sequence[d.Journey], templates: TemplateInfos, source: YamlSource) -> list[Problem]:
    """Every name in a valid policy that refers to nothing, at its line."""
    written = source.value if isinstance(source.value, dict) else {}
    return sorted_problems([
        *_unknown_names(written, {journey.journey for journey in journeys}, _topics(written, journeys, templates), source),
        *_unknown_pressing(written, _topics(written, journeys, templates), templates, source),
        *_digest_templates(written, templates, source),
    ])  # fmt: skip


def _topics(written: dict[str, object], journeys: Sequence[d.Journey], templates: TemplateInfos) -> set[str]:
    declared = written.get("topics")
    if isinstance(declared, dict):
        return {*declared, *_topics({}, journeys, templates)}
    used = {journey.topic for journey in journeys} | {info.topic for info in templates.values()}
    actions = (site.action for journey in journeys for site in actions_of(journey))
    return {topic for topic in (*used, *(action.topic for action in actions if isinstance(action, Send))) if topic}


def _unknown_names(
    written: dict[str, object], journeys: set[str], topics: set[str], source: YamlSource
) -> Iterator[Problem]:
    for kind in (*_RULES, "consent"):
        rules = written.get(kind)
        for index, rule in enumerate(rules if isinstance(rules, list) else ()):
            for field, known in (("journey", journeys), ("topic", topics)):
                name = rule.get(field) if isinstance(rule, dict) else None
                if name is not None and name not in known:
                    path: Path = (kind, index, field)
                    yield problem("T801", path, f"no {field} is named {name}", at=source.position(path))


def _unknown_pressing(
    written: dict[str, object], topics: set[str], templates: TemplateInfos, source: YamlSource
) -> Iterator[Problem]:
    pressing = written.get("pressing")
    for priority, messages in (pressing if isinstance(pressing, dict) else {}).items():
        for field, kind, known in (("topics", "topic", topics), ("templates", "template", templates)):
            for index, name in enumerate(messages.get(field, ())):
                if name not in known:
                    path: Path = ("pressing", priority, field, index)
                    yield problem("T801", path, f"no {kind} is named {name}", at=source.position(path))


def _digest_templates(written: dict[str, object], templates: TemplateInfos, source: YamlSource) -> Iterator[Problem]:
    rules = written.get("consolidate")
    for index, rule in enumerate(rules if isinstance(rules, list) else ()):
        name = rule.get("template", TOGETHER)
        info = templates.get(name)
        if info is None:
            fault = "is not in the catalogue"
        elif info.status != "live":
            fault = f"is {info.status}"
        elif rule["channel"] not in info.channels:
            fault = f"is not made for {rule['channel']}"
        else:
            continue
        path: Path = ("consolidate", index)
        yield problem("T802", path, f"{name} {fault}", at=source.position((*path, "template")))
