"""Reader of Segment JSON: calls become events, valid or rejected.

A malformed element of a batch affects no other: it is rejected with its faults, and `accept` keeps it in quarantine.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeGuard

import orjson

from api.events.permissions import EventPermissions, permitted
from api.events.tracking_plan import EventCheck
from api.http.body import Json, storage_fault, unstorable_values
from api.http.limits import Limits
from api.http.metrics import Metrics
from api.http.problems import ProblemError, pointer
from journeys.access.callers import ApiKey, CallerKind
from journeys.access.demands import RefusedPart
from journeys.access.refusals import AccessRefusal
from journeys.access.write_keys import without_write_key
from journeys.events.batch_envelope import BatchEnvelope, batch_envelope_of
from journeys.events.ids.placeholder_ids import placeholder_fields
from journeys.events.inbound import InboundEvent, ReceivedEvent, RejectedEvent
from journeys.events.segment import FieldFault, read_call

RefusedElement = tuple[int, str, list[FieldFault]]
"""Index, message id and faults of an element of a batch."""


@dataclass(slots=True)
class ParsedBatch:
    """Every event of a batch with its element, and of each refused element its index, message id and faults."""

    key: ApiKey
    elements: list[Any] = field(default_factory=list)
    events: list[ReceivedEvent] = field(default_factory=list)
    refused: list[RefusedElement] = field(default_factory=list)

    def add(self, element: Any, event: ReceivedEvent | RefusedCall) -> None:
        """Add the next element as it was read."""
        self.elements.append(element)
        if isinstance(event, RefusedCall):
            self.refuse(len(self.events), event)
        else:
            self.events.append(event)

    def refuse(self, index: int, call: RefusedCall) -> None:
        """Put an element into quarantine with its faults."""
        rejected = replace(_malformed(self.elements[index], call.faults, self.key), opt_out=call.opt_out)
        self.reject(index, rejected, call.faults)

    def reject(self, index: int, rejected: RejectedEvent, faults: list[FieldFault]) -> None:
        """Replace an event by its rejection."""
        self.refused.append((index, rejected.message_id, faults))
        self.events[index : index + 1] = [rejected]


@dataclass(frozen=True, slots=True)
class RefusedCall:
    """A call that becomes no event: it is malformed, or its key may not send it."""

    faults: list[FieldFault]
    is_forbidden: bool = False
    opt_out: InboundEvent | None = None
    """Its refusals, which count although it is quarantined."""

    @classmethod
    def of(cls, parts: Sequence[RefusedPart]) -> RefusedCall:
        """The refusal of a call for the parts that its key may not send. A user without proof is held, and may be proven."""
        is_forbidden = any(part.reason is not AccessRefusal.UNPROVEN_USER for part in parts)
        return cls([FieldFault(part.part, part.sentence) for part in parts], is_forbidden=is_forbidden)

    def problem(self) -> ProblemError:
        """The 403 for a call that its key may not send, with every fault."""
        return ProblemError(
            "forbidden", "The key may not send this. Nothing was stored.", faults_for_caller(self.faults)
        )


class Reader:
    """Reads events under the limits, and checks them against the tracking plan and what their key may send."""

    def __init__(self, limits: Limits, check: EventCheck, permissions: EventPermissions, metrics: Metrics) -> None:
        self._limits, self._check, self._permissions, self._metrics = limits, check, permissions, metrics

    def one(self, parsed: Json, kind: str, key: ApiKey, trace: str | None = None) -> ReceivedEvent:
        """Read a single call as a batch of one. Raises ProblemError if its key may not send it; then nothing is stored."""
        raw = without_write_key(parsed.value)
        event = self._read(raw, kind, trace, key, BatchEnvelope(), strange=parsed.strange)
        if not isinstance(event, RefusedCall):
            return event
        if event.is_forbidden:
            raise event.problem()
        rejected = _malformed({**raw, "type": kind} if isinstance(raw, dict) else raw, event.faults, key)
        return replace(rejected, opt_out=event.opt_out)

    def batch(self, parsed: Json, key: ApiKey, trace: str | None = None) -> ParsedBatch:
        """Read all elements of a batch. Raises ProblemError if the body has no batch."""
        body = parsed.value
        if not isinstance(body, dict) or not isinstance(body.get("batch"), list):
            raise refused_call([FieldFault("batch", "is required: a list of events")])
        elements = body["batch"]
        if len(elements) > self._limits.batch_events:
            raise ProblemError("too-large", f"A batch has at most {self._limits.batch_events} events.")
        envelope = batch_envelope_of(body)
        batch = ParsedBatch(key)
        for element in elements:
            raw = envelope.around(without_write_key(element))
            batch.add(raw, self._read(raw, None, trace, key, envelope, strange=parsed.strange))
        return batch

    def _read(
        self, raw: Any, kind: str | None, trace: str | None, key: ApiKey, envelope: BatchEnvelope, *, strange: bool
    ) -> ReceivedEvent | RefusedCall:
        malformed = self._unfit(raw, strange=strange)
        if malformed:
            return RefusedCall(malformed)
        event = self._checked(raw, kind, trace, key, envelope)
        if isinstance(event, InboundEvent):
            return event
        return replace(event, opt_out=self._opt_out(raw, kind or raw.get("type"), envelope.sent_at, key))

    def _checked(
        self, raw: Any, kind: str | None, trace: str | None, key: ApiKey, envelope: BatchEnvelope
    ) -> ReceivedEvent | RefusedCall:
        placeholders = self._check.placeholders
        nobody = placeholder_fields(raw, placeholders)
        for name in nobody:
            self._metrics.placeholder_id(name)
        event = read_call(
            raw,
            kind,
            envelope.sent_at,
            trace,
            plan=self._check.planned,
            own_id=_own_id,
            notes=envelope.notes,
            placeholders=placeholders,
            fields=self._check.traits,
            nobody=nobody,
        )
        if isinstance(event, list):
            return RefusedCall(event)
        if isinstance(event, RejectedEvent):
            forbidden = self._permissions.refused_signal(key, event.signal)
            return RefusedCall.of(forbidden) if forbidden else replace(event, key_id=key.id)
        event, forbidden = self._permissions.as_permitted(key, event, raw)
        if forbidden:
            return RefusedCall.of(forbidden)
        faults = self._check.faults(event)
        if not faults:
            return permitted(key, self._permissions.with_implied(key, event) if event.implied else event)
        kept = raw if kind is None else {**raw, "type": kind}
        return RejectedEvent(event.message_id, event.name, faults, kept, key.id)

    def _opt_out(self, raw: Mapping[str, Any], kind: Any, sent_at: Any, key: ApiKey) -> InboundEvent | None:
        """The refusals in a call that is rejected. A stranger's count only of a user that they have proven to be."""
        named, message_id = raw.get("event"), raw.get("messageId")
        name = named if kind == "track" and isinstance(named, str) else str(kind)
        identity = message_id if _is_plain(message_id) else _own_id(raw, timed=True)
        event = self._check.opt_out(raw, str(kind), name, identity, sent_at)
        if event is None or (key.kind is CallerKind.PUBLIC and event.user_id is None):
            return None
        return None if self._permissions.refused(key, event, raw) else permitted(key, event)

    def _unfit(self, raw: Any, *, strange: bool) -> list[FieldFault]:
        """Faults that make a call impossible to store: its type, depth, size or values."""
        if not isinstance(raw, dict):
            return [FieldFault("", "must be a JSON object")]
        if _deeper(raw, self._limits.nesting):
            return [FieldFault("", f"is nested more than {self._limits.nesting} levels deep")]
        faults = unstorable_values(raw) if strange else []
        if not faults and len(orjson.dumps(raw)) > self._limits.event_bytes:
            faults = [FieldFault("", f"is larger than {self._limits.event_bytes // 1024} KB")]
        return faults


