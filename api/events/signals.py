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
from api.events.permissions import EventPermissions, permitted
from api.events.reader import RefusedCall
from api.events.request_docs import CLOCK_PARAMETER, TRACE_PARAMETER
from api.events.schemas import SignalIn, SignalResult
from api.events.screening import EventScreening
from api.events.tracking_plan import EventCheck
from api.http.auth import request_key
from api.http.pagination import RecordId, json_response
from api.http.problems import ProblemError
from api.http.routes import Routes
from journeys.access.callers import ApiKey, Scope
from journeys.events.ids.placeholder_ids import is_placeholder
from journeys.events.inbound import InboundEvent, ReceivedEvent, RejectedEvent
from journeys.events.segment import NAMES_NOBODY, padded_identities
from journeys.events.tracing import HEADER
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

    def __init__(
        self, intake: Intake, check: EventCheck, permissions: EventPermissions, screening: EventScreening
    ) -> None:
        self._intake, self._check, self._permissions, self._screening = intake, check, permissions, screening

    def routes(self, routes: Routes) -> None:
        post = partial(
            routes.add,
            "POST",
            scope=Scope.SEND,
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
        clock: ClockHeader = None,
        parent: TraceParentHeader = None,  # noqa: ARG002 -- documented here, read by the screening
    ) -> Response:
        """Signal the person's journeys. An unknown person is created."""
        return await self._accept(request, signal, id, None, clock)

    async def to_account(
        self,
        request: Request,
        id: RecordId,
        signal: SignalIn,
        clock: ClockHeader = None,
        parent: TraceParentHeader = None,  # noqa: ARG002 -- documented here, read by the screening
    ) -> Response:
        """Signal the account's own journeys, and those of its members that react to it."""
        return await self._accept(request, signal, None, id, clock)

    async def _accept(
        self, request: Request, signal: SignalIn, user: str | None, account: str | None, clock: str | None
    ) -> Response:
        if "\x00" in (user or account or ""):
            raise ProblemError("invalid-request", "An id must not contain U+0000.")
        if signal.name.startswith(RESERVED_PREFIX):
            fault = {
                "detail": f"names that begin with {RESERVED_PREFIX} are reserved for the platform",
                "pointer": "/name",
            }
            raise ProblemError("invalid-request", "This signal cannot be sent.", [fault])
        key = request_key(request)
        raw = {"user": user, "account": account, **signal.model_dump(mode="json")}
        source, identity = key.namespace(SOURCE), signal.id or uuid.uuid4().hex
        async with self._screening.entered(request, key, len(await request.body()), clock) as test_clock:
            event = self._checked(signal, identity, raw, key, self._screening.trace(request, key))
            event = await self._screening.without_padding(key, event)
            result = await self._intake.one(event, source=source, clock=test_clock)
        event = result.as_taken(event)
        in_flight = await self._intake.in_flight_after([event])
        trace = await self._intake.trace(event, source, result)
        faults = event.faults if isinstance(event, RejectedEvent) else ()
        answer = {
            "id": event.message_id,
            "trace": trace,
            "duplicate": result.is_duplicate(event),
            "quarantined": faults,
            "in_flight": in_flight,
        }
        return json_response(answer, 202, {HEADER: trace} if trace is not None else None)

    def from_quarantine(self, raw: dict[str, Any], message_id: str, key: ApiKey) -> ReceivedEvent:
        """A signal from quarantine, checked again by what its key may send. Raises ProblemError if that is less."""
        signal = SignalIn.model_validate({name: raw[name] for name in SignalIn.model_fields})
        return self._checked(signal, message_id, raw, key)

    def _checked(
        self, signal: SignalIn, message_id: str, raw: dict[str, Any], key: ApiKey, trace: str | None = None
    ) -> ReceivedEvent:
        """The event of a signal, or its rejection. `raw` also has the subject. Raises ProblemError (403)."""
        nobody = [name for name in ("user", "account") if is_placeholder(raw[name], self._check.placeholders)]
        if nobody:
            return RejectedEvent(message_id, signal.name, (f"the {nobody[0]}'s id {NAMES_NOBODY}",), raw, key.id)
        planned = self._check.planned("track", signal.name, signal.data)
        if isinstance(planned, InvalidEvent):
            forbidden = self._permissions.refused_signal(key, planned.signal)
            if forbidden:
                raise RefusedCall.of(forbidden).problem()
            opt_out = self._opt_out(signal, message_id, raw, key)
            return RejectedEvent(message_id, signal.name, planned.sentences, raw, key.id, opt_out=opt_out)
        event = InboundEvent(
            kind="track",
            message_id=message_id,
            name=planned.signal,
            user_id=raw["user"] and raw["user"].strip(),
            account_id=raw["account"] and raw["account"].strip(),
            data=planned.properties,
            timestamp=_believable(signal.at),
            trace=trace,
            key_id=key.id,
            padded=padded_identities((("user_id", raw["user"]), ("account_id", raw["account"]))),
            raw=raw,
        )
        forbidden = self._permissions.refused(key, event)
        if forbidden:
            raise RefusedCall.of(forbidden).problem()
        faults = self._check.faults(event)
        if not faults:
            return event
        opt_out = self._opt_out(signal, message_id, raw, key)
        return RejectedEvent(message_id, event.name, faults, raw, key.id, opt_out=opt_out)

    def _opt_out(self, signal: SignalIn, message_id: str, raw: dict[str, Any], key: ApiKey) -> InboundEvent | None:
        """The refusals in a signal that is rejected, which count all the same."""
        call = {"userId": raw["user"], "properties": signal.data, "timestamp": _believable(signal.at)}
        event = self._check.opt_out(call, "track", signal.name, message_id)
        return None if event is None or self._permissions.refused(key, event) else permitted(key, event)


def _believable(at: datetime | None) -> datetime | None:
    """The timestamp if arithmetic can handle it; otherwise None, and the time of acceptance counts."""
    return at.astimezone(UTC) if at is not None and 1900 < at.year < 9000 else None
