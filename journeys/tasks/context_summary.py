"""Summary of a task's context as lines of plain text, for reminders and terminals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

MOST_CHARACTERS: Final = 400
_CONTACT: Final = ("email", "phone", "role", "title", "company")


def context_lines(context: Mapping[str, Any], reason: str) -> tuple[str, ...]:
    """Who the task is about, what was promised and sent, and why it exists: one line each, without those that are not known.

    Names come from senders: line breaks become blanks, and long values are cut.
    """
    return tuple(" ".join(line.split())[:MOST_CHARACTERS] for line in _lines(context, reason))


def _lines(context: Mapping[str, Any], reason: str) -> Iterator[str]:
    for noun in ("person", "account"):
        if (party := context[noun]) is not None:
            yield f"{noun.capitalize()}: {described(party)}"
    if reason:
        yield f"About: {reason}"
    if (promised := context["promised"]) is not None and promised["value"] is not None:
        yield f"Promised by {promised['from']}: {promised['value']}"
    if context["sent"]:
        yield f"Sent: {'; '.join(map(_message, context['sent']))}"
    if context["because"]:
        yield f"Why: {'; '.join(line['text'] for line in context['because'])}"


def described(party: Mapping[str, Any]) -> str:
    """A person or an account in one line: name, id, and how to reach them."""
    name = party["name"] or party["id"] or party["key"]
    known = [str(party[field]) for field in _CONTACT if party[field]]
    shown_id = [party["id"]] if party["id"] and party["id"] != name else []
    return ", ".join([str(name), *shown_id, *known])


def _message(message: Mapping[str, Any]) -> str:
    """A message with channel and day; the instant is a text where it comes from the API."""
    at = message["sent_at"]
    day = at if isinstance(at, datetime) else datetime.fromisoformat(at)
    return f"{message['subject'] or message['template']} ({message['channel']}, {day:%d %B %Y})"
