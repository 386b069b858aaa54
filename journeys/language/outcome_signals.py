"""What a journey hears of its own actions and of segments: signals that no tracking plan has to declare."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from journeys.language import definition as d
from journeys.language.actions import Send, Task, action_name
from journeys.language.traversal import actions_of

OF_SEND: Final[Mapping[str, Mapping[str, str]]] = {
    "sent": {"channel": "string", "template": "string"},
    "withheld": {"reason": "string", "template": "string"},
    "failed": {"channel": "string", "reason": "string", "template": "string"},
}
OF_TASK: Final[Mapping[str, Mapping[str, str]]] = {
    "closed": {"outcome": "string", "by": "string", "note": "string"},
    "overdue": {"owner": "string", "level": "int"},
}
OF_SEGMENT: Final[Mapping[str, str]] = {"segment": "string"}
_SEGMENT: Final = re.compile(r"segment\.[a-z][a-z0-9_-]{0,63}\.(?:entered|left)")


def is_segment_signal(name: str) -> bool:
    """`segment.<name>.entered` and `.left` (U5)."""
    return _SEGMENT.fullmatch(name) is not None


def outcome_signals(journey: d.Journey) -> dict[str, Mapping[str, str]]:
    """By name, the outcomes of this journey's sends and tasks, with what each carries."""
    found: dict[str, Mapping[str, str]] = {}
    for item in actions_of(journey):
        match item.action:
            case Send():
                found |= {f"{action_name(item.action)}.{word}": carries for word, carries in OF_SEND.items()}
            case Task():
                found |= {f"{action_name(item.action)}.{word}": carries for word, carries in OF_TASK.items()}
            case _:
                pass
    return found


def outcome_fields(journey: d.Journey) -> dict[str, str]:
    """The same, flat, with the segments it listens to: `event.call.closed.outcome` to `string`."""
    return dict(_flat(journey))


def _flat(journey: d.Journey) -> Iterator[tuple[str, str]]:
    signals = outcome_signals(journey)
    for name in _heard(journey):
        if is_segment_signal(name):
            signals[name] = OF_SEGMENT
    for name, carries in signals.items():
        for key, kind in carries.items():
            yield f"event.{name}.{key}", kind


def _heard(journey: d.Journey) -> Iterator[str]:
    yield from journey.entry.on
    for place in (journey, *journey.states.values()):
        yield from place.on
