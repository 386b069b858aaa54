"""What came in at the front door: a Segment call read into one shape, every fault named, and the instant it happened.

Source: the Segment spec (`track identify group alias page screen`, common fields). Limits as Segment's: 32 KB an event.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, cast

from journeys.events.tracing import trace_of_event

CallKind = Literal["track", "identify", "group", "alias", "page", "screen"]
KINDS: Final = ("track", "identify", "group", "alias", "page", "screen")
LONGEST_ID: Final = 255
LATEST: Final = timedelta(days=1)
"""A sender's time further back than this is not believed for decisions (design §3)."""


@dataclass(frozen=True, slots=True)
class FieldFault:
    """One thing wrong with a call: which field, and what it should be."""

    field: str
    message: str


@dataclass(slots=True)
class InboundEvent:
    """One call, read. `name` is the raw name until the tracking plan gives the signal's.

    `subject_key` stands for the identities where the store itself is the sender (`emit`).
    """

    kind: CallKind
    message_id: str
    name: str
    user_id: str | None = None
    anonymous_id: str | None = None
    account_id: str | None = None
    previous_id: str | None = None
    subject_key: str | None = None
    data: dict[str, Any] = field(default_factory=dict)
    traits: dict[str, Any] = field(default_factory=dict)
    context: dict[str, Any] | None = None
    timestamp: datetime | None = None
    sent_at: datetime | None = None
    faults: list[str] = field(default_factory=list)
    raw: Mapping[str, Any] = field(default_factory=dict)
    trace: str | None = None
    """Given by the sender, or what it continues; else it has its own as soon as the store has given it a `number`."""
    number: int = 0

    def traced(self, source: str) -> str | None:
        """Its trace, once it is stored."""
        return self.trace or (trace_of_event(self.number, source, self.message_id) if self.number else None)


def read_call(raw: Any, kind: str | None = None, sent_at: Any = None) -> InboundEvent | list[FieldFault]:
    """A Segment call as `InboundEvent`, or everything that is wrong with it. `kind` is the route's, where it says so."""
    if not isinstance(raw, Mapping):
        return [FieldFault("", "an event is a JSON object")]
    faults: list[FieldFault] = []
    found = kind or raw.get("type")
    if found not in KINDS:
        faults.append(FieldFault("type", f"must be one of {', '.join(KINDS)}"))
        found = "track"
    call = InboundEvent(
        kind=cast("CallKind", found),
        message_id=_identity(raw, "messageId", faults) or "",
        name=_name(raw, found, faults),
        user_id=_identity(raw, "userId", faults),
        anonymous_id=_identity(raw, "anonymousId", faults),
        account_id=_account(raw, found, faults),
        previous_id=_identity(raw, "previousId", faults) if found == "alias" else None,
        data=_object(raw, "properties", faults) if found in {"track", "page", "screen"} else {},
        traits=_object(raw, "traits", faults) if found in {"identify", "group"} else {},
        context=_object(raw, "context", faults) or None,
        timestamp=_instant(raw.get("timestamp") or raw.get("originalTimestamp"), "timestamp", faults),
        sent_at=_instant(raw.get("sentAt") or sent_at, "sentAt", faults),
        raw=raw,
    )
    if call.user_id is None and call.anonymous_id is None:
        faults.append(FieldFault("userId", "userId or anonymousId is needed"))
    if found == "group" and call.account_id is None:
        faults.append(FieldFault("groupId", "is needed in a group call"))
    if found == "alias" and (call.previous_id is None or call.user_id is None):
        faults.append(FieldFault("previousId", "previousId and userId are needed in an alias call"))
    return faults or call


def accepted_at(call: InboundEvent, received: datetime, *, virtual: bool, floor: datetime | None = None) -> datetime:
    """When it happened, for every decision: fixed here, once (design §3, Time).

    The sender's time corrected by `sentAt` (Segment: receivedAt - (sentAt - timestamp)), never later than acceptance,
    and acceptance itself if more than a day old then. Never before `floor`, up to which the subject's timers are decided
    already. On a test clock (`virtual`) the senders' clocks are real, so their skew means nothing.
    """
    at = call.timestamp or received
    if call.timestamp is not None and call.sent_at is not None and not virtual:
        at = received - (call.sent_at - call.timestamp)
    if at > received or received - at > LATEST:
        at = received
    return at if floor is None else max(at, min(floor, received))


def _name(raw: Mapping[str, Any], kind: str, faults: list[FieldFault]) -> str:
    if kind != "track":
        return kind
    name = raw.get("event")
    if isinstance(name, str) and 0 < len(name) <= LONGEST_ID and "\x00" not in name:
        return name
    faults.append(FieldFault("event", f"a track call names its event, in 1 to {LONGEST_ID} characters"))
    return ""


def _identity(raw: Mapping[str, Any], key: str, faults: list[FieldFault]) -> str | None:
    value = raw.get(key)
    if value is None or value == "":
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or len(value) > LONGEST_ID or "\x00" in value:
        faults.append(FieldFault(key, f"must be a string of at most {LONGEST_ID} characters without NUL"))
        return None
    return value


def _account(raw: Mapping[str, Any], kind: str, faults: list[FieldFault]) -> str | None:
    if kind == "group":
        return _identity(raw, "groupId", faults)
    context = raw.get("context")
    return _identity(context, "groupId", faults) if isinstance(context, Mapping) else None


def _object(raw: Mapping[str, Any], key: str, faults: list[FieldFault]) -> dict[str, Any]:
    value = raw.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        faults.append(FieldFault(key, "must be a JSON object"))
        return {}
    return value


def _instant(value: Any, key: str, faults: list[FieldFault]) -> datetime | None:
    if value is None:
        return None
    if isinstance(value, datetime):
        return value
    try:
        at = datetime.fromisoformat(value)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        faults.append(FieldFault(key, "must be an ISO 8601 instant such as 2026-05-03T10:00:00Z"))
        return None
