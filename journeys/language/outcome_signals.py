"""Signals of a journey's own sends and tasks, and of segments, with their properties.

No tracking plan declares them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from journeys.language import definition as d
from journeys.language.actions import Send, Task, action_name
from journeys.language.traversal import actions_of

SEND_OUTCOMES: Final[Mapping[str, Mapping[str, str]]] = {
    "sent": {"channel": "string", "template": "string"},
    "withheld": {"reason": "string", "template": "string"},
    "failed": {"channel": "string", "reason": "string", "template": "string"},
}
TASK_OUTCOMES: Final[Mapping[str, Mapping[str, str]]] = {
    "closed": {"outcome": "string", "by": "string", "note": "string"},
    "overdue": {"owner": "string", "level": "int"},
}
SEGMENT_PROPERTIES: Final[Mapping[str, str]] = {"segment": "string"}
_SEGMENT: Final = re.compile(r"segment\.[a-z][a-z0-9_-]{0,63}\.(?:entered|left)")


def is_segment_signal(name: str) -> bool:
    """Whether a name is `segment.<name>.entered` or `.left` (U5)."""
    return _SEGMENT.fullmatch(name) is not None


def outcome_signals(journey: d.Journey) -> dict[str, Mapping[str, str]]:
    """By name, the outcome signals of this journey's sends and tasks, each with the types of its properties."""
    signals: dict[str, Mapping[str, str]] = {}
    for site in actions_of(journey):
        if isinstance(site.action, Send | Task):
            outcomes = SEND_OUTCOMES if isinstance(site.action, Send) else TASK_OUTCOMES
            signals |= {f"{action_name(site.action)}.{outcome}": types for outcome, types in outcomes.items()}
    return signals


def outcome_fields(journey: d.Journey) -> dict[str, str]:
    """The types of their properties and of the segments it listens to: `event.call.closed.outcome` → `string`."""
    return dict(_typed_fields(journey))


def _typed_fields(journey: d.Journey) -> Iterator[tuple[str, str]]:
    signals = outcome_signals(journey)
    for name in _listened_to(journey):
        if is_segment_signal(name):
            signals[name] = SEGMENT_PROPERTIES
    for name, types in signals.items():
        for property_name, kind in types.items():
            yield f"event.{name}.{property_name}", kind


def _listened_to(journey: d.Journey) -> Iterator[str]:
    yield from journey.entry.on
    for node in (journey, *journey.states.values()):
        yield from node.on
