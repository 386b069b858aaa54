"""Read a Segment call into an event or its faults; fix an event's instant.

Source: the Segment spec (`track identify group alias page screen`, common fields). Limits as Segment's: 32 KB an event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, cast, get_args

from journeys.calendar.sender_instants import sender_instant
from journeys.events.call_fields import FIELD_OWNERS, with_fields
from journeys.events.ids.placeholder_ids import PLACEHOLDER_IDS, is_placeholder
from journeys.events.inbound import CallKind, InboundEvent, ReceivedEvent, RejectedEvent
from journeys.events.reading_notes import OWN_KEYS, noted, unread_note
from journeys.events.validation import InvalidEvent, ValidatedEvent
from journeys.fields.table import NO_FIELDS, FieldTable

KINDS: Final[tuple[str, ...]] = get_args(CallKind)
CALL_NAMES: Final[Mapping[str, str]] = {name: kind for kind in KINDS for name in (kind, kind[0])}
"""Kinds by the names of calls in paths: libraries in browsers send `track` as `t`. The first letters differ."""
BATCH_NAMES: Final = ("batch", "b", "import")
"""Names of calls with many events in paths; older libraries for apps send to `import`."""
MAX_ID: Final = 255
"""Characters of an id or an event's name."""
MAX_AGE: Final = timedelta(days=1)
"""A sender's time that is older is replaced by the time of acceptance."""
MAX_SKEW: Final = timedelta(days=3650)
"""A larger difference between `sentAt` and `timestamp` is ignored: it might leave the calendar."""
NAMES_NOBODY: Final = "is a placeholder and names nobody"
EventPlan = Callable[[str, str, dict[str, Any]], ValidatedEvent]
"""Validates an event by the tracking plan, given its kind, its sender's name and its data."""


@dataclass(frozen=True, slots=True)
class FieldFault:
    """A fault of a call: the field, and what it must be."""

    field: str
    message: str


def read_call(
    raw: Any,
    kind: str | None = None,
    sent_at: datetime | None = None,
    trace: str | None = None,
    *,
    plan: EventPlan,
    own_id: Callable[[Mapping[str, Any], bool], str],
    notes: Sequence[str] = (),
    placeholders: frozenset[str] = PLACEHOLDER_IDS,
    nobody: Mapping[str, Any],
    fields: FieldTable = NO_FIELDS,
) -> ReceivedEvent | list[FieldFault]:
    """The event of a Segment call by the plan, or every malformed field. `kind` is the route's, if it has one.

    `own_id` makes an id for a call without one; its flag says whether the call has a timestamp. `notes` on the batch's
    envelope are kept in the event's context with its own. `placeholders` name nobody, `nobody` are this call's; `fields`
    reads traits.
    """
    if not isinstance(raw, Mapping):
        return [FieldFault("", "an event is a JSON object")]
    faults, unread = list[FieldFault](), list(notes)
    call_kind = _kind(kind or raw.get("type"), faults)
    message_id = read_identity(raw, "messageId", faults, placeholders)
    name = _name(raw, call_kind, faults)
    user_id, anonymous_id = (read_identity(raw, key, faults, placeholders) for key in ("userId", "anonymousId"))
    account_id = _account(raw, call_kind, faults, placeholders)
    previous_id = read_identity(raw, "previousId", faults, placeholders) if call_kind == "alias" else None
    data = read_object(raw, "properties", faults) if call_kind in {"track", "page", "screen"} else {}
    traits = read_object(raw, "traits", faults) if call_kind in {"identify", "group"} else {}
    context, timestamp = _context(raw, unread), timestamp_in(raw, unread)
    sent = _instant(raw, "sentAt", unread) or sent_at
    unread += [unread_note(field, value, NAMES_NOBODY) for field, value in nobody.items()]
    faults += _missing(call_kind, (user_id, anonymous_id, account_id, previous_id), nobody)
    if faults:
        return faults
    message_id = message_id or own_id(raw, timestamp is not None)
    planned = plan(call_kind, name, data)
    if isinstance(planned, InvalidEvent):
        return RejectedEvent(message_id, name, planned.sentences, _with_kind(raw, kind), signal=planned.signal)
    event = InboundEvent(
        kind=cast("CallKind", call_kind),
        message_id=message_id,
        name=planned.signal,
        user_id=user_id,
        anonymous_id=anonymous_id,
        account_id=account_id,
        previous_id=previous_id,
        data=planned.properties,
        traits=traits,
        context=noted(context, unread),
        timestamp=timestamp,
        sent_at=None if is_absurd(timestamp, sent) else sent,
        trace=trace,
        padded=_padded(raw, call_kind),
        raw=_with_kind(raw, kind),
    )
    return with_fields(event, fields) if call_kind in FIELD_OWNERS else event


def _kind(given: Any, faults: list[FieldFault]) -> str:
    if given in KINDS:
        return str(given)
    faults.append(FieldFault("type", f"must be one of {', '.join(KINDS)}"))
    return "track"


def _missing(kind: str, named: tuple[str | None, ...], nobody: Iterable[str]) -> list[FieldFault]:
    """Faults of a call that lacks the ids without which it is about nobody: then its placeholders are faults too."""
    user_id, anonymous_id, account_id, previous_id = named
    missing = list[FieldFault]()
    if user_id is None and anonymous_id is None:
        missing.append(FieldFault("userId", "userId or anonymousId is needed"))
    if kind == "group" and account_id is None:
        missing.append(FieldFault("groupId", "is needed in a group call"))
    if kind == "alias" and (previous_id is None or user_id is None):
        missing.append(FieldFault("previousId", "previousId and userId are needed in an alias call"))
    return [*missing, *(FieldFault(field, NAMES_NOBODY) for field in nobody)] if missing else []


