"""Reader of Segment JSON: calls become events, valid or rejected.

A malformed element of a batch affects no other: it is rejected with its faults, and `accept` keeps it in quarantine.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeGuard

import orjson

from api.events.tracking_plan import EventCheck
from api.http.body import Json, storage_fault, unstorable_values
from api.http.limits import Limits
from api.http.problems import ProblemError, pointer
from journeys.events.inbound import InboundEvent, ReceivedEvent, RejectedEvent
from journeys.events.segment import FieldFault, read_call
from journeys.events.senders import SenderKind


@dataclass(slots=True)
class ParsedBatch:
    """Every event of a batch, and of each malformed element its index, message id and faults."""

    events: list[ReceivedEvent] = field(default_factory=list)
    malformed: list[tuple[int, str, list[FieldFault]]] = field(default_factory=list)


class Reader:
    """Reads events under the limits and checks them against the tracking plan."""

    def __init__(self, limits: Limits, check: EventCheck) -> None:
        self._limits = limits
        self._check = check

    def one(self, parsed: Json, kind: str, sender: SenderKind, trace: str | None = None) -> ReceivedEvent:
        """Read a single call. Raises ProblemError with every fault; then nothing is stored."""
        event = self._read(parsed.value, kind, None, trace, sender, strange=parsed.strange)
        if isinstance(event, list):
            raise refused_call(event)
        return event

    def batch(self, parsed: Json, sender: SenderKind, trace: str | None = None) -> ParsedBatch:
        """Read all elements of a batch. Raises ProblemError if the body has no batch."""
        body = parsed.value
        if not isinstance(body, dict) or not isinstance(body.get("batch"), list):
            raise refused_call([FieldFault("batch", "is required: a list of events")])
        elements = body["batch"]
        if len(elements) > self._limits.batch_events:
            raise ProblemError("too-large", f"A batch has at most {self._limits.batch_events} events.")
        sent_at, context = _envelope(body)
        batch = ParsedBatch()
        for index, element in enumerate(elements):
            raw = _with_context(element, context) if context else element
            event = self._read(raw, None, sent_at, trace, sender, strange=parsed.strange)
            if isinstance(event, list):
                faults, event = event, _malformed(raw, event)
                batch.malformed.append((index, event.message_id, faults))
            batch.events.append(event)
        return batch

    def _read(
        self, raw: Any, kind: str | None, sent_at: Any, trace: str | None, sender: SenderKind, *, strange: bool
    ) -> ReceivedEvent | list[FieldFault]:
        malformed = self._unfit(raw, strange=strange)
        if malformed:
            return malformed
        plan = partial(self._check.planned, sender=sender)
        event = read_call(raw, kind, sent_at, trace, plan=plan, own_id=_own_id)
        if not isinstance(event, InboundEvent):
            return event
        faults = self._check.faults(event)
        if not faults:
            return event
        return RejectedEvent(event.message_id, event.name, faults, raw if kind is None else {**raw, "type": kind})

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


def _envelope(body: Mapping[str, Any]) -> tuple[datetime | None, dict[str, Any]]:
    """`sentAt` and `context` of a batch. Raises ProblemError: a fault here would concern every event."""
    faults = []
    context, sent_at = body.get("context"), body.get("sentAt")
    if not isinstance(context, dict | None):
        faults.append(FieldFault("context", "must be a JSON object"))
    try:
        at = datetime.fromisoformat(sent_at) if sent_at is not None else None
        at = at.replace(tzinfo=at.tzinfo or UTC).astimezone(UTC) if at is not None else None
    except (ValueError, TypeError, OverflowError):
        faults.append(FieldFault("sentAt", "must be an ISO 8601 instant such as 2026-05-03T10:00:00Z"))
    if faults:
        raise refused_call(faults)
    return at, context or {}


def _with_context(raw: Any, context: Mapping[str, Any]) -> Any:
    """An event with the batch's context; its own context takes precedence."""
    if not isinstance(raw, dict) or not isinstance(raw.get("context"), dict | None):
        return raw
    return {**raw, "context": {**context, **(raw.get("context") or {})}}


def _own_id(raw: Mapping[str, Any], timed: bool) -> str:
    """Id of an event without `messageId`: its hash if it has a timestamp, so that a repetition is recognised."""
    if not timed:
        return uuid.uuid4().hex
    return hashlib.sha256(orjson.dumps(raw, option=orjson.OPT_SORT_KEYS)).hexdigest()[:40]


def _malformed(raw: Any, faults: list[FieldFault]) -> RejectedEvent:
    """A malformed element for quarantine, without loss: as text where JSON cannot hold it."""
    storable = isinstance(raw, dict) and not unstorable_values(raw) and not _deeper(raw, 100)
    text = orjson.dumps(raw, option=orjson.OPT_SORT_KEYS) if storable else _as_text(raw).encode()
    message_id = raw.get("messageId") if isinstance(raw, dict) else None
    name = raw.get("event") if isinstance(raw, dict) else None
    return RejectedEvent(
        message_id=message_id if _is_plain(message_id) else hashlib.sha256(text).hexdigest()[:40],
        name=name if _is_plain(name) else "",
        faults=tuple(_sentence(fault) for fault in faults),
        raw=raw if storable else {"unreadable": text.decode()},
    )


def _as_text(raw: Any) -> str:
    try:
        return json.dumps(raw)
    except RecursionError as error:
        raise ProblemError(
            "malformed-request", "The body is nested too deeply to be read. Nothing was stored."
        ) from error


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
