"""Warnings at publication: content past review, tasks without deadline, misspelt owners (C10, C11).

A warning never prevents publication.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from journeys.content.template_info import TemplateInfos
from journeys.language.actions import Send, Task, action_name
from journeys.language.definition import Journey
from journeys.language.problems import Path
from journeys.language.traversal import actions_of
from journeys.tasks.assignment import Roster


def templates_sent_by(journey: Journey) -> dict[str, list[str]]:
    """The templates that a journey sends, each with the names of the actions that send it, in document order."""
    templates: dict[str, list[str]] = {}
    for site in actions_of(journey):
        if isinstance(site.action, Send):
            actions = templates.setdefault(site.action.send, [])
            name = action_name(site.action)
            if name not in actions:
                actions.append(name)
    return templates


def content_past_review(journey: Journey, templates: TemplateInfos, today: date) -> list[str]:
    """A sentence for each template of the journey past its review date, with its owner."""
    sent = ((name, templates.get(name)) for name in templates_sent_by(journey))
    return [
        f"{name} was due for review on {info.review_date}: its owner, {info.owner}, should review it"
        for name, info in sent
        if info is not None and info.review_date is not None and info.review_date < today
    ]


def misspelt_owners(journey: Journey, roster: Roster) -> Iterator[tuple[Path, str]]:
    """The path of each owner and escalation that resembles a name of the team file and is none, and a sentence."""
    named: list[tuple[Path, str | None]] = [
        (("states", name, "owner"), state.owner) for name, state in journey.states.items()
    ]
    for site in actions_of(journey):
        if isinstance(site.action, Task):
            named.append(((*site.path, "owner"), site.action.owner))
            named += [((*site.path, "escalate", index), who) for index, who in enumerate(site.action.escalate)]
    for path, owner in named:
        if owner is not None and (near := roster.near(owner)) is not None:
            yield path, f"{owner} is no person or team of team.yaml: did you mean {near}?"


def tasks_without_deadline(journey: Journey) -> Iterator[tuple[Path, str]]:
    """The path of each task without a deadline, and a sentence with the remedy."""
    for site in actions_of(journey):
        action = site.action
        if isinstance(action, Task) and action.sla is None and action.within is None:
            text = f"the task {action_name(action)} has no deadline and is never overdue: add `within` or `sla`"
            yield (*site.path, "task"), text
