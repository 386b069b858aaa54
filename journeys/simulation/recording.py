"""Recorded events: Segment calls or rows of a table.

Source: the Segment spec. Beside its calls, `{"type": "consent", "channel", "topic", "granted"}` records what a person
allowed, as the consent API does; `*` stands for every channel or topic. `{"type": "operator", "do": …}` records an
operation of an operator (`OPERATOR`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from journeys.events.validation import EventTable, ValidEvent

RecordedKind = Literal["signal", "profile", "account", "consent", "operator"]
OPERATOR = (
    "stop", "release_stop", "hold", "release_hold", "suppress", "lift_suppression", "retire_content", "mend_content",
    "cancel_run",
)  # fmt: skip
"""Operations of operators; `data` has their object: `scope` and `name`, `channel`, `template`, `journey`."""
_KINDS: Mapping[str, RecordedKind] = {
    "identify": "profile",
    "group": "account",
    "consent": "consent",
    "operator": "operator",
}
_BREAK = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9_.:/-]+")


class UnusableRecord(ValueError):
    """A record cannot be used. The message says what is missing. The caller's turn: correct the record."""


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """Something that happened to `who`. `data` are properties, traits, or a consent's channel, topic and grant."""

    at: datetime
    who: str
    kind: RecordedKind
    name: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


def read_recorded(raw: Mapping[str, Any], plan: EventTable | None = None) -> RecordedEvent:
    """A Segment call as recorded. Raises UnusableRecord without a person, event or instant, or if it fails the plan."""
    kind = raw.get("type", "track")
    who = raw.get("userId") or raw.get("groupId") or raw.get("anonymousId")
    if not isinstance(who, str | int):
        raise UnusableRecord("the person is missing: userId, groupId or anonymousId is needed")
    if kind == "operator" and raw.get("do") not in OPERATOR:
        raise UnusableRecord(f"`do` is one of {', '.join(OPERATOR)}")
    at = read_instant(raw.get("timestamp") or raw.get("originalTimestamp") or raw.get("receivedAt"))
    if kind == "operator":
        return RecordedEvent(at, str(who), "operator", str(raw["do"]), _mapping(raw))
    if kind in _KINDS:
        return RecordedEvent(
            at, str(who), _KINDS[kind], kind, _mapping(raw if kind == "consent" else raw.get("traits"))
        )
    name = raw.get("event") if kind == "track" else kind
    if not isinstance(name, str) or not name:
        raise UnusableRecord("a track call names its event")
    signal, data = signal_of(name, _mapping(raw.get("properties")), plan)
    return RecordedEvent(at, str(who), "signal", signal, data)


def signal_of(name: str, data: Mapping[str, Any], plan: EventTable | None) -> tuple[str, Mapping[str, Any]]:
    """The signal and data of an event by the plan; without a plan, `signal_name` of its own name."""
    if plan is None:
        return signal_name(name), data
    checked = plan.check(name, data)
    if isinstance(checked, ValidEvent):
        return checked.signal, checked.properties
    raise UnusableRecord("; ".join(fault.what for fault in checked.faults))


def signal_name(name: str) -> str:
    """`Order Completed` and `OrderCompleted` as `order_completed`."""
    return _BREAK.sub("_", name.strip()).strip("_").lower()


def read_instant(value: Any) -> datetime:
    """An aware UTC instant from ISO text, `19970131`, or a datetime. Raises UnusableRecord."""
    try:
        at = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        raise UnusableRecord(f"the timestamp {value!r} is not an ISO 8601 instant") from None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
