"""Endpoints of direct signals for people and accounts: `202` means committed."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

from fastapi import Header
from starlette.requests import Request
from starlette.responses import Response

from api.events.intake import CLOCK_HEADER, CLOCK_ID, Intake
from api.events.request_docs import CLOCK_PARAMETER, TRACE_PARAMETER
from api.events.schemas import SignalIn, SignalResult
from api.events.tracking_plan import EventCheck
from api.http.auth import Scope, sender_of
from api.http.pagination import RecordId, json_response
from api.http.problems import ProblemError
from api.http.routes import Routes
from journeys.events.inbound import InboundEvent, ReceivedEvent, RejectedEvent
from journeys.events.senders import SenderKind
from journeys.events.tracing import HEADER, trace_id_of
from journeys.events.validation import InvalidEvent
from journeys.language.signal_names import RESERVED_PREFIX

SOURCE = "signals"
TAG = "Events"
ClockHeader = Annotated[
    str | None, Header(alias=CLOCK_HEADER, pattern=CLOCK_ID, description=CLOCK_PARAMETER["description"])
]
TraceParentHeader = Annotated[str | None, Header(alias="traceparent", description=TRACE_PARAMETER["description"])]


class SignalRoutes:
    """Routes of signals."""

    def __init__(self, intake: Intake, check: EventCheck) -> None:
        self._intake = intake
        self._check = check

    def routes(self, routes: Routes) -> None:
        post = partial(
            routes.add,
            "POST",
            scope=Scope.WRITE,
            tag=TAG,
            gives=SignalResult,
            status=202,
            refuses=("too-large", "unsupported-media-type", "quota-exceeded", "overloaded", "clock-advancing"),
        )
        post("/v1/users/{id:id}/signals", self.to_user, summary="Signal a person")
        post("/v1/accounts/{id:id}/signals", self.to_account, summary="Signal an account")

    async def to_user(
        self,
        request: Request,
        id: RecordId,
        signal: SignalIn,
        clock: ClockHeader = None,  # noqa: ARG002 -- read with the key, from the headers
        parent: TraceParentHeader = None,
    ) -> Response:
        """Signal the person's journeys. An unknown person is created."""
        return await self._accept(request, signal, id, None, parent)

    async def to_account(
        self,
        request: Request,
        id: RecordId,
        signal: SignalIn,
        clock: ClockHeader = None,  # noqa: ARG002 -- read with the key, from the headers
        parent: TraceParentHeader = None,
    ) -> Response:
        """Signal the account's own journeys, and those of its members that react to it."""
        return await self._accept(request, signal, None, id, parent)

    async def _accept(
        self, request: Request, signal: SignalIn, user: str | None, account: str | None, parent: str | None
    ) -> Response:
        if "\x00" in (user or account or ""):
            raise ProblemError("invalid-request", "An id must not contain U+0000.")
        if signal.name.startswith(RESERVED_PREFIX):
            fault = {
                "detail": f"names that begin with {RESERVED_PREFIX} are reserved for the platform",
                "pointer": "/name",
            }
            raise ProblemError("invalid-request", "This signal cannot be sent.", [fault])
        raw = {"user": user, "account": account, **signal.model_dump(mode="json")}
        message_id, sender = signal.id or uuid.uuid4().hex, sender_of(request)
        event = _checked(self._check, signal, message_id, raw, sender, trace_id_of(parent))
        with self._intake.admission.admitted(0):
            result = await self._intake.one(event, source=SOURCE, clock=await self._intake.clock(request.headers))
        event = result.as_taken(event)
        in_flight = await self._intake.in_flight_after([event])
        trace = await self._intake.trace(event, SOURCE, result)
        faults = event.faults if isinstance(event, RejectedEvent) else ()
        answer = {"id": event.message_id, "trace": trace, "quarantined": faults, "in_flight": in_flight}
        return json_response(answer, 202, {HEADER: trace} if trace is not None else None)


def event_from_quarantine(check: EventCheck, raw: dict[str, Any], message_id: str, sender: SenderKind) -> ReceivedEvent:
    """A signal from quarantine, checked again."""
    signal = SignalIn.model_validate({name: raw[name] for name in SignalIn.model_fields})
    return _checked(check, signal, message_id, raw, sender)


def _checked(
    check: EventCheck,
    signal: SignalIn,
    message_id: str,
    raw: dict[str, Any],
    sender: SenderKind,
    trace: str | None = None,
) -> ReceivedEvent:
    """The event of a signal, or its rejection. `raw` also has the subject."""
    planned = check.planned("track", signal.name, signal.data, sender)
    if isinstance(planned, InvalidEvent):
        return RejectedEvent(message_id, signal.name, tuple(fault.what for fault in planned.faults), raw)
    event = InboundEvent(
        kind="track",
        message_id=message_id,
        name=planned.signal,
        user_id=raw["user"],
        account_id=raw["account"],
        data=planned.properties,
        timestamp=_believable(signal.at),
        trace=trace,
        raw=raw,
    )
    faults = check.faults(event)
    return RejectedEvent(message_id, event.name, faults, raw) if faults else event


def _believable(at: datetime | None) -> datetime | None:
    """The timestamp if arithmetic can handle it; otherwise None, and the time of acceptance counts."""
    return at.astimezone(UTC) if at is not None and 1900 < at.year < 9000 else None
