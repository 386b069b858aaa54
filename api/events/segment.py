"""Endpoints of the Segment spec: `200` means committed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from api.events.intake import CLOCK_HEADER, Intake
from api.events.reader import ParsedBatch, Reader, RefusedElement, faults_for_caller
from api.events.request_docs import batch_request, call_request
from api.events.schemas import BatchResult, EventResult
from api.events.screening import SEGMENT, EventScreening
from api.http.auth import request_key
from api.http.body import parse_json, read_bytes
from api.http.limits import Limits
from api.http.routes import Routes
from journeys.access.callers import Scope
from journeys.events.inbound import InboundEvent, ReceivedEvent, RejectedEvent
from journeys.events.segment import KINDS, FieldFault
from journeys.events.tracing import HEADER
from store.events.ingest import IngestResult

TAG = "Events"
_SUCCESS = b'{"success":true}'


class SegmentRoutes:
    """Routes of the Segment spec."""

    def __init__(self, intake: Intake, reader: Reader, screening: EventScreening, limits: Limits) -> None:
        self._intake, self._reader, self._screening, self._limits = intake, reader, screening, limits

    def routes(self, routes: Routes) -> None:
        refuses = (
            "too-large",
            "unsupported-media-type",
            "quota-exceeded",
            "overloaded",
            "clock-advancing",
        )
        routes.add(
            "POST",
            "/v1/batch",
            self.batch,
            Scope.COLLECT,
            summary="Send many events at once",
            tag=TAG,
            gives=BatchResult,
            refuses=("malformed-event", *refuses),
            fast=True,
            extra=batch_request(),
        )
        for kind in KINDS:
            routes.add(
                "POST",
                f"/v1/{kind}",
                self._single(kind),
                Scope.COLLECT,
                summary=f"Send one {kind} call",
                tag=TAG,
                gives=EventResult,
                refuses=refuses,
                fast=True,
                extra=call_request(kind),
            )

    async def batch(self, request: Request) -> Response:
        """Valid events are accepted. Malformed ones, and those that the key may not send, are quarantined and listed."""
        key = request_key(request)
        await self._screening.refuse_early(request, key)
        body = await read_bytes(request, self._limits.batch_bytes)
        async with self._screening.entered(request, key, len(body), request.headers.get(CLOCK_HEADER)) as clock:
            trace = self._screening.trace(request, key)
            batch = self._reader.batch(parse_json(body), key, trace)
            await self._screening.refuse_padded(batch)
            await self._screening.screen_batch(request, key, batch)
            result = await self._intake.batch(batch.events, source=key.namespace(SEGMENT), clock=clock)
        in_flight = await self._intake.in_flight_after(batch.events)
        answer: dict[str, Any] = {
            "success": True,
            "accepted": result.accepted,
            "duplicates": result.duplicates,
            "quarantined": result.quarantined,
        }
        if in_flight:
            answer["in_flight"] = in_flight
        errors = [*batch.refused, *_refused_by_store(batch, result), *_held_traits(batch)]
        if errors:
            answer["errors"] = [
                {
                    "index": index,
                    "messageId": message_id,
                    "errors": [{**fault, "turn": "caller"} for fault in faults_for_caller(faults, "batch", index)],
                }
                for index, message_id, faults in sorted(errors, key=lambda error: error[0])
            ]
        return Response(orjson.dumps(answer), headers=_traced(trace), media_type="application/json")

    def _single(self, kind: str) -> Any:
        async def single(request: Request) -> Response:
            key = request_key(request)
            source = key.namespace(SEGMENT)
            await self._screening.refuse_early(request, key)
            body = await read_bytes(request, self._limits.event_bytes)
            async with self._screening.entered(request, key, len(body), request.headers.get(CLOCK_HEADER)) as clock:
                # A sender's trace (W3C Trace Context) continues: all events of the request have it.
                event = self._reader.one(parse_json(body), kind, key, self._screening.trace(request, key))
                event = await self._screening.without_padding(key, event)
                await self._screening.screen(request, key, event)
                result = await self._intake.one(event, source=source, clock=clock)
            event = result.as_taken(event)
            in_flight = await self._intake.in_flight_after([event])
            answer = _answer(event, in_flight, is_duplicate=result.is_duplicate(event))
            trace = await self._intake.trace(event, source, result)
            return Response(answer, headers=_traced(trace), media_type="application/json")

        single.__name__ = kind
        return single


def _refused_by_store(batch: ParsedBatch, result: IngestResult) -> Iterator[RefusedElement]:
    """The elements of a batch that the store refused."""
    indexes = {id(event): index for index, event in enumerate(batch.events)}
    for refused in result.refused:
        if (index := indexes.get(id(refused.given))) is not None:
            faults = [FieldFault(refused.field, fault) for fault in refused.rejected.faults]
            yield index, refused.rejected.message_id, faults


def _held_traits(batch: ParsedBatch) -> Iterator[RefusedElement]:
    """The elements of a batch with traits that could not be read. The elements themselves count."""
    for index, event in enumerate(batch.events):
        if isinstance(event, InboundEvent) and event.held is not None:
            yield index, event.message_id, [FieldFault("traits", fault) for fault in event.held.faults]


def _answer(event: ReceivedEvent, in_flight: list[dict[str, Any]], *, is_duplicate: bool) -> bytes:
    if isinstance(event, RejectedEvent):
        return orjson.dumps({"success": True, "quarantined": event.faults})
    if not in_flight and not is_duplicate and event.held is None:
        return _SUCCESS
    answer: dict[str, Any] = {"success": True}
    if event.held is not None:
        answer["quarantined"] = event.held.faults
    if is_duplicate:
        answer["duplicate"] = True
    if in_flight:
        answer["in_flight"] = in_flight
    return orjson.dumps(answer)


def _traced(trace: str | None) -> dict[str, str] | None:
    return {HEADER: trace} if trace is not None else None
