"""Content that a journey sends although somebody should have looked at it by now: said when it is published (C11)."""

from __future__ import annotations

from datetime import date

from journeys.definition import Journey, Send
from journeys.templates import TemplateInfos
from journeys.walk import actions_of


def sent_by(journey: Journey) -> dict[str, list[str]]:
    """The templates that a journey sends, each with the actions that do, in the order of the definition."""
    found: dict[str, list[str]] = {}
    for doing in actions_of(journey):
        if isinstance(doing.action, Send):
            actions = found.setdefault(doing.action.send, [])
            name = doing.action.name or f"send:{doing.action.send}"
            if name not in actions:
                actions.append(name)
    return found


def overdue(journey: Journey, templates: TemplateInfos, today: date) -> list[str]:
    """A sentence for each template past its review date, with whose turn it is."""
    known = ((name, templates.get(name)) for name in sent_by(journey))
    return [
        f"{name} was due for review on {info.review_date}: {info.owner} should look at it, then move its review_date"
        for name, info in known
        if info is not None and info.review_date is not None and info.review_date < today
    ]
