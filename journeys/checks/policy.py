"""What a policy refers to: a rule for a journey or topic that nobody has would never apply, and nobody would notice."""

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
    """Every name that stands for nothing, at its line, in a policy that can be read."""
    written = source.value if isinstance(source.value, dict) else {}
    return sorted_problems([
        *_nobodys(written, {journey.journey for journey in journeys}, _topics(written, journeys, templates), source),
        *_digests(written, templates, source),
    ])  # fmt: skip


def _topics(written: dict[str, object], journeys: Sequence[d.Journey], templates: TemplateInfos) -> set[str]:
    declared = written.get("topics")
    if isinstance(declared, dict):
        return {*declared, *_topics({}, journeys, templates)}
    own = {journey.topic for journey in journeys} | {info.topic for info in templates.values()}
    sends = (doing.action for journey in journeys for doing in actions_of(journey))
    return {topic for topic in (*own, *(send.topic for send in sends if isinstance(send, Send))) if topic}


def _nobodys(written: dict[str, object], journeys: set[str], topics: set[str], source: YamlSource) -> Iterator[Problem]:
    for kind in (*_RULES, "consent"):
        rules = written.get(kind)
        for index, rule in enumerate(rules if isinstance(rules, list) else ()):
            for field, known in (("journey", journeys), ("topic", topics)):
                name = rule.get(field) if isinstance(rule, dict) else None
                if name is not None and name not in known:
                    path: Path = (kind, index, field)
                    yield problem("T801", path, f"no {field} is called {name}", at=source.position(path))


def _digests(written: dict[str, object], templates: TemplateInfos, source: YamlSource) -> Iterator[Problem]:
    rules = written.get("consolidate")
    for index, rule in enumerate(rules if isinstance(rules, list) else ()):
        name = rule.get("template", TOGETHER)
        info = templates.get(name)
        if info is None:
            why = "is not in the catalogue"
        elif info.status != "live":
            why = f"is {info.status}"
        elif rule["channel"] not in info.channels:
            why = f"is not for {rule['channel']}"
        else:
            continue
        path: Path = ("consolidate", index)
        yield problem("T802", path, f"{name} {why}", at=source.position((*path, "template")))
