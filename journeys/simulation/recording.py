"""Recorded events: Segment calls or rows of a table.

Source: the Segment spec. An account is the `groupId` of a call or of its `context`; a call with a `groupId` alone is the
account's own. Beside Segment's calls, `{"type": "consent", "channel", "topic", "granted"}` records what a person
allowed, as the consent API does; `*` stands for every channel or topic, `"confirmed": true` is a double opt-in's second
yes, and `"by"` is `person` or `operator` for what they said themselves. `{"type": "operator", "do": …}` records an operation of an operator (`OPERATOR`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from journeys.calendar.sender_instants import sender_instant
from journeys.consent.changes import ConsentChange
from journeys.consent.precedence import StatedBy
from journeys.events.call_fields import fields_of_call
from journeys.events.history import is_historical
from journeys.events.ids.placeholder_ids import is_placeholder
from journeys.events.validation import EventTable, ValidEvent
from journeys.fields.table import NO_FIELDS, FieldTable
from journeys.gate.verdicts import ANY

RecordedKind = Literal["signal", "profile", "account", "consent", "operator"]
RecordedSubject = Literal["user", "visitor", "account"]
"""Whom `who` identifies: by a user id, an anonymous id or an account's id."""
OPERATOR = (
    "stop", "release_stop", "hold", "release_hold", "suppress", "lift_suppression", "retire_content", "mend_content",
    "cancel_run", "close_task",
)  # fmt: skip
"""Operations of operators; `data` has their object: `scope` and `name`, `channel`, `template`, `journey`, `task`."""
_KINDS: Mapping[str, RecordedKind] = {
    "identify": "profile",
    "group": "account",
    "consent": "consent",
    "operator": "operator",
}
_BREAK = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9_.:/-]+")


class UnusableRecord(ValueError):
    """A record cannot be used. The message says what is missing. The caller's turn: correct the record."""


class RecordedEvent(NamedTuple):
    """Something that happened to `who`. `data` are properties, traits, or a consent's channel, topic and grant.

    `account` is the account that the event names. `visitor` is the anonymous id that comes with a user id: both are one person.
    `implied` are fields that only the call's context gives; `unread` says of which traits the value cannot be read.
    `historical`: its sender tells it as history.
    """

    at: datetime
    who: str
    kind: RecordedKind
    name: str = ""
    data: Mapping[str, Any] = MappingProxyType({})
    account: str = ""
    visitor: str = ""
    subject: RecordedSubject = "user"
    historical: bool = False
    implied: Mapping[str, Any] = MappingProxyType({})
    unread: tuple[str, ...] = ()


def read_recorded(
    raw: Mapping[str, Any], plan: EventTable | None = None, fields: FieldTable = NO_FIELDS
) -> RecordedEvent:
    """A Segment call as recorded; `fields` reads its traits.

    Raises UnusableRecord without a person, event or instant, or if it fails the plan.
    """
    kind = raw.get("type", "track")
    who, subject = _who(raw)
    if kind == "operator" and raw.get("do") not in OPERATOR:
        raise UnusableRecord(f"`do` is one of {', '.join(OPERATOR)}")
    at = read_instant(raw.get("timestamp") or raw.get("originalTimestamp") or raw.get("receivedAt"))
    account = _id(raw.get("groupId") or _mapping(raw.get("context")).get("groupId"))
    before = raw.get("previousId") if kind == "alias" else raw.get("anonymousId")
    names: dict[str, Any] = {
        "account": account, "visitor": _id(before) if subject == "user" else "", "subject": subject,
        "historical": is_historical(_mapping(raw.get("context"))),
    }  # fmt: skip
    if kind == "operator":
        return RecordedEvent(at, who, "operator", str(raw["do"]), _mapping(raw), **names)
    if kind in _KINDS:
        if kind == "consent":
            return RecordedEvent(at, who, "consent", kind, raw, **names)
        call = fields_of_call(fields, kind, _mapping(raw.get("traits")), _mapping(raw.get("context")))
        names |= {"implied": call.implied, "unread": tuple(trait.what for trait in call.unreadable)}
        return RecordedEvent(at, who, _KINDS[kind], kind, call.traits, **names)
    name = raw.get("event") if kind == "track" else kind
    if not isinstance(name, str) or not name:
        raise UnusableRecord("a track call names its event")
    signal, data = signal_of(name, _mapping(raw.get("properties")), plan)
    return RecordedEvent(at, who, "signal", signal, data, **names)


def _who(raw: Mapping[str, Any]) -> tuple[str, RecordedSubject]:
    """The subject of a call: its user, else its visitor, else its account."""
    keys: Mapping[str, RecordedSubject] = {"userId": "user", "anonymousId": "visitor", "groupId": "account"}
    for key, subject in keys.items():
        if who := _id(raw.get(key)):
            return who, subject
    raise UnusableRecord("the person is missing: userId, groupId or anonymousId is needed")


def _id(value: Any) -> str:
    return (
        ""
        if not isinstance(value, str | int) or isinstance(value, bool) or is_placeholder(value)
        else str(value).strip()
    )


def recorded_consent(data: Mapping[str, Any]) -> ConsentChange:
    """The change of consent that a record states; `granted: null` takes a statement back."""
    taken_back = "granted" in data and data["granted"] is None
    return ConsentChange(
        str(data.get("channel") or ANY),
        str(data.get("topic") or ANY),
        None if taken_back else data.get("granted") is True,
        "recorded",
        confirmed=data.get("confirmed") is True,
        by=StatedBy(data["by"]) if data.get("by") in list(StatedBy) else StatedBy.COMPANY,
    )


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
    """An aware UTC instant from a datetime or from what the API reads. Raises UnusableRecord."""
    at = sender_instant(value)
    if at is None:
        raise UnusableRecord(f"the timestamp {value!r} is not an instant such as 2026-05-03T10:00:00Z")
    return at


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
