"""Endpoints of the Segment spec: `200` means committed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
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
from api.http.body import received_body
from api.http.clients.client_route import ClientRoute
from api.http.clients.origins import BrowserOrigins
from api.http.limits import Limits
from api.http.routes import Routes
from journeys.access.callers import Scope
from journeys.events.inbound import InboundEvent, ReceivedEvent, RejectedEvent
from journeys.events.segment import BATCH_NAMES, CALL_NAMES, FieldFault
from journeys.events.tracing import HEADER
from store.events.ingest import IngestResult

TAG = "Events"
_SUCCESS = b'{"success":true}'


class SegmentRoutes:
    """Routes of the Segment spec."""

    def __init__(
        self, intake: Intake, reader: Reader, screening: EventScreening, limits: Limits, origins: BrowserOrigins
    ) -> None:
        self._intake, self._reader, self._screening = intake, reader, screening
        self._limits, self._origins = limits, origins

    def routes(self, routes: Routes) -> None:
        refuses = (
            "too-large",
            "unsupported-media-type",
            "quota-exceeded",
            "overloaded",
            "clock-advancing",
        )
        post = partial(routes.add, "POST", scope=Scope.COLLECT, tag=TAG, fast=True)
        for name in BATCH_NAMES:
            post(
                f"/v1/{name}",
                self._batch(name),
                summary="Send many events at once" + _in_short(name, "batch"),
                gives=BatchResult,
                refuses=("malformed-event", *refuses),
                extra=batch_request(),
                client=ClientRoute(self._origins, self._limits.batch_bytes),
            )
        for name, kind in CALL_NAMES.items():
            post(
                f"/v1/{name}",
                self._single(kind, name),
                summary=f"Send one {kind} call" + _in_short(name, kind),
                gives=EventResult,
                refuses=refuses,
                extra=call_request(kind),
                client=ClientRoute(self._origins, self._limits.event_bytes),
            )

    def _batch(self, name: str) -> Any:
        async def batch(request: Request) -> Response:
            """Valid events are accepted. Malformed ones, and those that the key may not send, are quarantined and listed."""
            return await self._take_batch(request)

        batch.__name__ = name
        return batch

    async def _take_batch(self, request: Request) -> Response:
        key = request_key(request)
        await self._screening.refuse_early(request, key)
        body = await received_body(request, self._limits.batch_bytes)
        async with self._screening.entered(request, key, len(body.content), request.headers.get(CLOCK_HEADER)) as clock:
            trace = self._screening.trace(request, key)
            batch = self._reader.batch(body.json(), key, trace)
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

    def _single(self, kind: str, name: str) -> Any:
        async def single(request: Request) -> Response:
            key = request_key(request)
            source = key.namespace(SEGMENT)
            await self._screening.refuse_early(request, key)
            body = await received_body(request, self._limits.event_bytes)
            size, test_clock = len(body.content), request.headers.get(CLOCK_HEADER)
            async with self._screening.entered(request, key, size, test_clock) as clock:
                # A sender's trace (W3C Trace Context) continues: all events of the request have it.
                event = self._reader.one(body.json(), kind, key, self._screening.trace(request, key))
                event = await self._screening.without_padding(key, event)
                event = await self._screening.screen(request, key, event)
                result = await self._intake.one(event, source=source, clock=clock)
            event = result.as_taken(event)
            in_flight = await self._intake.in_flight_after([event])
            answer = _answer(event, in_flight, is_duplicate=result.is_duplicate(event))
            trace = await self._intake.trace(event, source, result)
            return Response(answer, headers=_traced(trace), media_type="application/json")

        single.__name__ = name
        return single


def _in_short(name: str, usual: str) -> str:
    """The end of a summary: the usual name, of a route that has another."""
    return "" if name == usual else f", as /v1/{usual}"


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