def refused_call(faults: list[FieldFault]) -> ProblemError:
    """The 400 for a call, with its faults."""
    return ProblemError("malformed-event", "Nothing was stored.", faults_for_caller(faults))


def _sentence(fault: FieldFault) -> str:
    return fault.message if fault.message.startswith(fault.field) else f"{fault.field} {fault.message}"


def faults_for_caller(faults: list[FieldFault], *path: str | int) -> list[dict[str, str]]:
    """Faults as JSON, each with a pointer to its field below `path`."""
    return [
        {
            "detail": _sentence(fault),
            "pointer": pointer((*path, *fault.field.split("/"))) if fault.field else pointer(path),
        }
        for fault in faults
    ]


def _own_id(raw: Mapping[str, Any], timed: bool) -> str:
    """Id of an event without `messageId`: its hash if it has a timestamp, so that a repetition is recognised."""
    if not timed:
        return uuid.uuid4().hex
    return hashlib.sha256(orjson.dumps(raw, option=orjson.OPT_SORT_KEYS)).hexdigest()[:40]


def _malformed(raw: Any, faults: list[FieldFault], key: ApiKey) -> RejectedEvent:
    """A refused element for quarantine, without loss: as text where JSON cannot hold it."""
    storable = isinstance(raw, dict) and not unstorable_values(raw) and not _deeper(raw, 100)
    text = orjson.dumps(raw, option=orjson.OPT_SORT_KEYS) if storable else _as_text(raw).encode()
    message_id = raw.get("messageId") if isinstance(raw, dict) else None
    name = raw.get("event") if isinstance(raw, dict) else None
    return RejectedEvent(
        message_id=message_id if _is_plain(message_id) else hashlib.sha256(text).hexdigest()[:40],
        name=name if _is_plain(name) else "",
        faults=tuple(_sentence(fault) for fault in faults),
        raw=raw if storable else {"unreadable": text.decode()},
        key_id=key.id,
    )


def _as_text(raw: Any) -> str:
    try:
        return json.dumps(raw)
    except RecursionError:
        text = "The body is nested too deeply to be read. Nothing was stored."
        raise ProblemError("malformed-request", text) from None


def _is_plain(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= 255 and not storage_fault(value)


def _deeper(value: Any, limit: int) -> bool:
    """Whether containers nest deeper than `limit`, found level by level, without recursion."""
    level = [value]
    for _ in range(limit):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if type(outer) is dict else outer)
            if type(inner) is dict or type(inner) is list
        ]
        if not level:
            return False
    return True
