"""Direct signals: one named signal for a person or an account, for who speaks no Segment (`202` means committed)."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

from fastapi import Header
from starlette.responses import Response

from api.events.intake import CLOCK_ID, Intake
from api.events.reader import PlanCheck
from api.events.request_docs import TRACE_PARAMETER
from api.events.schemas import SignalIn, SignalResult
from api.http.auth import Scope
from api.http.pagination import RecordId, json_response
from api.http.problems import ProblemError
from api.http.routes import Routes
from journeys.events.segment import InboundEvent
from journeys.events.tracing import HEADER, trace_id_of
from journeys.language.signal_names import RESERVED_PREFIX

SOURCE = "signals"
TAG = "Events"
ClockHeader = Annotated[str | None, Header(alias="X-Tenure-Clock", pattern=CLOCK_ID)]
TraceParentHeader = Annotated[str | None, Header(alias="traceparent", description=TRACE_PARAMETER["description"])]


class SignalRoutes:
    """The two routes for signals."""

    def __init__(self, intake: Intake, check: PlanCheck) -> None:
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
            refuses=("too-large", "unsupported-media-type", "quota-exceeded", "overloaded"),
        )
        post("/v1/users/{id:id}/signals", self.to_user, summary="Signal a person")
        post("/v1/accounts/{id:id}/signals", self.to_account, summary="Signal an account")

    async def to_user(
        self, id: RecordId, signal: SignalIn, clock: ClockHeader = None, parent: TraceParentHeader = None
    ) -> Response:
        """The person's journeys hear it; who is new becomes known by it."""
        return await self._take(
            signal, InboundEvent("track", signal.id or uuid.uuid4().hex, signal.name, user_id=id), clock, parent
        )

    async def to_account(
        self, id: RecordId, signal: SignalIn, clock: ClockHeader = None, parent: TraceParentHeader = None
    ) -> Response:
        """The account's own journeys hear it, and those of its members that read it."""
        return await self._take(
            signal, InboundEvent("track", signal.id or uuid.uuid4().hex, signal.name, account_id=id), clock, parent
        )

    async def _take(self, signal: SignalIn, call: InboundEvent, clock: str | None, parent: str | None) -> Response:
        if "\x00" in (call.user_id or call.account_id or ""):
            raise ProblemError("invalid-request", "An id has no U+0000.")
        if signal.name.startswith(RESERVED_PREFIX):
            fault = {
                "detail": f"names that begin with {RESERVED_PREFIX} are reserved for the platform",
                "pointer": "/name",
            }
            raise ProblemError("invalid-request", "This signal cannot be sent.", [fault])
        call.data, call.timestamp = signal.data, _believable(signal.at)
        call.raw = {"user": call.user_id, "account": call.account_id, **signal.model_dump(mode="json")}
        self._check(call)
        call.trace = trace_id_of(parent)
        with self._intake.admitted(0):
            await self._intake.one(call, source=SOURCE, clock=await self._intake.clock(clock))
        left = await self._intake.silenced([call])
        trace = await self._intake.trace(call, SOURCE)
        taken = {"id": call.message_id, "trace": trace, "quarantined": call.faults, "in_flight": left}
        return json_response(taken, 202, {HEADER: trace} if trace is not None else None)


def event_from_quarantine(event: dict[str, Any], message_id: str) -> InboundEvent:
    """A signal as it was kept in quarantine, to be checked again."""
    signal = SignalIn.model_validate({name: event[name] for name in SignalIn.model_fields})
    call = InboundEvent("track", message_id, signal.name, user_id=event["user"], account_id=event["account"])
    call.data, call.timestamp, call.raw = signal.data, _believable(signal.at), event
    return call


def _believable(at: datetime | None) -> datetime | None:
    """An instant that arithmetic can handle; another is not believed anyway, and acceptance counts."""
    return at.astimezone(UTC) if at is not None and 1900 < at.year < 9000 else None
