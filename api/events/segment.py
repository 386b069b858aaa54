"""The Segment spec as it is spoken by every Segment client library: events come in here, and `200` means committed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from api.events.intake import CLOCK_ID, Intake
from api.events.reader import Reader, faults_for_caller
from api.http.auth import Scope
from api.http.body import parse_json, read_bytes
from api.http.limits import Limits
from api.http.problems import FaultView
from api.http.routes import Routes
from api.http.schemas import InFlightView
from journeys.events.segment import KINDS, InboundEvent
from journeys.events.tracing import HEADER, trace_id_of

SOURCE = "segment"
CLOCK_HEADER = "x-tenure-clock"
TAG = "Events"
_SUCCESS = b'{"success":true}'


class MalformedElement(BaseModel):
    """An element of a batch that is kept in quarantine, and why."""

    index: int
    messageId: str  # noqa: N815 -- the Segment spec's name
    errors: list[FaultView]


class BatchResult(BaseModel):
    """What became of a batch: each element is accepted, was there before, or is kept in quarantine."""

    success: bool = True
    accepted: int
    duplicates: int
    quarantined: int
    in_flight: list[InFlightView] = []
    errors: list[MalformedElement] = []


class EventResult(BaseModel):
    """A single call is committed. `quarantined` says why it is kept but moves nothing.

    `in_flight` names messages that a withdrawal of consent came too late for.
    """

    success: bool = True
    quarantined: list[str] = []
    in_flight: list[InFlightView] = []


class SegmentRoutes:
    """The routes of the Segment spec."""

    def __init__(self, intake: Intake, reader: Reader, limits: Limits) -> None:
        self._intake = intake
        self._reader = reader
        self._limits = limits

    def routes(self, routes: Routes) -> None:
        refuses = ("malformed-event", "too-large", "unsupported-media-type", "quota-exceeded", "overloaded")
        routes.add(
            "POST",
            "/v1/batch",
            self.batch,
            Scope.WRITE,
            summary="Send many events at once",
            tag=TAG,
            gives=BatchResult,
            refuses=refuses,
            fast=True,
            extra=_documented(_BATCH_SCHEMA, {"batch": [{"type": "track", **_EXAMPLES["track"]}], "sentAt": _AT}),
        )
        for kind in KINDS:
            routes.add(
                "POST",
                f"/v1/{kind}",
                self._single(kind),
                Scope.WRITE,
                summary=f"Send one {kind} call",
                tag=TAG,
                gives=EventResult,
                refuses=refuses,
                fast=True,
                extra=_documented(_call_schema(kind), _EXAMPLES[kind]),
            )

    async def batch(self, request: Request) -> Response:
        """Well-formed events are accepted; malformed ones are kept in quarantine and listed in the answer."""
        with self._intake.admitted(_declared(request)):
            clock = await self._intake.clock(request.headers.get(CLOCK_HEADER))
            body = await read_bytes(request, self._limits.batch_bytes)
            reading = self._reader.batch(parse_json(body))
            trace = _continue(request, reading.calls)
            found = await self._intake.batch(reading.calls, source=SOURCE, clock=clock)
        left = await self._intake.silenced(reading.calls)
        answer: dict[str, Any] = {
            "success": True,
            "accepted": found.accepted,
            "duplicates": found.duplicates,
            "quarantined": found.quarantined,
        }
        if left:
            answer["in_flight"] = left
        if reading.malformed:
            answer["errors"] = [
                {
                    "index": place,
                    "messageId": message_id,
                    "errors": [{**fault, "turn": "caller"} for fault in faults_for_caller(faults, "batch", place)],
                }
                for place, message_id, faults in reading.malformed
            ]
        return Response(orjson.dumps(answer), headers=_traced(trace), media_type="application/json")

    def _single(self, kind: str) -> Any:
        async def single(request: Request) -> Response:
            with self._intake.admitted(_declared(request)):
                clock = await self._intake.clock(request.headers.get(CLOCK_HEADER))
                body = await read_bytes(request, self._limits.event_bytes)
                call = self._reader.one(parse_json(body), kind)
                _continue(request, [call])
                await self._intake.one(call, source=SOURCE, clock=clock)
            answer, trace = _answer(call, await self._intake.silenced([call])), await self._intake.trace(call, SOURCE)
            return Response(answer, headers=_traced(trace), media_type="application/json")

        single.__name__ = kind
        return single


def _answer(call: InboundEvent, left: list[dict[str, Any]]) -> bytes:
    if not call.faults and not left:
        return _SUCCESS
    told = {"quarantined": call.faults} if call.faults else {"in_flight": left}
    return orjson.dumps({"success": True, **told})


def _continue(request: Request, calls: list[InboundEvent]) -> str | None:
    """A sender that traces (W3C Trace Context) goes on with its own trace, which all of its request then has."""
    trace = trace_id_of(request.headers.get("traceparent"))
    if trace is not None:
        for call in calls:
            call.trace = trace
    return trace


def _traced(trace: str | None) -> dict[str, str] | None:
    return {HEADER: trace} if trace is not None else None


def _declared(request: Request) -> int:
    length = request.headers.get("content-length", "")
    return int(length[:12]) if length.isdigit() else 0


# -- documentation -----------------------------------------------------------------------------------------------------

_AT = "2026-05-03T10:00:00Z"
_WHO = {"userId": "u-42", "messageId": "m-1", "timestamp": _AT}
_EXAMPLES: Mapping[str, dict[str, Any]] = {
    "track": {**_WHO, "event": "setup_completed", "properties": {"steps": 5}},
    "identify": {**_WHO, "traits": {"email": "ada@example.com", "plan": "team"}},
    "group": {**_WHO, "groupId": "acme", "traits": {"renewal_date": "2027-01-31T00:00:00Z"}},
    "alias": {"userId": "u-42", "previousId": "anonymous-7", "messageId": "m-2"},
    "page": {**_WHO, "name": "Pricing", "properties": {"path": "/pricing"}},
    "screen": {**_WHO, "name": "Home", "properties": {}},
}
_ID = {"type": "string", "maxLength": 255, "pattern": "^[^\\u0000]*$"}
_COMMON: dict[str, Any] = {
    "userId": {**_ID, "description": "userId or anonymousId is needed."},
    "anonymousId": _ID,
    "messageId": {**_ID, "description": "The idempotency key: sent again, it is accepted once."},
    "timestamp": {"type": "string", "format": "date-time"},
    "sentAt": {"type": "string", "format": "date-time"},
    "context": {"type": "object"},
}
_OWN: Mapping[str, dict[str, Any]] = {
    "track": {"event": {**_ID, "minLength": 1}, "properties": {"type": "object"}},
    "identify": {"traits": {"type": "object"}},
    "group": {"groupId": {**_ID, "minLength": 1}, "traits": {"type": "object"}},
    "alias": {"previousId": {**_ID, "minLength": 1}},
    "page": {"name": {"type": "string"}, "properties": {"type": "object"}},
    "screen": {"name": {"type": "string"}, "properties": {"type": "object"}},
}
_NEEDED: Mapping[str, list[str]] = {"track": ["event"], "group": ["groupId"], "alias": ["previousId", "userId"]}


def _call_schema(kind: str) -> dict[str, Any]:
    needed = _NEEDED.get(kind, [])
    return {"type": "object", "properties": {**_COMMON, **_OWN[kind]}, **({"required": needed} if needed else {})}


_BATCH_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["batch"],
    "properties": {
        "batch": {"type": "array", "items": {"type": "object"}, "description": "Each with `type`: track, identify, …"},
        "sentAt": _COMMON["sentAt"],
        "context": {"type": "object"},
    },
}


def _documented(schema: Mapping[str, Any], example: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema, "example": example}}},
        "parameters": [CLOCK_PARAMETER, TRACE_PARAMETER],
    }


CLOCK_PARAMETER = {
    "name": "X-Tenure-Clock",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "pattern": CLOCK_ID},
    "description": "A test clock: people who are new in this request live by it.",
}
TRACE_PARAMETER = {
    "name": "traceparent",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "example": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
    "description": "W3C Trace Context: its trace id goes along to what is sent. What cannot be read is ignored.",
}
