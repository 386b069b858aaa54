"""Warnings at publication: content past its review date, tasks without a deadline (C10, C11)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from journeys.content.template_info import TemplateInfos
from journeys.language.actions import Send, Task, action_name
from journeys.language.definition import Journey
from journeys.language.problems import Path
from journeys.language.traversal import actions_of


def templates_sent_by(journey: Journey) -> dict[str, list[str]]:
    """The templates that a journey sends, each with the actions that do, in the order of the definition."""
    found: dict[str, list[str]] = {}
    for doing in actions_of(journey):
        if isinstance(doing.action, Send):
            actions = found.setdefault(doing.action.send, [])
            name = doing.action.name or f"send:{doing.action.send}"
            if name not in actions:
                actions.append(name)
    return found


def content_past_review(journey: Journey, templates: TemplateInfos, today: date) -> list[str]:
    """A sentence for each template past its review date, with whose turn it is."""
    known = ((name, templates.get(name)) for name in templates_sent_by(journey))
    return [
        f"{name} was due for review on {info.review_date}: {info.owner} should look at it, then move its review_date"
        for name, info in known
        if info is not None and info.review_date is not None and info.review_date < today
    ]


def tasks_without_deadline(journey: Journey) -> Iterator[tuple[Path, str]]:
    """Each task that can lie for ever and is never overdue: where it is asked for, and a sentence with the mend."""
    for doing in actions_of(journey):
        action = doing.action
        if isinstance(action, Task) and action.sla is None and action.within is None:
            what = f"the task {action_name(action)} has no deadline, so it may lie for ever: add `within` or `sla`"
            yield (*doing.path, "task"), what