def _with_kind(raw: Mapping[str, Any], kind: str | None) -> Mapping[str, Any]:
    """The call as a batch would have it: with its kind, if that is only in the route."""
    return raw if kind is None else {**raw, "type": kind}


def is_absurd(timestamp: datetime | None, sent_at: datetime | None) -> bool:
    """Whether the sender's two times differ by more than a clock can be wrong."""
    return timestamp is not None and sent_at is not None and abs(sent_at - timestamp) > MAX_SKEW


def decision_instant(occurred: datetime, received: datetime, *, floor: datetime | None = None) -> datetime:
    """The instant `at` of an event for every decision, fixed once at acceptance (`received`).

    It is when the event `occurred`; acceptance itself if that is more than a day earlier. Never before `floor`, the
    instant up to which the subject's timers are decided.
    """
    at = received if received - occurred > MAX_AGE else occurred
    return at if floor is None else max(at, min(floor, received))


def occurred_at(event: InboundEvent, received: datetime, *, virtual: bool) -> datetime:
    """The sender's time corrected by `sentAt` (Segment: receivedAt - (sentAt - timestamp)), at any age.

    The time of acceptance (`received`) if it is later, or without a time. It orders fields, counters and statements of
    consent. On a test clock (`virtual`) senders' clocks are real, so their skew is ignored.
    """
    return received if event.timestamp is None else said_at(event.timestamp, event.sent_at, received, virtual=virtual)


def said_at(timestamp: datetime, sent_at: datetime | None, received: datetime, *, virtual: bool) -> datetime:
    """A sender's time corrected by the time of sending, `received` if it is later.

    A skew beyond MAX_SKEW is none, and on a test clock (`virtual`) so is every other: senders' clocks are real.
    """
    if sent_at is not None and not virtual and not is_absurd(timestamp, sent_at):
        timestamp = received - (sent_at - timestamp)
    return min(timestamp, received)


def _name(raw: Mapping[str, Any], kind: str, faults: list[FieldFault]) -> str:
    if kind != "track":
        return kind
    name = raw.get("event")
    if isinstance(name, str) and 0 < len(name) <= MAX_ID and "\x00" not in name:
        return name
    faults.append(FieldFault("event", f"a track call names its event, in 1 to {MAX_ID} characters"))
    return ""


def read_identity(
    raw: Mapping[str, Any], key: str, faults: list[FieldFault], placeholders: frozenset[str] = PLACEHOLDER_IDS
) -> str | None:
    """The id in a field of a call, also of a number, without outer blanks; None for a placeholder.

    A message id keeps its blanks: it names no one, and must equal itself. A malformed one is added to `faults`.
    """
    value = raw.get(key)
    if value is None or is_placeholder(value, placeholders):
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or len(value) > MAX_ID or "\x00" in value:
        faults.append(FieldFault(key, f"must be a string of at most {MAX_ID} characters without NUL"))
        return None
    return value if key == "messageId" else value.strip()


def _padded(raw: Mapping[str, Any], kind: str) -> tuple[tuple[str, str], ...]:
    """The identities of a call that have outer blanks, as they were written. A previous id may be of two kinds."""
    written = [("user_id", raw.get("userId")), ("anonymous_id", raw.get("anonymousId"))]
    written.append(("account_id", _account_fields(raw, kind).get("groupId")))
    if kind == "alias":
        written += [(of, raw.get("previousId")) for of in ("user_id", "anonymous_id")]
    return padded_identities(written)


def padded_identities(written: Iterable[tuple[str, Any]]) -> tuple[tuple[str, str], ...]:
    """Those identities (kind, id as it was written) that have outer blanks."""
    return tuple((kind, value) for kind, value in written if isinstance(value, str) and value != value.strip())


def _account(raw: Mapping[str, Any], kind: str, faults: list[FieldFault], placeholders: frozenset[str]) -> str | None:
    return read_identity(_account_fields(raw, kind), "groupId", faults, placeholders)


def _account_fields(raw: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """The part of a call that names its account: the call itself for `group`, else its context."""
    named = raw if kind == "group" else raw.get("context")
    return named if isinstance(named, Mapping) else {}


def read_object(raw: Mapping[str, Any], key: str, faults: list[FieldFault]) -> dict[str, Any]:
    """The object in a field of a call; empty without one. Anything else is added to `faults`.

    `[]` is empty too: PHP's encoder writes a map without entries so.
    """
    value = raw.get(key)
    if value is None or value == []:
        return {}
    if not isinstance(value, dict):
        faults.append(FieldFault(key, "must be a JSON object"))
        return {}
    return value


def _context(raw: Mapping[str, Any], unread: list[str]) -> dict[str, Any]:
    """The context of a call without notes of its sender's. What is no object is noted: the event itself is good."""
    faults: list[FieldFault] = []
    context = read_object(raw, "context", faults)
    unread += [unread_note("context", raw.get("context"), "is not an object and was left out") for _ in faults]
    return context if OWN_KEYS.isdisjoint(context) else {k: v for k, v in context.items() if k not in OWN_KEYS}


def timestamp_in(raw: Mapping[str, Any], unread: list[str]) -> datetime | None:
    """The time of a call; None without one. What cannot be read is noted, and the time of receipt counts."""
    return next((at for key in ("timestamp", "originalTimestamp") if (at := _instant(raw, key, unread))), None)


def _instant(raw: Mapping[str, Any], key: str, unread: list[str]) -> datetime | None:
    value = raw.get(key)
    at = sender_instant(value)
    if at is None and value is not None and value != "":
        unread.append(unread_note(key, value, "is not an instant and was left out"))
    return at
